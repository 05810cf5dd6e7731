"""What every model, guide and prior owes the others; a new registry entry is tested by being listed."""

import pickle
from dataclasses import fields
from itertools import product

import pyro
import pytest
import torch
from pyro.infer import SVI, Trace_ELBO

from guides import GUIDES
from hcrnn_pyro.contract import CHECKS, run_checks
from hcrnn_pyro.contract.keeping import a_copy_stands_by_itself
from hcrnn_pyro.contract.subject import Subject
from hcrnn_pyro.contract.toy import ITEMS, SIZES, batch_of
from hcrnn_pyro.contracts import has_latent, has_parameters
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.pair import DEFAULTS, NONE, PairConfig, build_pair
from models import MODELS, PRIORS

PRIOR, GUIDE = DEFAULTS["prior"], DEFAULTS["guide"]
LATENT_GUIDES = sorted(GUIDES.keys() - {NONE})
CONTEXT_MODELS = [name for name in MODELS if has_latent(MODELS[name])]
PARTS = [("hcrnn3-bi", *parts, "categorical") for parts in product(PRIORS, LATENT_GUIDES)]
CONTEXT_PAIRS = [(model, PRIOR, GUIDE, "categorical") for model in CONTEXT_MODELS if model != "hcrnn3-bi"]
CONTEXT_PAIRS += [(model, PRIOR, GUIDE, "without-replacement") for model in CONTEXT_MODELS]
CONTEXT_PAIRS += [(model, PRIOR, GUIDE, "repeat-explore") for model in ("hcrnn1", "hcrnn3-bi")]
PLAIN_PAIRS = [
    (model, NONE, NONE, likelihood)
    for model, likelihood in product(sorted(MODELS.keys() - CONTEXT_MODELS), ["categorical", "without-replacement"])
]
REFUSED = [(prior, guide) for prior, guide in [("logistic-normal", "dirichlet")] if guide in GUIDES]

ONLY_WITH_LATENT = {"supports", "theta on the simplex", "filtering and prefix", "draws"}
ONLY_WITHOUT_LATENT = {"one pass", "elbo without a latent"}
ONLY_WITH_PARAMETERS = {"gradients", "pyro.infer.SVI"}


def maker(model, prior, guide, likelihood):
    settings = {field.name: SIZES[field.name] for field in fields(MODELS[model].config) if field.name in SIZES}
    return lambda: build_pair(PairConfig(model, prior, guide), settings | {"likelihood": likelihood}, ITEMS)


def refusal(make):
    """The sentence that refuses an illegal pair, if it is one."""
    try:
        make()
    except UserError as sentence:
        return str(sentence)
    return None


def unjudged_by_right(subject):
    """The checks that do not apply to a pair, by what it is."""
    names = ONLY_WITHOUT_LATENT if subject.has_latent else ONLY_WITH_LATENT
    names = names if has_parameters(subject.model, subject.guide) else names | ONLY_WITH_PARAMETERS
    if "prefix" in subject.refusals or "filtering" in subject.refusals:
        names = names | {"filtering and prefix"}
    if {"sequence", "prefix"} <= subject.refusals.keys():
        names = names | {"draws"}
    return names | ({"past"} if subject.has_latent and "sequence" in subject.refusals else set())


@pytest.mark.parametrize("names", PARTS + CONTEXT_PAIRS + PLAIN_PAIRS, ids="/".join)
def test_the_contract_is_kept(names):
    make = maker(*names)
    if (sentence := refusal(make)) is not None:
        assert GUIDE in sentence.partition(f" Guides for --prior {names[1]}: ")[2], "a refusal names legal partners"
        return
    results = run_checks(make)
    assert not [str(result) for result in results if result.verdict == "broken"]
    assert {result.name for result in results if result.verdict == "not judged"} == unjudged_by_right(Subject(make))
    remarks = [result.sentence for result in results if result.name == "past"]
    assert names[2] == "prior" or "The guide reads nothing" not in remarks[0]


def test_a_guide_that_cannot_live_on_a_priors_support_is_refused():
    for prior, guide in REFUSED:
        assert refusal(maker("hcrnn3-bi", prior, guide, "categorical")), (prior, guide)


def test_every_check_is_judged_for_some_pair():
    """No line of the report passes for all by never being asked."""
    judged = set()
    for names in [("hcrnn3-bi", PRIOR, GUIDE, "categorical"), ("gru4rec", NONE, NONE, "categorical")]:
        judged |= {result.name for result in run_checks(maker(*names)) if result.verdict == "kept"}
    assert judged >= {check.name for check in CHECKS}


@pytest.mark.parametrize("guide", LATENT_GUIDES)
def test_a_pair_can_be_pickled_after_a_run(guide):
    subject = Subject(maker("hcrnn3-bi", "dirichlet" if guide == "dirichlet" else PRIOR, guide, "categorical"))
    a_copy_stands_by_itself(subject, lambda pair: pickle.loads(pickle.dumps(pair)))


def test_a_copied_guide_reads_the_copied_models_embeddings():
    model, guide = pickle.loads(pickle.dumps(maker("hcrnn3-bi", PRIOR, GUIDE, "categorical")()))
    assert guide.encoder.embed.__self__ is model


@pytest.mark.parametrize("name", ["hcrnn3-bi", "gru4rec"])
def test_a_pair_of_another_kind_in_the_process_is_trained_by_itself(name):
    """Pyro's global store would hand the second model the first one's tensors."""
    prior, guide = (PRIOR, GUIDE) if name in CONTEXT_MODELS else (NONE, NONE)
    model, guide = (part.double() for part in maker(name, prior, guide, "categorical")())
    other, other_guide = (part.double() for part in maker("hcrnn1", PRIOR, GUIDE, "categorical")())
    SVI(other, other_guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()).step(batch_of("sequence"))
    before, other_before = (part.item_embeddings.detach().clone() for part in (model, other))
    SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), Trace_ELBO()).step(batch_of("sequence"))
    assert not torch.equal(model.item_embeddings, before)
    assert torch.equal(other.item_embeddings, other_before)
