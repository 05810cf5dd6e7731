"""Ask whether a trained HCRNN notices that an interest drifts: its gates, held against what a drift may be.

python -m experiments.drift --run runs/ml                        changes of genre and pauses on the test part
python -m experiments.drift --run runs/ml --sequence 14          and one sequence event by event
python -m experiments.drift --run runs/ml --pause 86400          only a day counts as a pause

It leaves events.parquet (the gates at every event) and detection.csv (the printed table) in RUN/drift.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from experiments.command import run_command
from experiments.options import parse
from experiments.run_data import data_of_run
from hcrnn_pyro.data.dataset import DataSet, Part
from hcrnn_pyro.devices import Device, torch_device
from hcrnn_pyro.drift import DRIFTS, FALLS, GatedModel, detection, drift_signals, possible_drifts
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.files import require_own_folder, whole_file
from hcrnn_pyro.runs import load_run

COMMAND = "python -m experiments.drift"
TOLD = {
    "planted": "the context that was planted changes",
    "genre": "the item shares no category with the one before",
    "pause": "at least {pause:,.0f} seconds went by since the event before",
}
FILES = ("events.parquet", "detection.csv")
SHOWN = ["title", "categories", "seconds", "history_kept", "drift_gate", "surprise", "drift"]
FORMATS = dict.fromkeys(["history_kept", "drift_gate", "surprise"], "{:.3f}".format) | {"seconds": "{:,.0f}".format}


@dataclass(frozen=True)
class DriftOptions:
    """Hold the gates of a trained HCRNN against planted drifts, changes of genre and pauses."""

    run: Path
    """Folder of a finished run of experiments.svi, of any HCRNN."""
    part: Part = "test"
    """The part to read."""
    pause: float = 1800.0
    """Seconds between two events from which on it is a pause."""
    sequence: str | None = None
    """Name of a sequence to show event by event."""
    out: Path | None = None
    """Folder of the results; else RUN/drift."""
    device: Device = "auto"
    """Where to compute; auto takes a GPU when there is one."""
    data_dir: Path | None = None
    """Folder where the run's data are looked for first; else the one the run was started with."""

    def __post_init__(self) -> None:
        require(self.pause > 0, f"--pause is a time above 0 seconds; got {self.pause:g}.")

    @property
    def folder(self) -> Path:
        """Where the results go."""
        return self.out or self.run / "drift"


def main(argv: list[str] | None = None) -> None:
    """Parse, read, judge, report."""
    options = parse(DriftOptions, COMMAND, argv)
    run = load_run(options.run)
    kind = run.config["pair"]["model"]
    require(isinstance(run.model, GatedModel), f"{options.run} holds a {kind}, which has no drift gate to read.")
    require_own_folder(options.folder, FILES, "look for drift")
    data = data_of_run(run, options.data_dir)
    chosen = _row_of(options, data)
    device = torch_device(options.device)
    signals = drift_signals(
        run.model.to(device), run.guide.to(device), data.part(options.part), device, data.catalogue_size
    )
    events = signals.merge(possible_drifts(data, options.part, options.pause), on=["row", "position"])
    found = detection(events).assign(part=options.part, pause=options.pause)
    options.folder.mkdir(parents=True, exist_ok=True)
    with whole_file(options.folder / FILES[0]) as file:
        events.assign(sequence=data.part(options.part).ids[events["row"]]).to_parquet(file, index=False)
    with whole_file(options.folder / FILES[1]) as file:
        found.to_csv(file, index=False)
    print(_report(found, events, options))
    if chosen is not None:
        print(f"\n{_one_sequence(events[events['row'] == chosen], data, options)}")
    print(f"\nKept in {options.folder}")


def _row_of(options: DriftOptions, data: DataSet) -> int | None:
    """The sequence that was asked for, before the work begins."""
    if options.sequence is None:
        return None
    ids = data.part(options.part).ids
    rows = [row for row, name in enumerate(ids) if name == options.sequence]
    if not rows:
        raise UserError(
            f"--sequence: the {options.part} part has no sequence {options.sequence!r}. Its first ones are "
            f"{', '.join(ids[:3])}."
        )
    return rows[0]


def _report(found: pd.DataFrame, events: pd.DataFrame, options: DriftOptions) -> str:
    """The table of each kind of drift."""
    paragraphs = [
        f"{len(events):,} events of the {options.part} part, all but the first and the last of each sequence. AUC: how "
        "often a signal points\nto a drift rather than to another event; 0.5 is chance, below it the signal points the "
        "other way."
    ]
    for drift, rows in found.groupby("drift", sort=False):
        signals = rows.assign(expected=["falls" if name in FALLS else "rises" for name in rows["signal"]])
        shown = signals[["signal", "expected", "at_drift", "elsewhere", "auc", "low", "high"]]
        formats = dict.fromkeys(["at_drift", "elsewhere", "auc", "low", "high"], "{:.3f}".format)
        what, first = TOLD[str(drift)].format(pause=options.pause), rows.iloc[0]
        title = f"{drift}: {what}; {first['share']:.1%} of the {first['events']:,} events of which it is known"
        paragraphs.append(f"{title}\n{shown.to_string(index=False, formatters=formats)}")
    for drift in (name for name in DRIFTS if name in events and name not in set(found["drift"])):
        kinds = events[drift].dropna().unique()
        told = "it is known of no such event" if len(kinds) == 0 else "all events are of one kind"
        paragraphs.append(f"{drift}: {told}, so there is nothing to tell apart.")
    if not any(drift in events for drift in DRIFTS):
        paragraphs.append("Nothing is known of these data that could be a drift: no categories, times or planted one.")
    return "\n\n".join(paragraphs)


def _one_sequence(events: pd.DataFrame, data: DataSet, options: DriftOptions) -> str:
    """The events of a sequence by their place in it, counted from 1, the drifts marked; not the first and the last."""
    if events.empty:
        return f"Sequence {options.sequence} has no event between its first and its last one."
    items = data.items.iloc[events["item"] - 1]
    table = events.assign(
        title=(items["title"] if "title" in items else items["item_id"]).to_numpy(),
        categories=items["categories"].to_numpy() if "categories" in items else None,
        drift=[", ".join(name for name in DRIFTS if event.get(name) is True) for event in events.to_dict("records")],
    ).set_index(events["position"] + 1)
    shown = [name for name in SHOWN if name in table and table[name].notna().any()]
    formats = {name: how for name, how in FORMATS.items() if name in shown}
    return f"Sequence {options.sequence}:\n{table[shown].rename_axis(None).to_string(formatters=formats)}"


if __name__ == "__main__":
    run_command(main)
