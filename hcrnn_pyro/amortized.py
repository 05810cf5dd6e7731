"""The amortized guide: q(z | x) = prod over the latents z_i of family_i(z_i | encoder(x)), one pass for all rows.

It learns of the latents from the model's prior, so that it serves every prior on whose supports its family can live.
"""

from __future__ import annotations

import pyro
from torch import nn

from hcrnn_pyro.contracts import ContextModel
from hcrnn_pyro.data.batches import Batch
from hcrnn_pyro.families import MakeFamily
from hcrnn_pyro.nn.encoders import MakeEncoder
from hcrnn_pyro.parameters import announce_parameters
from hcrnn_pyro.plates import sequences_plate
from hcrnn_pyro.sites import latent_sites, over_steps


class AmortizedGuide(nn.Module):
    """One encoder for the sequence, one family for each latent of the prior.

    Args:
        model: the model whose posterior it approximates.
        make_encoder: what it reads, see :mod:`hcrnn_pyro.nn.encoders`.
        make_family: what it can say, see :mod:`hcrnn_pyro.families`.

    Raises:
        SupportMismatch: the family cannot live where a latent of the prior does.
    """

    def __init__(self, model: ContextModel, make_encoder: MakeEncoder, make_family: MakeFamily) -> None:
        super().__init__()
        self.encoder = make_encoder(model)
        sites = latent_sites(model.prior)
        self.families = nn.ModuleDict({site.name: make_family(site, self.encoder.output_size) for site in sites})
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.xavier_uniform_(layer.weight)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, batch: Batch) -> None:
        """Issue the latents."""
        announce_parameters("guide", self)
        features = self.encoder(batch)
        with sequences_plate(batch):
            for name, family in self.families.items():
                pyro.sample(name, over_steps(family(features), batch))
