"""A task with one right answer, that item i is followed by item i + 1, and a small pair to learn it."""

import numpy as np
import pandas as pd
import pyro

from guides import GUIDES
from hcrnn_pyro.data.dataset import DataSet, Sequences
from models import MODELS, PRIORS

CYCLE = 8  # the last item, which is followed by item 1


def cycles(seed, count):
    random = np.random.default_rng(seed)
    starts, lengths = random.integers(0, CYCLE, count), random.integers(4, 8, count)
    pairs = zip(starts, lengths, strict=True)
    return Sequences.from_lists([[int((start + t) % CYCLE) + 1 for t in range(length)] for start, length in pairs])


def cycles_data():
    items = pd.DataFrame({"item_id": [str(i) for i in range(1, CYCLE + 1)]})
    return DataSet("cycles", cycles(0, 60), cycles(1, 20), cycles(2, 20), items)


def make_pair(seed=0, **settings):
    pyro.set_rng_seed(seed)
    model = MODELS["hcrnn3-bi"](items=CYCLE, make_prior=PRIORS["logistic-normal"], hidden=12, contexts=3, **settings)
    return model, GUIDES["bag-of-items"](model)
