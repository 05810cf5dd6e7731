"""What is known of data drawn from a known process, and the best prediction anyone can make of it.

Axes: B rows, T inputs, V items, K contexts, S points of the theta integral.

Given theta the process is a hidden Markov model over the context z_t, with the transition (1 - d) I + d 1 theta^T. The
Bayes-optimal prediction integrates z exactly by forward filtering and theta ~ softmax(Normal(0, s^2 I)) over S
quasi-random points that are re-weighted by the likelihood of the prefix.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from hcrnn_pyro.data.batches import Batch

POINTS = 4096


@dataclass(frozen=True, eq=False)
class Truth:
    """The planted quantities.

    Attributes:
        emissions: (K, V + 1) e_z, probabilities of items in each context, column 0 (padding) 0.
        context_of_item: (V + 1,) the context an item belongs to; -1 for padding.
        drift_probability: d, chance that z is drawn anew.
        repeat_probability: r, chance that an event repeats an item of its sequence.
        proportion_scale: s of the logistic-normal law of theta.
        theta: part -> (S, K) context proportions of each sequence.
        contexts: part -> (N,) context of each event.
        points: size of the theta integral in :meth:`__call__`.
    """

    emissions: np.ndarray
    context_of_item: np.ndarray
    drift_probability: float
    repeat_probability: float
    proportion_scale: float
    theta: Mapping[str, np.ndarray]
    contexts: Mapping[str, np.ndarray]
    points: int = POINTS

    def drift_points(self, part: str, offsets: np.ndarray) -> np.ndarray:
        """(N,) whether the context of an event differs from that of the event before it in its sequence.

        Args:
            part: ``train``, ``valid`` or ``test``.
            offsets: of that part's sequences; a sequence's first event is no drift.
        """
        contexts = self.contexts[part]
        drift = np.concatenate([[False], contexts[1:] != contexts[:-1]])
        drift[offsets[:-1]] = False
        return drift

    def __call__(self, batch: Batch) -> Float[Tensor, "predictions columns"]:
        """Log of the Bayes-optimal next-item probabilities at each scored position, (N, V + 1); a scorer."""
        on_cpu = batch.to("cpu")
        predictions = self._filter(on_cpu.inputs)  # (B, T, V + 1)
        rows = on_cpu.scored.nonzero()[:, 0]
        return predictions[rows, on_cpu.queries[on_cpu.scored]].log().to(batch.inputs.device)

    def emission_of(self, items: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time contexts"]:
        """p(x_t | z_t = k, x_1..x_{t-1}) of every item of whole sequences; 1 on padding, index 0."""
        emissions = torch.from_numpy(self.emissions)
        seen = torch.zeros(len(items), emissions.shape[1], dtype=torch.bool)
        emitted = []
        for item in items.unbind(dim=1):
            of_all = self._item_probabilities(emissions, seen)  # (B, K, V + 1)
            of_item = of_all.gather(2, item.view(-1, 1, 1).expand(-1, emissions.shape[0], 1)).squeeze(2)
            emitted.append(torch.where(item.unsqueeze(1) > 0, of_item, 1.0))
            seen = seen.scatter(1, item.unsqueeze(1), True)
        return torch.stack(emitted, dim=1)

    def log_likelihood(
        self, emission: Float[Tensor, "batch time contexts"], theta: Float[Tensor, "*draws batch contexts"]
    ) -> Float[Tensor, "*draws batch"]:
        """Log p(x_1..x_T | theta), z summed out by forward filtering; differentiable in theta.

        Args:
            emission: of :meth:`emission_of`.
            theta: context proportions of each sequence.
        """
        context, total = theta, torch.zeros(())
        for emitted in emission.unbind(dim=1):
            joint = context * emitted
            evidence = joint.sum(dim=-1, keepdim=True)
            total = total + evidence.squeeze(-1).log()
            context = (1 - self.drift_probability) * joint / evidence + self.drift_probability * theta
        return total

    def _filter(self, inputs: Int[Tensor, "batch time"]) -> Float[Tensor, "batch time columns"]:
        """p(x_{t+1} | x_1..x_t) for every t, by forward filtering."""
        emissions = torch.from_numpy(self.emissions)
        theta = self._theta_points(emissions.shape[0])  # (S, K)
        context = theta.expand(len(inputs), -1, -1)  # (B, S, K) p(z_t | x_1..x_{t-1}, theta)
        log_weight = theta.new_zeros(len(inputs), len(theta))  # (B, S) log p(x_1..x_{t-1} | theta)
        seen = torch.zeros(len(inputs), emissions.shape[1], dtype=torch.bool)
        predictions = []
        likelihood = self._item_probabilities(emissions, seen)  # (B, K, V + 1) p(x_t | z_t, x_1..x_{t-1})
        for t in range(inputs.shape[1]):
            item = inputs[:, t]
            emitted = likelihood.gather(2, item.view(-1, 1, 1).expand(-1, emissions.shape[0], 1)).squeeze(2)  # (B, K)
            emitted = torch.where(item.unsqueeze(1) > 0, emitted, 1.0)  # padding says nothing
            joint = context * emitted.unsqueeze(1)
            evidence = joint.sum(dim=2)
            log_weight = log_weight + evidence.log()
            filtered = joint / evidence.unsqueeze(2)
            context = (1 - self.drift_probability) * filtered + self.drift_probability * theta
            seen = seen.scatter(1, item.unsqueeze(1), True)
            mean_context = (log_weight.softmax(dim=1).unsqueeze(2) * context).sum(dim=1)  # (B, K)
            likelihood = self._item_probabilities(emissions, seen)
            predictions.append((mean_context.unsqueeze(1) @ likelihood).squeeze(1))
        return torch.stack(predictions, dim=1)

    def _item_probabilities(
        self, emissions: Float[Tensor, "contexts columns"], seen: Tensor
    ) -> Float[Tensor, "batch contexts columns"]:
        """p(x | z, items seen): repeats spread evenly over the seen items, the rest by e_z over the others."""
        new = emissions * (~seen).unsqueeze(1)
        new = new / new.sum(dim=2, keepdim=True)
        old = seen.double()
        old[:, 0] = 0.0
        count = old.sum(dim=1, keepdim=True)
        repeat = torch.where(count > 0, self.repeat_probability, 0.0).unsqueeze(2)
        return repeat * (old / count.clamp(min=1)).unsqueeze(1) + (1 - repeat) * new

    def _theta_points(self, contexts: int) -> Float[Tensor, "points contexts"]:
        """Quasi-random points of theta's law: a scrambled Sobol sequence through the Normal's inverse."""
        uniform = torch.quasirandom.SobolEngine(contexts, scramble=True, seed=0).draw(self.points, dtype=torch.float64)
        normal = torch.special.ndtri(uniform.clamp(1e-9, 1 - 1e-9))
        return (self.proportion_scale * normal).softmax(dim=1)
