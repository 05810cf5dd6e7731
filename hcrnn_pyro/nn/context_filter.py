"""Which context a sequence is in, given what it has shown: forward filtering of a context that is redrawn now and then.

    z_1 ~ Categorical(theta)
    z_t = z_{t-1} with probability 1 - d, else ~ Categorical(theta)

Axes: ``*batch`` draws (Pyro adds dimensions on the left), B rows, T time, K contexts.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

SMALLEST = 1e-30


def context_filter(
    theta: Float[Tensor, "*batch rows contexts"],
    emission: Float[Tensor, "rows time contexts"],
    drift: Float[Tensor, ""],
) -> Float[Tensor, "*batch rows time contexts"]:
    """p(z_{t+1} = k | x_1..x_t, theta) for every t: the context of the item to come.

    Args:
        theta: the law from which the context is drawn anew.
        emission: p(x_t | z_t = k, x_1..x_{t-1}), up to a factor that all contexts share; 1 on padding.
        drift: d, a probability.
    """
    to_come, ahead = theta, []
    for emitted in emission.unbind(dim=1):
        joint = to_come * emitted
        here = joint / joint.sum(dim=-1, keepdim=True).clamp(min=SMALLEST)
        to_come = (1 - drift) * here + drift * theta
        ahead.append(to_come)
    return torch.stack(ahead, dim=-2)


def context_filter_per_step(
    theta: Float[Tensor, "*batch rows time contexts"],
    emission: Float[Tensor, "rows time contexts"],
    drift: Float[Tensor, ""],
) -> Float[Tensor, "*batch rows time contexts"]:
    """The same where every step has a theta of its own: at t the whole past is filtered under theta_t; O(T^2 K) a row.

    Args:
        theta: theta_t for every t.
        emission: as for :func:`context_filter`.
        drift: as for :func:`context_filter`.
    """
    to_come, ahead = theta, []
    for t, emitted in enumerate(emission.unbind(dim=1)):
        law = theta[..., t:, :]  # steps behind t need no further look at it
        joint = to_come * emitted.unsqueeze(1)
        here = joint / joint.sum(dim=-1, keepdim=True).clamp(min=SMALLEST)
        to_come = (1 - drift) * here + drift * law
        ahead.append(to_come[..., 0, :])
        to_come = to_come[..., 1:, :]
    return torch.stack(ahead, dim=-2)
