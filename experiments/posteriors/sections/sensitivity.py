"""How much do prior and likelihood matter?"""

from __future__ import annotations

from experiments.posteriors.section import Section, Table, Text, judged, number, percent
from experiments.posteriors.subject import Subject
from hcrnn_pyro.posterior.sensitivity import THRESHOLD, power_scaling

MANY = 0.5  # share of the sequences of one diagnosis that is worth a warning
TOLD = {
    "prior-data conflict": "prior and likelihood both move theta, as they do where they disagree",
    "weak likelihood": "the prior moves theta, the likelihood hardly does",
    "none": "the prior hardly moves theta",
}


def sensitivity_section(subject: Subject) -> Section:
    """What theta does when prior or likelihood is made a little stronger or weaker."""
    table = power_scaling(subject.draws)
    shares = {name: float((table["diagnosis"] == name).mean()) for name in TOLD}
    most = max(shares, key=lambda name: shares[name])
    sentence = f"For {percent(shares[most])} of {len(table):,} sequences {TOLD[most]}."
    rows = [
        [f"sensitivity to the {name}, median psi", number(float(table[name].median()), 3)]
        for name in ("prior", "likelihood")
    ]
    rows += [
        [f"E[theta] moves by, per doubling of the {name}, median", percent(float(table[f"{name}_moves"].median()), 1)]
        for name in ("prior", "likelihood")
    ]
    rows += [[f"{name}: {TOLD[name]}", percent(share)] for name, share in shares.items()]
    table.insert(0, "sequence", subject.sample.ids)
    return Section(
        name="sensitivity",
        title="How much do prior and likelihood matter?",
        **judged([(sentence, most == "none" or shares[most] < MANY)]),
        numbers={"shares": shares, "sequences": table},
        blocks=(
            Text(
                "Power-scaling: draws are weighted as if prior or likelihood were raised to a power near 1. A psi of "
                f"{THRESHOLD} or more counts as sensitive."
            ),
            Table(["", "value"], rows, f"Over {len(table):,} sequences."),
        ),
    )
