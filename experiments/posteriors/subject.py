"""What an analysis reads: the run, its data by the run's own flags, and draws of the guide."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from experiments.posteriors.config import PosteriorConfig
from experiments.run_data import data_of_run
from hcrnn_pyro.data.batches import Batch, make_batch
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import require
from hcrnn_pyro.pair import NONE
from hcrnn_pyro.posterior.contexts import context_items
from hcrnn_pyro.posterior.draws import Draws, draws_of
from hcrnn_pyro.posterior.joint import seeded
from hcrnn_pyro.posterior.summary import ThetaSummary, theta_summary
from hcrnn_pyro.runs import CONFIG, Run, load_run, read_config


@dataclass(frozen=True, eq=False)
class Subject:
    """What is analysed; draws are made when they are first asked for, each by a seed of its own.

    Attributes:
        config: how thoroughly.
        run: the trained pair.
        data: what it was trained on.
        part: the sequences of the part that predict something.
        sample: those of them on which draws are scored by the model, in the order of the part.
    """

    config: PosteriorConfig
    run: Run
    data: DataSet
    part: Sequences
    sample: Sequences

    @property
    def model(self) -> Any:
        """The trained model."""
        return self.run.model

    @property
    def guide(self) -> Any:
        """Its guide."""
        return self.run.guide

    @cached_property
    def theta(self) -> ThetaSummary:
        """Theta of every sequence of the part."""
        with seeded(self.config.seed):
            return theta_summary(self.model, self.guide, self.part, self.config.draws)

    @cached_property
    def draws(self) -> Draws:
        """Draws for the sample, with their densities."""
        with seeded(self.config.seed + 1):
            return draws_of(self.model, self.guide, self.sample, self.config.draws)

    @cached_property
    def scores(self) -> np.ndarray:
        """(K, V) how strongly each context speaks for each item."""
        return context_items(self.model)

    def first(self, count: int) -> Batch:
        """The first sequences of the sample as one batch."""
        count = min(count, len(self.sample))
        return make_batch(self.sample, np.arange(count), self.sample.lengths[:count] - 1, "sequence")

    def first_draws(self, count: int) -> Draws:
        """The draws of the same sequences."""

        def cut(values: torch.Tensor) -> torch.Tensor:
            return values[:, :count]

        draws = self.draws
        return Draws(
            latents={name: cut(value) for name, value in draws.latents.items()},
            deterministic={name: cut(value) for name, value in draws.deterministic.items()},
            log_guide=cut(draws.log_guide),
            log_prior=cut(draws.log_prior),
            log_likelihood=cut(draws.log_likelihood),
        )


def load_subject(config: PosteriorConfig, say: Callable[[str], None]) -> Subject:
    """Read the run and its data.

    Args:
        config: which run, which part.
        say: told of what is being done.

    Raises:
        UserError: there is no such run, it has no latent, or its data are gone or have changed.
    """
    require(config.run.is_dir(), f"--run: there is no folder {config.run}.")
    require(
        (config.run / CONFIG).is_file(), f"--run: {config.run} holds no run of experiments.svi; {CONFIG} is missing."
    )
    pair = read_config(config.run)["pair"]
    require(pair["guide"] != NONE, f"{pair['model']} has no latent variable, so there is no posterior to analyse.")
    say("Reading the run and its data")
    run = load_run(config.run)
    data = data_of_run(run, config.data_dir)
    part = data.part(config.split)
    part = part.rows(part.lengths >= 2)
    require(len(part) >= 2, f"The {config.split} part has fewer than two sequences of two events or more.")
    return Subject(config, run, data, part, part.take(_sample(len(part), config)))


def _sample(sequences: int, config: PosteriorConfig) -> np.ndarray:
    size = min(config.sequences or sequences, sequences)
    return np.sort(np.random.default_rng(config.seed).permutation(sequences)[:size])
