"""Centres of clusters, where contexts start.

Axes: P points, D size of a point, K clusters.
"""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Float
from scipy.cluster.vq import kmeans2
from torch import Tensor


def cluster_centres(
    points: Float[Tensor, "points size"], clusters: int, seed: int = 0
) -> Float[Tensor, "clusters size"]:
    """The centres that k-means finds from a k-means++ start; of more clusters than points, the last repeat the first.

    Args:
        points: what is divided.
        clusters: K.
        seed: of the start.
    """
    found = min(clusters, len(points))
    with warnings.catch_warnings():
        # An empty cluster keeps its centre, which is as good a start as any.
        warnings.filterwarnings("ignore", "One of the clusters is empty", UserWarning)
        centres, _ = kmeans2(points.double().cpu().numpy(), found, minit="++", rng=seed)
    return torch.from_numpy(centres).to(points)[torch.arange(clusters) % found]
