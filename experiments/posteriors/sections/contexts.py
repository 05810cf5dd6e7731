"""What are the contexts?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from experiments.posteriors.section import Block, Figure, Section, Table, Text, judged, number, percent
from experiments.posteriors.subject import Subject
from hcrnn_pyro.posterior.categories import (
    GenreInformation,
    category_memberships,
    category_profile,
    genre_information,
    sequence_memberships,
)
from hcrnn_pyro.posterior.coherence import coherence, diversity
from hcrnn_pyro.posterior.contexts import item_contexts, nearest_items, prevalence, top_items
from hcrnn_pyro.posterior.figures import draw_prevalence, draw_profile

TOP, NAMED, CATEGORIES = 10, 5, 2  # items that lead a context; of them, those the table names; its categories there
DIFFERENT = 0.5  # share of different items among the leading ones: below it, contexts are much alike
SIGNIFICANT = 0.05
SHOWN = 10  # contexts that the page shows unasked


def contexts_section(subject: Subject) -> Section:
    """The items that lead each context, how prevalent it is, and whether it says what categories say."""
    scores, items = subject.scores, subject.data.items
    count = min(TOP, scores.shape[1])
    top = top_items(scores, count)
    nearest = nearest_items(scores, items, count)
    together, different = coherence(top, subject.data.valid), diversity(top)
    shares = prevalence(subject.theta.row_mean[:, None])
    known = "categories" in items
    profile = category_profile(top, items) if known else None
    information = _information(subject) if known else {}
    typical = float(np.nanmean(together)) if not np.isnan(together).all() else float("nan")
    sentences = [
        (
            f"{percent(different)} of the {count} items that lead each of {len(scores)} contexts are different, and "
            f"pairs of them come together {_more_often(typical)} (mean NPMI {number(typical)}).",
            different >= DIFFERENT,
        ),
        *(_sentence(what, found) for what, found in information.items()),
    ]
    blocks: list[Block] = [
        Figure(draw_prevalence(shares), f"Mean of theta over the sequences, and its {percent(0.9)} interval."),
        *_tables(nearest, shares, together, profile),
    ]
    if profile is not None:
        blocks.append(Figure(draw_profile(profile), "Share of each category among the leading items."))
    else:
        blocks.append(Text("The items of this data set have no categories to hold the contexts against."))
    return Section(
        name="contexts",
        title="What are the contexts?",
        **judged(sentences),
        numbers={
            "diversity": different,
            "coherence_npmi": together,
            "prevalence": shares,
            "nearest_items": nearest,
            "category_profile": profile,
            "category_information": information,
        },
        blocks=tuple(blocks),
    )


def _more_often(npmi: float) -> str:
    if np.isnan(npmi):
        return "in no held-out sequence"
    return "more often than by chance" if npmi > 0 else "no more often than by chance"


def _information(subject: Subject) -> dict[str, GenreInformation]:
    memberships = category_memberships(subject.data.items)
    of_items, of_sequences = item_contexts(subject.scores), subject.theta.means.argmax(axis=1)
    named = {
        "item": (of_items, memberships),
        "sequence": (of_sequences, sequence_memberships(subject.part, memberships)),
    }
    return {what: genre_information(*pair, seed=subject.config.seed) for what, pair in named.items()}


def _sentence(what: str, found: GenreInformation) -> tuple[str, bool]:
    tells = found.p_value < SIGNIFICANT
    return (
        f"The leading context of {'an item' if what == 'item' else 'a sequence'} tells "
        f"{'more' if tells else 'no more'} of its categories than chance: normalised mutual information "
        f"{found.nmi:.3f}, {found.chance_mean:.3f} by chance (p = {found.p_value:.3f}, {found.things:,} {what}s).",
        tells,
    )


def _tables(
    nearest: pd.DataFrame, shares: pd.DataFrame, together: np.ndarray, profile: pd.DataFrame | None
) -> list[Block]:
    """The most prevalent contexts, and all of them for those who ask."""
    label = "title" if "title" in nearest else "item_id"
    rows = []
    for share in shares.sort_values("mean", ascending=False, kind="stable").to_dict("records"):
        context = int(share["context"])
        leading = nearest[nearest["context"] == context][label].head(NAMED)
        interval = f"{percent(share['mean'], 1)} ({100 * share['low']:.1f} to {100 * share['high']:.1f})"
        of_categories = [] if profile is None else [_categories(profile, context)]
        rows.append([str(context), "; ".join(leading), *of_categories, interval, number(together[context])])
    categories = [] if profile is None else ["categories, share of leading items"]
    header = ["context", "nearest items", *categories, "prevalence (90 % interval)", "NPMI"]
    meaning = (
        "NPMI: how much more often than by chance the leading items come together in the validation part, from -1 to 1."
    )
    names = 2 + len(categories)
    if len(rows) <= SHOWN:
        return [Table(header, rows, f"The contexts, the most prevalent first. {meaning}", names)]
    return [
        Table(header, rows[:SHOWN], f"The {SHOWN} most prevalent contexts. {meaning}", names),
        Table(header, rows, f"All {len(rows)} contexts", names, folded=True),
    ]


def _categories(profile: pd.DataFrame, context: int) -> str:
    own = profile[(profile["context"] == context) & (profile["share"] > 0)]
    own = own.sort_values("lift", ascending=False, kind="stable").head(CATEGORIES)
    return ", ".join(f"{row['category']} {percent(row['share'])}" for row in own.to_dict("records"))
