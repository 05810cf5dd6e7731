"""Is the guide right?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from experiments.posteriors.section import Block, Figure, Section, Table, Text, judged, number, percent
from experiments.posteriors.subject import Subject
from hcrnn_pyro.posterior.figures import draw_k_hat, draw_ranks
from hcrnn_pyro.posterior.nuts import compare_with_guide, run_nuts
from hcrnn_pyro.posterior.refine import inference_gap
from hcrnn_pyro.posterior.sbc import SENTENCES, TERCILES, Calibration, calibrate
from hcrnn_pyro.posterior.weights import GuideQuality, guide_quality, pareto_k, require_spread

GOOD_SHARE = 0.9  # of the sequences, with a k-hat below 0.7
GOOD_R_HAT = 1.05
SIMULATIONS, RANKED = 150, 49  # fewest that simulation-based calibration takes in three groups, and its draws

Part = tuple[list[tuple[str, bool]], dict[str, Any], list[Block]]  # sentences with whether they are good, JSON, page


def guide_section(subject: Subject) -> Section:
    """Weights, calibration, and where asked for the gap and NUTS."""
    parts = [_weights(subject), _calibration(subject)]
    if subject.config.gap:
        parts.append(_gap(subject))
    if subject.config.nuts:
        parts.append(_nuts(subject))
    return Section(
        name="guide",
        title="Is the guide right?",
        **judged(sentence for sentences, _, _ in parts for sentence in sentences),
        numbers={name: value for _, numbers, _ in parts for name, value in numbers.items()},
        blocks=tuple(block for _, _, blocks in parts for block in blocks),
    )


def _weights(subject: Subject) -> Part:
    require_spread(subject.draws)
    quality, k = guide_quality(subject.draws.log_weights), pareto_k(subject.draws.log_weights)
    good = quality.reliable_share >= GOOD_SHARE
    sentence = (
        f"k-hat is below 0.7 for {percent(quality.reliable_share)} of {quality.rows:,} sequences: the guide's draws "
        + ("can stand in for the posterior's once they are weighted." if good else "do not cover the posterior.")
    )
    blocks: list[Block] = [_quality_table(quality), Figure(draw_k_hat(k), "k-hat of each sequence's weights.")]
    return [(sentence, good)], {"quality": asdict(quality), "k_hat": k}, blocks


def _quality_table(quality: GuideQuality) -> Table:
    rows = [
        ["k-hat below 0.7, share of sequences", percent(quality.reliable_share, 1)],
        ["k-hat, median", number(quality.median_k)],
        [f"effective sample size, of {quality.draws} draws", number(quality.effective_share * quality.draws, 1)],
        ["ELBO, nats per sequence", number(quality.elbo)],
        [f"importance-weighted bound of {quality.draws} draws, nats per sequence", number(quality.iwae)],
        ["the gap between both, nats per sequence", number(quality.gap, 3)],
    ]
    return Table(["", "value"], rows, f"The weights p(y, z | x) / q(z | x) of {quality.rows:,} sequences.")


def _calibration(subject: Subject) -> Part:
    found = calibrate(subject.model, subject.guide, subject.part, SIMULATIONS, RANKED, subject.config.seed)
    rows = [[name, SENTENCES[found.verdicts[name]]] for name in TERCILES]
    worst = int(found.tests["context"].to_numpy()[found.tests["p_value"].argmin()])
    blocks: list[Block] = [
        Text(
            f"Simulation-based calibration: {SIMULATIONS} sequences that the model wrote, with the lengths and first "
            f"items of real ones, and the rank of the true theta among {RANKED} draws of the guide."
        ),
        Table(["sequences", "the guide is"], rows, "Calibration by length of the sequence, in thirds.", names=2),
        Figure(
            draw_ranks(found.ranks[:, worst], found.draws), f"Ranks of context {worst}, which is farthest from flat."
        ),
    ]
    sentence = f"On sequences that the model wrote, the guide is {found.sentence}"
    return [(sentence, found.verdict == "calibrated")], {"calibration": _calibration_numbers(found)}, blocks


def _calibration_numbers(found: Calibration) -> dict[str, Any]:
    return {
        "verdict": found.verdict,
        "by_length": found.verdicts,
        "simulations": len(found.ranks),
        "draws": found.draws,
        "tests": found.tests,
    }


def _gap(subject: Subject) -> Part:
    table = inference_gap(subject.model, subject.guide, subject.first(subject.config.gap), seed=subject.config.seed)
    table.insert(0, "sequence", subject.sample.ids[table["row"]])
    amortisation, family = (float(table[f"{name}_gap"].mean()) for name in ("amortisation", "family"))
    sentence = (
        f"Over {len(table)} sequences the guide loses {amortisation:.3f} nats a sequence by sharing its weights "
        f"(amortisation), and {family:.3f} more is beyond any Normal (family)."
    )
    rows = [
        [
            str(row["sequence"]),
            *(number(row[name], 3) for name in ("elbo", "amortisation_gap", "family_gap", "refined_k")),
        ]
        for row in table.to_dict("records")
    ]
    header = ["sequence", "ELBO, nats", "amortisation gap, nats", "family gap, nats", "k-hat, refined"]
    block = Table(header, rows, "The inference gap of each sequence, split.", folded=True)
    return [(sentence, True)], {"gap": table.drop(columns="row")}, [block]


def _nuts(subject: Subject) -> Part:
    count = min(subject.config.nuts, len(subject.sample))
    exact = run_nuts(subject.model, subject.guide, subject.first(count), seed=subject.config.seed)
    table = compare_with_guide(exact, subject.first_draws(count))
    table.insert(0, "sequence", subject.sample.ids[:count])
    mixed = bool(np.max(exact.r_hat) < GOOD_R_HAT) and exact.divergences == 0
    distance, error, ratio = (float(table[name].median()) for name in ("total_variation", "error", "variance_ratio"))
    sentences = [
        (
            f"Against NUTS on {count} sequences the guide's mean of theta is off by a total variation of "
            f"{distance:.3f} ({error:.3f} from Monte-Carlo error alone), and its variance is {ratio:.2f} times that of "
            "the posterior (medians).",
            distance < 2 * error,
        )
    ]
    if not mixed:
        sentences.append(
            (
                f"NUTS itself has not converged (largest R-hat {np.max(exact.r_hat):.2f}, {exact.divergences} "
                "divergences): the comparison says little.",
                False,
            )
        )
    names = ["total_variation", "error", "variance_ratio", "r_hat", "effective_size"]
    rows = [[str(row["sequence"]), *(number(row[name], 3) for name in names)] for row in table.to_dict("records")]
    header = ["sequence", "total variation", "of error alone", "variance, guide / NUTS", "R-hat", "effective draws"]
    block = Table(header, rows, "The guide against NUTS, sequence by sequence.", folded=True)
    return sentences, {"nuts": {"divergences": exact.divergences, "table": table}}, [block]
