"""Ask whether a trained HCRNN notices that an interest drifts: its gates, held against what a drift may be.

python -m experiments.drift --run runs/ml                        changes of genre and pauses on the test part
python -m experiments.drift --run runs/ml --sequence 18          and one sequence event by event
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
from hcrnn_pyro.files import whole_file
from hcrnn_pyro.runs import load_run

COMMAND = "python -m experiments.drift"
TOLD = {
    "planted": "the context that was planted changes",
    "genre": "the item shares no category with the one before",
    "pause": "at least {pause:,.0f} seconds went by since the event before",
}
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
    data = data_of_run(run, options.data_dir)
    chosen = _row_of(options, data)
    device = torch_device(options.device)
    signals = drift_signals(run.model.to(device), run.guide.to(device), data.part(options.part), device)
    events = signals.merge(possible_drifts(data, options.part, options.pause), on=["row", "position"])
    found = detection(events)
    options.folder.mkdir(parents=True, exist_ok=True)
    with whole_file(options.folder / "events.parquet") as file:
        events.assign(sequence=data.part(options.part).ids[events["row"]]).to_parquet(file, index=False)
    with whole_file(options.folder / "detection.csv") as file:
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
            f"--sequence: the {options.part} part has no sequence {options.sequence}. Its first ones are "
            f"{', '.join(ids[:3])}."
        )
    return rows[0]


def _report(found: pd.DataFrame, events: pd.DataFrame, options: DriftOptions) -> str:
    """The table of each kind of drift."""
    told = [drift for drift in DRIFTS if drift in events and drift not in set(found["drift"])]
    paragraphs = [
        f"{len(events):,} events of the {options.part} part. AUC: how often a signal points to a drift rather"
        " than to another event;\n0.5 is chance, below it the signal points the other way."
    ]
    for drift, rows in found.groupby("drift", sort=False):
        signals = rows.assign(expected=["falls" if name in FALLS else "rises" for name in rows["signal"]])
        shown = signals[["signal", "expected", "at_drift", "elsewhere", "auc", "low", "high"]]
        formats = dict.fromkeys(["at_drift", "elsewhere", "auc", "low", "high"], "{:.3f}".format)
        title = f"{drift}: {TOLD[str(drift)].format(pause=options.pause)}; {rows['share'].iloc[0]:.1%} of the events"
        paragraphs.append(f"{title}\n{shown.to_string(index=False, formatters=formats)}")
    paragraphs += [f"{drift}: all events are of one kind, so there is nothing to tell apart." for drift in told]
    if not any(drift in events for drift in DRIFTS):
        paragraphs.append("Nothing is known of these data that could be a drift: no categories, times or planted one.")
    return "\n\n".join(paragraphs)


def _one_sequence(events: pd.DataFrame, data: DataSet, options: DriftOptions) -> str:
    """The events of a sequence by their place in it, counted from 1, the drifts marked."""
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
