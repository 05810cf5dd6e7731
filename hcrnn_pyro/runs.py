"""The run folder: everything a training run leaves behind, in formats that load without unpickling anything.

========================= ==================================================================================
config.json               what was asked for, and a fingerprint of the data; of a refit, where its first run lies
model.safetensors         weights, or counts, of model and guide (prefixes ``model.`` and ``guide.``)
metrics.json              metrics in percent: ``valid``, ``test``, ``test_filter_seen``, ...
ranks.parquet             one row per prediction of the valid and test part
history.csv               one row per epoch; none where the model has no parameters, and so no epochs
items.parquet             the item vocabulary; row i is item index i + 1
memory.safetensors        the states of training, of a run that asks them (:mod:`hcrnn_pyro.kernel_memory`)
checkpoint.ckpt           Lightning's, for ``--resume``; removed when the run is finished
========================= ==================================================================================
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from hcrnn_pyro.data.dataset import DataSet
from hcrnn_pyro.errors import UserError, require
from hcrnn_pyro.files import whole_file, write_json
from hcrnn_pyro.kernel_memory import KernelMemory, Remembering
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.training_config import LOWER_IS_BETTER

CONFIG, WEIGHTS, METRICS, RANKS, ITEMS = (
    "config.json",
    "model.safetensors",
    "metrics.json",
    "ranks.parquet",
    "items.parquet",
)
HISTORY, CHECKPOINT, MEMORY = "history.csv", "checkpoint.ckpt", "memory.safetensors"
RUN_FORMAT = 2
TENSORS = ("mean", "axes", "states", "items")  # of a memory


@dataclass(frozen=True, eq=False)
class Run:
    """A finished run, without its data.

    Attributes:
        folder: where it lies.
        config: the content of ``config.json``.
        model: the trained Pyro model, in evaluation mode.
        guide: its guide.
        items: the vocabulary; row i is item index i + 1.
        metrics: the content of ``metrics.json``; empty for a run that was stopped before its evaluation.
        memory: of its training, where it asks one.
    """

    folder: Path
    config: dict[str, Any]
    model: nn.Module
    guide: nn.Module
    items: pd.DataFrame
    metrics: dict[str, dict[str, float]]
    memory: KernelMemory | None = None

    @property
    def selected(self) -> Run:
        """The run that has not seen the valid part: itself, or the one that it refits on train and valid together."""
        return refitted_run(self.folder) or self

    @property
    def predictive(self) -> PosteriorPredictive | Remembering:
        """Next-item probabilities with theta at the posterior mean, and with the memory where there is one."""
        alone = PosteriorPredictive(self.model, self.guide)
        return alone if self.memory is None else Remembering(alone, self.memory)


def start_run(folder: Path, config: dict[str, Any], data: DataSet) -> None:
    """Open the folder of a run on some data.

    Raises:
        UserError: when the folder holds anything already, or cannot be made.
    """
    prints = {"data_sha1": data.fingerprint, "times_sha1": data.times_fingerprint}
    open_run(folder, {"format": RUN_FORMAT, **prints, **config}, data.items)


def open_run(folder: Path, config: dict[str, Any], items: pd.DataFrame) -> None:
    """Open a run folder: the config and the vocabulary.

    Raises:
        UserError: when the folder holds anything already, or cannot be made.
    """
    require_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / CONFIG, config)
    with whole_file(folder / ITEMS) as temporary:
        items.to_parquet(temporary, index=False)


def check_data(folder: Path, data: DataSet) -> None:
    """Refuse to go on with other data than a run was started on.

    Raises:
        UserError: when they differ.
    """
    config = read_config(folder)
    same_times = config.get("times_sha1", data.times_fingerprint) == data.times_fingerprint  # none of older runs
    require(
        config["data_sha1"] == data.fingerprint and same_times,
        f"The data of {data.name} have changed since the run in {folder} was started; start a new one.",
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration of a run.

    Raises:
        UserError: when the folder holds no run, or one of another format.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise UserError(f"{folder} holds no run: expected {file}. Start one without --resume.")
    try:
        config: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); the folder is damaged, choose another --out.") from error
    found = config.get("format")
    require(found == RUN_FORMAT, f"{file} has run format {found}; this version reads format {RUN_FORMAT}.")
    return config


def require_free(folder: Path) -> None:
    """Look whether a folder can be a new run's.

    Raises:
        UserError: it holds anything already.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        if (folder / CONFIG).is_file():
            raise UserError(
                f"{folder} holds another run. Choose another --out, or continue that one with experiments.svi --resume."
            )
        raise UserError(f"{folder} is not an empty folder. Choose another --out.")


