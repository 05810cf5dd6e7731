"""What was analysed?"""

from __future__ import annotations

from experiments.posteriors.section import Section, Table, Text
from experiments.posteriors.subject import Subject
from hcrnn_pyro import __version__


def about_section(subject: Subject, command: str) -> Section:
    """The run, its data and what was drawn.

    Args:
        subject: what was analysed.
        command: what a user typed.
    """
    config, run, data = subject.config, subject.run, subject.data
    pair, scope = run.config["pair"], run.config["training"]["scope"]
    verdict = (
        f"{pair['model']} with prior {pair['prior']} and guide {pair['guide']}, trained on {data.name}: "
        f"{len(subject.part):,} sequences of the {config.split} part."
    )
    facts = {
        "run": str(run.folder),
        "model, prior, guide": f"{pair['model']}, {pair['prior']}, {pair['guide']}",
        "trained in the scope": scope,
        "data": data.description or data.name,
        "fingerprint of the data": run.config["data_sha1"][:12],
        "items": f"{data.catalogue_size:,}",
        "sequences read by the guide": f"{len(subject.part):,} of the {config.split} part",
        "of these, at random, scored by the model": f"{len(subject.sample):,}",
        "draws of theta for each": str(config.draws),
        "seed": str(config.seed),
        "version of hcrnn_pyro": __version__,
        "command": command,
    }
    notes = [Text(f"Note: {note}") for note in data.notes]
    if scope != "sequence":
        notes.append(
            Text(
                f"This pair was trained in the {scope} scope; here every sequence has one theta, as in the paper, and "
                "what is said of the guide is said of that use."
            )
        )
    return Section(
        name="about",
        title="What was analysed?",
        verdicts=(verdict,),
        numbers={"facts": facts, "data_sha1": run.config["data_sha1"], "notes": data.notes},
        blocks=(Table(["", ""], [list(pair) for pair in facts.items()], "What was read, and how.", names=2), *notes),
    )
