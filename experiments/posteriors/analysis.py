"""Which sections an analysis has, and how they are made one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from experiments.posteriors.section import Section
from experiments.posteriors.sections.about import about_section
from experiments.posteriors.sections.activity import activity_section
from experiments.posteriors.sections.checks import checks_section
from experiments.posteriors.sections.contexts import contexts_section
from experiments.posteriors.sections.guide import guide_section
from experiments.posteriors.sections.probabilities import probabilities_section
from experiments.posteriors.sections.recovery import recovery_section
from experiments.posteriors.sections.sensitivity import sensitivity_section
from experiments.posteriors.subject import Subject
from hcrnn_pyro.errors import UserError

MAKERS: dict[str, Callable[[Subject], Section]] = {
    "Is theta alive?": activity_section,
    "Is the guide right?": guide_section,
    "Is the planted theta found?": recovery_section,
    "What are the contexts?": contexts_section,
    "Do simulated sequences look real?": checks_section,
    "Are probabilities honest?": probabilities_section,
    "How much do prior and likelihood matter?": sensitivity_section,
}


@dataclass(frozen=True, eq=False)
class Analysis:
    """Everything that is told of a run's posterior.

    Attributes:
        sections: in the order of the page.
    """

    sections: tuple[Section, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is to be said first."""
        return tuple(sentence for section in self.sections for sentence in section.warnings)


def analyse(subject: Subject, command: str, say: Callable[[str], None]) -> Analysis:
    """Make all sections.

    Args:
        subject: what is analysed.
        command: what a user typed.
        say: told of progress, section by section.
    """
    steps: dict[str, Callable[[], object]] = {
        f"Draws for {len(subject.part):,} sequences": lambda: subject.theta,
        f"Draws for {len(subject.sample):,} sequences, scored by the model": lambda: subject.draws,
        **{title: partial(_made, maker, title, subject) for title, maker in _makers(subject).items()},
    }
    made = []
    for place, (title, step) in enumerate(steps.items(), 1):
        start = time.perf_counter()
        made.append(step())
        say(f"[{place}/{len(steps)}] {title} {time.perf_counter() - start:.0f} s")
    sections = [section for section in made if isinstance(section, Section)]
    return Analysis((about_section(subject, command), *sections))


def _makers(subject: Subject) -> dict[str, Callable[[Subject], Section]]:
    """The sections of this subject: only data from a known process have a truth to be found."""
    return {title: maker for title, maker in MAKERS.items() if maker is not recovery_section or subject.data.truth}


def _made(maker: Callable[[Subject], Section], title: str, subject: Subject) -> Section:
    """A section; one that this run cannot have, says why in its place."""
    try:
        return maker(subject)
    except UserError as error:
        sentence = f"Not answered: {error}"
        return Section(maker.__name__.removesuffix("_section"), title, (sentence,), (sentence,))
