"""Is theta alive?"""

from __future__ import annotations

import numpy as np

from experiments.posteriors.section import Figure, Section, Table, Text, judged, number
from experiments.posteriors.subject import Subject
from hcrnn_pyro.posterior.activity import ACTIVE_KL, COLLAPSED_KL, posterior_activity
from hcrnn_pyro.posterior.figures import draw_activity, draw_theta

SHOWN = 3  # sequences whose theta is drawn


def activity_section(subject: Subject) -> Section:
    """How far theta follows the sequences, context by context."""
    config = subject.config
    activity = posterior_activity(subject.model, subject.guide, subject.part, config.draws, seed=config.seed)
    kl = activity.context_kl
    follows = bool(activity.active.any()) and activity.kl >= COLLAPSED_KL
    axes = draw_activity(activity)
    if activity.informed is not None:  # not to be taken for the active ones, of which the verdict tells
        axes.set_title(f"{activity.informed.sum()} of {activity.contexts} contexts learn {ACTIVE_KL} nats or more")
    rows = [
        [str(k), number(kl[k], 3) if kl is not None else "-", number(100 * activity.variance_share[k], 1)]
        for k in np.argsort(-(kl if kl is not None else activity.variance_share), kind="stable")
    ]
    shown = subject.first_draws(SHOWN).theta.numpy()
    names = [f"sequence {name}" for name in subject.sample.ids[:SHOWN]]
    return Section(
        name="activity",
        title="Is theta alive?",
        **judged([(activity.verdict(), follows)]),
        numbers={
            "active": int(activity.active.sum()),
            "contexts": activity.contexts,
            "collapsed": activity.collapsed,
            "kl_nats": activity.kl,
            "largest_proportion": activity.largest,
            "context_kl_nats": kl,
            "variance_share": activity.variance_share,
            "sequences": activity.sequences,
        },
        blocks=(
            Text(
                "A context is active where its proportion differs between sequences by 1 % of the prior's variance or "
                f"more. Read from {config.draws} draws for each of {activity.sequences:,} sequences."
            ),
            Figure(axes, "What the guide learns of each context's proportion."),
            Figure(draw_theta(shown, names), f"Theta of {len(names)} sequences: mean and 90 % interval."),
            Table(
                ["context", "KL, nats", "variance share, %"],
                rows,
                "KL(q || p) of each context's latent, and the variance of its proportion over sequences, in percent of "
                "the prior's variance.",
                folded=True,
            ),
        ),
    )
