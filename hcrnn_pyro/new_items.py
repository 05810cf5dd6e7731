"""Items that a run was not trained on, added to it without training, from what is known of them.

Every row of a trained item table - embeddings, output weights - is regressed on the item's side information, and a new
item gets the row that this predicts: the mean of its empirical-Bayes prior, given the items that were trained. The
prior's variance goes with it: where a model's likelihood is one softmax, an item's odds are their mean over its
embedding (:class:`hcrnn_pyro.distributions.NextItem`).

Axes: V items of the run, n new items.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from hcrnn_pyro.contracts import has_parameters
from hcrnn_pyro.errors import require
from hcrnn_pyro.evidence import EvidenceRegression
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.runs import Run, open_run, save_weights
from hcrnn_pyro.side_information import SideInformation

UNCERTAINTY = "embedding_sd"
"""Column of the vocabulary: the standard deviation of a new item's rows in the item tables (root mean square), over
that of the trained items' rows; about 1 or more where the side information says nothing, NaN for a trained item."""


def add_items(run: Run, items: pd.DataFrame, folder: Path) -> Run:
    """A run with more items, in a folder of its own; those it had keep their indices and weights.

    Args:
        run: a finished run of a model that is trained.
        items: of the new items, column ``item_id`` and what is known: ``title``, ``categories`` (joined by ``|``).
        folder: where the new run is put; absent or empty.

    Returns:
        The new run, V + n items, without metrics: those it had were of another catalogue. Its ``items`` say in
        ``embedding_sd`` how uncertain each new item's rows are.

    Raises:
        UserError: the model is counted, an item is known already or twice there, nothing is known of the run's items,
            or the folder is in use.
    """
    described = side_information(run)
    _check(run, items)
    items = items.astype({"item_id": str})
    vocabulary = pd.concat([run.items, items[[name for name in run.items if name in items]]], ignore_index=True)
    model, guide = build_pair(PairConfig(**run.config["pair"]), run.config["settings"], len(vocabulary))
    known, new = described.features(run.items), described.features(items)
    uncertain = [np.empty((0, len(items)))]
    for old, grown in ((run.model, model), (run.guide, guide)):
        uncertain += _grow(old, grown, known, new, described)
    spread = np.sqrt(np.concatenate(uncertain).mean(axis=0))
    vocabulary[UNCERTAINTY] = np.concatenate([np.full(len(run.items), np.nan), spread])
    open_run(folder, run.config | {"added_items": len(items)}, vocabulary)
    save_weights(folder, model, guide)
    return replace(run, folder=folder, model=model.eval(), guide=guide.eval(), items=vocabulary, metrics={})


def side_information(run: Run) -> SideInformation:
    """What a run's catalogue tells of its items.

    Raises:
        UserError: nothing, or the run is of a model that is counted, or has been given new items already.
    """
    require(
        "added_items" not in run.config,
        f"{run.folder} has new items already. Add all of them together, to the run that was trained.",
    )
    require(run.memory is None, f"{run.folder} has a memory of its training; add items to the run that was trained.")
    require(
        has_parameters(run.model, run.guide),
        f"{run.config['pair']['model']} has no parameters: it is counted, not trained, and of a new item there is "
        "nothing to count yet.",
    )
    return SideInformation.of(run.items)


def _check(run: Run, items: pd.DataFrame) -> None:
    require("item_id" in items, f"New items need a column item_id; got {', '.join(map(str, items.columns)) or 'none'}.")
    require(len(items) > 0, "There is no new item in the table.")
    require(not (items["item_id"].isna() | (items["item_id"] == "")).any(), "A new item has no item_id.")
    ids = items["item_id"].astype(str)
    twice, known = ids[ids.duplicated()], ids[ids.isin(run.items["item_id"])]
    require(len(twice) == 0, f"Item {twice.min()} is more than once among the new ones.")
    require(len(known) == 0, f"Item {known.min()} is no new one: {run.folder} was trained with it.")


@torch.no_grad()
def _grow(
    old: nn.Module, grown: nn.Module, known: np.ndarray, new: np.ndarray, described: SideInformation
) -> list[np.ndarray]:
    """Fill a module for more items from one for fewer; (1, n) for each item table, the new rows' relative variance.

    A tensor with a row for each item is told by its first axis, the only one that grew. Rows of what is no parameter,
    such as counts of targets, stay as they are made. A model with an output matrix gets its variance, too.
    """
    learned = dict(grown.named_parameters())
    after: dict[str, Tensor] = grown.state_dict()
    uncertain = []
    for name, trained in old.state_dict().items():
        tensor = after[name]
        rows = len(trained) if tensor.shape != trained.shape else None
        tensor[:rows].copy_(trained) if tensor.dim() else tensor.copy_(trained)
        if rows is not None and name in learned:
            table = trained[1:].reshape(rows - 1, -1).double().cpu().numpy()  # without padding
            mean, deviation = EvidenceRegression.fit(known, table, described.groups).predict(new)
            tensor[rows:] = torch.from_numpy(mean).view_as(tensor[rows:])
            spread = np.maximum(table.var(axis=0).mean(), np.finfo(np.float64).tiny)  # 0 before the first step
            uncertain.append(np.square(deviation).mean(axis=1)[None] / spread)
            if learned[name] is getattr(grown, "output_matrix", None):
                grown.item_variance = torch.zeros_like(tensor)
                grown.item_variance[rows:] = torch.from_numpy(deviation).square()
    return uncertain


def nearest_items(run: Run, index: int, count: int) -> pd.DataFrame:
    """The trained items whose embeddings point most nearly where an item's does.

    Args:
        run: of a model that has ``embed``.
        index: of the item, 1..V.
        count: how many.

    Returns:
        Rows of the vocabulary with a column ``cosine``, the nearest first.
    """
    model: Any = run.model
    with torch.no_grad():
        table = nn.functional.normalize(model.embed(torch.arange(1, len(run.items) + 1)), dim=-1)
    cosine = (table @ table[index - 1]).numpy()
    trained = run.items[UNCERTAINTY].isna() if UNCERTAINTY in run.items else pd.Series(True, run.items.index)
    others = run.items.assign(cosine=cosine)[trained & (run.items.index != index - 1)]
    return others.nlargest(count, "cosine")
