r"""p(eta) = Normal(eta_1; 0, I_K) prod_{t>1} Normal(eta_t; eta_{t-1}, step^2 I_K): contexts that drift step by step.

Axes: B rows, T time, K contexts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import pyro
import torch
from jaxtyping import Bool, Float
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.errors import UserError, require


class Walk(TorchDistribution):
    r"""Normal(z_1; 0, I) prod_{t>1} Normal(z_t; z_{t-1}, step^2 I), over the steps that are no padding.

    Batch shape ``(*batch, B)``, event shape (T, K). Padding is at the end, so that what it leaves out is no step on
    the way to another; a drawn walk goes on through it.

    Args:
        step: scale of a step, above 0.
        valid: (*batch, B, T) which steps are no padding.
        contexts: K.
    """

    arg_constraints: ClassVar[dict[str, Any]] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True

    def __init__(self, step: Float[Tensor, ""], valid: Bool[Tensor, "*rows time"], contexts: int) -> None:
        self.step, self.valid = step, valid
        super().__init__(valid.shape[:-1], torch.Size((valid.shape[-1], contexts)), validate_args=False)

    @property
    def mean(self) -> Float[Tensor, "*rows time contexts"]:
        """0, at every step."""
        return self._scales().new_zeros(self._extended_shape())

    @property
    def variance(self) -> Float[Tensor, "*rows time contexts"]:
        """1 + (t - 1) step^2, at the step t = 1, 2, ..."""
        return self._scales().square().cumsum(dim=0).expand(self._extended_shape())

    def rsample(self, sample_shape: Sequence[int] = ()) -> Float[Tensor, "*shape time contexts"]:
        """Draw the first point and the steps, and add them up."""
        shape = self._extended_shape(torch.Size(sample_shape))
        noise = torch.randn(shape, dtype=self.step.dtype, device=self.step.device)
        return (noise * self._scales()).cumsum(dim=-2)

    def log_prob(self, value: Float[Tensor, "*#rows time contexts"]) -> Float[Tensor, "*rows"]:
        """Log-density of the valid steps."""
        moves = torch.cat([value[..., :1, :], value.diff(dim=-2)], dim=-2)
        densities = torch.distributions.Normal(0.0, self._scales(), validate_args=False).log_prob(moves)
        return torch.where(self.valid, densities.sum(dim=-1), 0.0).sum(dim=-1)

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Walk:
        """The same walk with further dimensions on the left."""
        return Walk(self.step, self.valid.expand(*batch_shape, -1), self.event_shape[-1])

    def _scales(self) -> Float[Tensor, "time 1"]:
        """1 for the first point, then the scale of a step."""
        first = torch.ones_like(self.step).expand(1)
        return torch.cat([first, self.step.expand(self.event_shape[0] - 1)]).unsqueeze(-1)


class RandomWalk(nn.Module):
    r"""p(eta) = Normal(eta_1; 0, I) prod_{t>1} Normal(eta_t; eta_{t-1}, step^2 I), theta_t = softmax(eta_t).

    Support of ``eta``: R^(T K), in the filtering scope alone, where theta has a value for every step. eta_t is
    Normal(0, (1 + (t - 1) step^2) I), so that E[theta_tk] = 1 / K; Var[theta_tk] has no closed form and grows with t
    towards (1 / K) (1 - 1 / K). step > 0 is learned.

    Source: Blei and Lafferty, "Dynamic Topic Models", ICML 2006.

    Args:
        contexts: K.
        step: where the scale of a step starts.
    """

    def __init__(self, contexts: int, step: float = 0.1) -> None:
        super().__init__()
        require(step > 0.0, f"The step of a random walk is above 0; got {step}.")
        self.contexts = contexts
        self.log_step = nn.Parameter(torch.tensor(math.log(step)))

    def forward(self, batch: Batch) -> Tensor:
        """Issue ``eta``; returns theta of every step.

        Raises:
            UserError: the batch is of another scope than filtering.
        """
        if batch.scope != "filtering":
            raise UserError(
                f"The random-walk prior moves theta from step to step, and a row of the {batch.scope} scope has one "
                "theta: use --scope filtering and --evaluation one-pass."
            )
        eta = pyro.sample("eta", Walk(self.log_step.exp(), batch.valid, self.contexts))
        return eta.softmax(dim=-1)
