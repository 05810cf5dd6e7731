"""Are probabilities honest?"""

from __future__ import annotations

from dataclasses import asdict

from experiments.posteriors.section import Figure, Section, Text, judged, percent
from experiments.posteriors.subject import Subject
from hcrnn_pyro.posterior.figures import draw_reliability
from hcrnn_pyro.posterior.reliability import reliability

HONEST = 0.05  # largest calibration error that goes without a warning


def probabilities_section(subject: Subject) -> Section:
    """Promised against kept probabilities of the next item."""
    found = reliability(subject.run.predictive, subject.part, "one-pass", items=subject.data.catalogue_size)
    sentence = (
        f"The item held most probable comes next about as often as promised: off by {percent(found.ece, 1)} on average "
        f"(ECE)."
        if found.ece <= HONEST
        else f"Probabilities are off: for the item held most probable by {percent(found.ece, 1)} on average (ECE)."
    )
    return Section(
        name="probabilities",
        title="Are probabilities honest?",
        **judged([(sentence, found.ece <= HONEST)]),
        numbers=asdict(found),
        blocks=(
            Text(
                f"{found.predictions:,} predictions in one pass of each sequence, nll {found.nll:.3f} nats per "
                f"prediction. Over all items, {percent(found.misplaced, 1)} of the probability lies where it should "
                "not."
            ),
            Figure(draw_reliability(found), "Promised against kept; on the line, probabilities are honest."),
        ),
    )
