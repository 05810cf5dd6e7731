"""Priors on the context proportions, one per file: ``PRIORS[name](contexts)`` makes a prior for K contexts.

A prior is called inside the model's plate over sequences with the batch; it issues its latent sites and returns theta,
the point on the simplex: shape (B, K), or (B, T, K) in the filtering scope, where
:func:`hcrnn_pyro.sites.over_steps` gives a latent its time axis. The model records what it returns as the
deterministic site ``theta``. Parameters of a prior are learned with the model's, by the same ELBO.
"""

from hcrnn_pyro.contracts import MakePrior

from .dirichlet import SymmetricDirichlet
from .dirichlet_laplace import DirichletLaplace
from .dirichlet_learned import LearnedDirichlet
from .logistic_normal import LogisticNormal
from .logistic_normal_learned import LearnedLogisticNormal
from .mixture import Mixture
from .random_walk import RandomWalk
from .sparse import Sparse
from .stick_breaking import StickBreaking

PRIORS: dict[str, MakePrior] = {
    "logistic-normal": LogisticNormal,
    "logistic-normal-learned": LearnedLogisticNormal,
    "dirichlet": SymmetricDirichlet,
    "dirichlet-learned": LearnedDirichlet,
    "dirichlet-laplace": DirichletLaplace,
    "stick-breaking": StickBreaking,
    "sparse": Sparse,
    "mixture": Mixture,
    "random-walk": RandomWalk,
}

__all__ = [
    "PRIORS",
    "DirichletLaplace",
    "LearnedDirichlet",
    "LearnedLogisticNormal",
    "LogisticNormal",
    "Mixture",
    "RandomWalk",
    "Sparse",
    "StickBreaking",
    "SymmetricDirichlet",
]
