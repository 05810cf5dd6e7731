"""q(z | x) = p(z): the prior itself, a guide that learns nothing from the sequence.

A baseline: what a trained guide gains over it is what inference is worth, and a check of posteriors must flag it.
"""

from __future__ import annotations

from torch import nn
from torch.func import functional_call

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.plates import sequences_plate


class FromPrior(nn.Module):
    """Issues the prior's own latents; the KL term is 0, and no parameter of the prior is trained through its draws.

    Args:
        model: the model whose prior it repeats.
    """

    def __init__(self, model: ContextModel) -> None:
        super().__init__()
        self.models = (model,)  # in a tuple, where its parameters do not become the guide's too

    def forward(self, batch: Batch) -> None:
        """Issue the latents."""
        prior = self.models[0].prior
        with sequences_plate(batch):
            if isinstance(prior, nn.Module):
                fixed = {name: parameter.detach() for name, parameter in prior.named_parameters()}
                functional_call(prior, fixed, (batch,))
            else:  # a plain function has no parameters
                prior(batch)