def save_weights(folder: Path, model: nn.Module, guide: nn.Module) -> None:
    """Write the weights of a pair."""
    named = (("model", model), ("guide", guide))
    # Copies, as a guide that holds the model shares its tensors, and safetensors wants every tensor by itself.
    weights = {
        f"{prefix}.{name}": tensor.detach().to("cpu", copy=True).contiguous()
        for prefix, part in named
        for name, tensor in part.state_dict().items()
    }
    with whole_file(folder / WEIGHTS) as temporary:
        save_file(weights, temporary)


def load_weights(folder: Path, model: nn.Module, guide: nn.Module) -> None:
    """Read the weights of a pair into it, and put it into evaluation mode."""
    try:
        weights = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise UserError(f"{folder / WEIGHTS} is damaged ({error}); restore it or train anew.") from error
    for prefix, part in (("model.", model), ("guide.", guide)):
        own = {name.removeprefix(prefix): w for name, w in weights.items() if name.startswith(prefix)}
        try:
            part.load_state_dict(own)
        except RuntimeError as error:
            what = f"the {prefix.rstrip('.')} that config.json names, as this version builds it"
            raise UserError(f"{folder / WEIGHTS} does not fit {what}: {error}") from error
        part.eval()


def save_memory(folder: Path, memory: KernelMemory) -> None:
    """Write the states of a memory; how they are asked stands in the run's configuration."""
    tensors = {name: getattr(memory, name).cpu().contiguous() for name in TENSORS}
    with whole_file(folder / MEMORY) as temporary:
        save_file(tensors, temporary)


def _load_memory(folder: Path, asked: dict[str, float]) -> KernelMemory:
    try:
        tensors = load_file(folder / MEMORY)
        mean, axes, states, items = (tensors[name] for name in TENSORS)
        return KernelMemory(mean, axes, states, items, asked["bandwidth"], asked["share"])
    except (SafetensorError, FileNotFoundError, KeyError) as error:
        raise UserError(f"{folder / MEMORY} is missing or damaged ({error}); make the run anew.") from error


def save_results(folder: Path, metrics: dict[str, dict[str, float]], ranks: pd.DataFrame) -> None:
    """Write the per-prediction ranks, then the metrics, whose presence marks a run as finished."""
    with whole_file(folder / RANKS) as temporary:
        ranks.to_parquet(temporary, index=False)
    write_json(folder / METRICS, metrics)


def best_epoch(folder: Path) -> int | None:
    """The epoch, from 0, whose weights a run kept; ``None`` for a model that is counted, not trained."""
    if not (folder / HISTORY).is_file():
        return None
    monitor = read_config(folder)["training"]["monitor"]
    values = pd.read_csv(folder / HISTORY)[f"valid_{monitor}"].to_numpy()
    return int(values.argmin() if monitor in LOWER_IS_BETTER else values.argmax())


def load_run(folder: str | Path) -> Run:
    """Read a run folder: the trained pair and its vocabulary, without the data it was trained on.

    Raises:
        UserError: when the folder holds no finished run.
    """
    folder = Path(folder)
    config = read_config(folder)
    if not (folder / WEIGHTS).is_file():
        raise UserError(f"{folder} holds no trained model yet: {WEIGHTS} is missing. Finish it with --resume.")
    require((folder / ITEMS).is_file(), f"{folder} has lost its vocabulary, {ITEMS}; restore it or train anew.")
    items = pd.read_parquet(folder / ITEMS)
    model, guide = build_pair(PairConfig(**config["pair"]), config["settings"], len(items))
    if "added_items" in config and isinstance(output := getattr(model, "output_matrix", None), torch.Tensor):
        model.item_variance = torch.zeros_like(output)
    load_weights(folder, model, guide)
    memory = _load_memory(folder, config["memory"]) if "memory" in config else None
    return Run(folder, config, model, guide, items, _read_metrics(folder / METRICS), memory)


def refitted_run(folder: Path) -> Run | None:
    """The run that a run trains anew on train and valid together; ``None`` where it trains its own.

    Raises:
        UserError: it is not where it was.
    """
    refits = read_config(folder).get("refits")
    if refits is None:
        return None
    first = folder / refits
    require(
        (first / CONFIG).is_file(),
        f"{folder} refits the run in {first}, which is gone. Put it back: its weights are evaluated on the valid part.",
    )
    return load_run(first)


def run_sha1(folder: Path) -> str:
    """Of what a run says: its model, guide and settings, and their weights or counts."""
    config = read_config(folder)
    named = json.dumps([config["pair"], config["settings"], *filter(None, [config.get("memory")])], sort_keys=True)
    digest = hashlib.sha1(named.encode() + (folder / WEIGHTS).read_bytes())
    if "memory" in config:
        digest.update((folder / MEMORY).read_bytes())
    return digest.hexdigest()


def _read_metrics(file: Path) -> dict[str, dict[str, float]]:
    if not file.is_file():
        return {}
    try:
        metrics: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{file} is not JSON ({error}); restore it or train anew.") from error
    return metrics
