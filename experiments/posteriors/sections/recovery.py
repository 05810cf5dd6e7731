"""Is the planted theta found?"""

from __future__ import annotations

from dataclasses import asdict

from experiments.posteriors.section import Section, Table, judged, number, percent
from experiments.posteriors.subject import Subject
from hcrnn_pyro.posterior.contexts import align
from hcrnn_pyro.posterior.recovery import Recovery, recovery, true_posterior

DRAWS, WARMUP = 100, 100  # of NUTS under the true model, a chain
GOOD_RATIO = 1.5  # of the guide's distance from the truth to that of the true posterior
GOOD_COVERAGE = 0.88, 0.92
ALIKE = 0.9  # cosine of a context's items with those of the planted one


def recovery_section(subject: Subject) -> Section:
    """The guide beside the posterior of someone who knows the process, on data that have a truth."""
    truth = subject.data.truth
    assert truth is not None
    place = {name: row for row, name in enumerate(subject.data.part(subject.config.split).ids)}
    planted = truth.theta[subject.config.split][[place[name] for name in subject.sample.ids]]
    matched = align(truth.emissions[:, 1:], subject.scores)
    guided = recovery(subject.draws.theta[:, :, matched.partner].cpu().numpy(), planted)
    everyone = subject.first(len(subject.sample))
    exact = true_posterior(truth, everyone, DRAWS, WARMUP, subject.config.seed)
    best = recovery(exact.theta.numpy(), planted)
    found = int((matched.similarity >= ALIKE).sum())
    verdicts = [
        (
            f"{found} of {len(planted[0])} planted contexts are found (cosine of their items at least {ALIKE}).",
            found == len(planted[0]),
        ),
        (
            f"The guide's mean of theta is off the planted one by a total variation of {guided.total_variation:.3f}, "
            f"{guided.total_variation / best.total_variation:.2f} times that of the true model's posterior.",
            guided.total_variation <= GOOD_RATIO * best.total_variation,
        ),
        (
            f"Its 90 % intervals hold the planted theta {percent(guided.coverage, 1)} of the time.",
            GOOD_COVERAGE[0] <= guided.coverage <= GOOD_COVERAGE[1],
        ),
    ]
    rows = [_row("the guide", guided), _row("NUTS under the true model", best)]
    header = ["posterior", "total variation of its mean from theta", "coverage of 90 % intervals", "their mean width"]
    caption = f"Planted proportions of {guided.sequences} sequences, contexts matched by their items."
    return Section(
        name="recovery",
        title="Is the planted theta found?",
        **judged(verdicts),
        numbers={"guide": asdict(guided), "true_model": asdict(best), "similarity": matched.similarity},
        blocks=(Table(header, rows, caption),),
    )


def _row(name: str, found: Recovery) -> list[str]:
    return [name, number(found.total_variation, 3), percent(found.coverage, 1), number(found.width, 3)]
