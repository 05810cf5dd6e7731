"""Centres of clusters, where contexts start.

Axes: P points, D size of a point, K clusters.
"""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import Float
from scipy.cluster.vq import kmeans2
from torch import Tensor

STARTS = 10


def cluster_centres(
    points: Float[Tensor, "points size"], clusters: int, seed: int = 0
) -> Float[Tensor, "clusters size"]:
    """The centres that k-means finds, the best of some starts; of more clusters than points, the last repeat the first.

    Args:
        points: what is divided.
        clusters: K.
        seed: of the first start; the others follow it.
    """
    data, found = points.double().cpu().numpy(), min(clusters, len(points))
    with warnings.catch_warnings():
        # An empty cluster keeps its centre, which is as good a start as any.
        warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
        runs = [kmeans2(data, found, minit="++", rng=seed + start) for start in range(STARTS)]
    centres, _ = min(runs, key=lambda run: float(np.square(data - run[0][run[1]]).sum()))
    return torch.from_numpy(centres).to(points)[torch.arange(clusters) % found]
