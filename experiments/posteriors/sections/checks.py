"""Do simulated sequences look real?"""

from __future__ import annotations

import numpy as np

from experiments.posteriors.section import Figure, Section, Table, Text, judged, number
from experiments.posteriors.subject import Subject
from hcrnn_pyro.posterior.contexts import item_contexts
from hcrnn_pyro.posterior.figures import STATISTIC_NAMES, draw_predictive_check
from hcrnn_pyro.posterior.predictive_checks import Statistics, predictive_checks
from hcrnn_pyro.posterior.simulate import simulate

SEQUENCES, REPLICATIONS = 20, 39  # a real value beyond all 39 has a tail probability of 0.05
SURPRISING = 0.05


def checks_section(subject: Subject) -> Section:
    """Statistics of real sequences against those that the model writes, with their lengths and first items."""
    real = subject.sample.take(np.arange(min(SEQUENCES, len(subject.sample))))
    replications = (
        simulate(subject.model, real, seed).sequences
        for seed in range(subject.config.seed, subject.config.seed + REPLICATIONS)
    )
    table = predictive_checks(real, replications, Statistics.of(subject.data.train, item_contexts(subject.scores)))
    wrong = table[table["tail_probability"] <= SURPRISING]
    names = "; ".join(STATISTIC_NAMES.get(name, name) for name in wrong["statistic"])
    sentence = (
        f"{len(table) - len(wrong)} of {len(table)} statistics of real sequences lie where the model's own sequences "
        f"have them{f'; not so: {names}' if names else ''}."
    )
    rows = [
        [
            STATISTIC_NAMES.get(row["statistic"], row["statistic"]),
            number(row["real"], 3),
            f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})",
            number(row["tail_probability"]),
        ]
        for row in table.to_dict("records")
    ]
    first = wrong.iloc[0] if len(wrong) else table.iloc[0]
    return Section(
        name="checks",
        title="Do simulated sequences look real?",
        **judged([(sentence, wrong.empty)]),
        numbers={"statistics": table, "sequences": len(real), "replications": REPLICATIONS},
        blocks=(
            Text(
                f"{len(real)} sequences, written anew {REPLICATIONS} times by the trained model: theta from the prior, "
                "then item after item, with the real lengths and first items."
            ),
            Table(
                ["statistic", "real", "model (95 % interval)", "tail probability"],
                rows,
                "Near 0, the model does not write such sequences.",
            ),
            Figure(draw_predictive_check(first), "The first statistic that is off, or the first of all."),
        ),
    )
