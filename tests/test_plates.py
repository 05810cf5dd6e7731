"""The plate over sequences against ``pyro.plate``: with checks it is that plate, without them it acts like it."""

from functools import partial

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO

from hcrnn_pyro.plates import sequences_plate
from tests.linear_gaussian import batch_of

ROWS = 4
DATA = torch.arange(3.0 * ROWS).view(ROWS, 3)
BATCH = batch_of(ROWS)
PLATES = {"ours": lambda: sequences_plate(BATCH), "pyro's": lambda: pyro.plate("sequences", ROWS, dim=-1)}


def program(plate):
    """A latent of one distribution for all rows, one observation of a distribution that has rows already."""
    with plate(), poutine.mask(mask=torch.tensor([True, True, True, False])):
        mean = pyro.sample("mean", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("seen", dist.Normal(mean, 2.0).to_event(1), obs=DATA)
    return mean


def sites(plate, draws):
    """The sites of one run with draws of the latent."""
    pyro.set_rng_seed(0)
    outer = pyro.plate("draws", draws, dim=-2)
    trace = poutine.trace(outer(lambda: program(plate))).get_trace()
    trace.compute_log_prob()
    return [trace.nodes[name] for name in ("mean", "seen")]


@pytest.mark.parametrize("checks", [True, False])
def test_sites_inside_are_as_inside_of_pyro_s_plate(checks):
    with pyro.validation_enabled(checks):
        ours, theirs = (sites(plate, draws=2) for plate in PLATES.values())
    for site, expected in zip(ours, theirs, strict=True):
        for of in (site, expected):
            frames = [(frame.name, frame.dim, frame.size) for frame in of["cond_indep_stack"]]
            assert frames == [("draws", -2, 2), ("sequences", -1, ROWS)]
            assert of["fn"].batch_shape == of["log_prob"].shape == (2, ROWS)
            assert of["scale"] == 1.0
        torch.testing.assert_close(site["value"], expected["value"], rtol=0, atol=0)
        torch.testing.assert_close(site["log_prob"], expected["log_prob"], rtol=0, atol=0)
    assert ours[0]["value"].shape == (2, ROWS, 3)


@pytest.mark.parametrize("checks", [True, False])
def test_a_trace_has_the_plate_s_own_node_where_pyro_checks(checks):
    with pyro.validation_enabled(checks):
        nodes = poutine.trace(program).get_trace(PLATES["ours"]).nodes
    assert ("sequences" in nodes) == checks


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("checks", [True, False])
def test_a_guide_with_pyro_s_plate_goes_with_a_model_of_ours_and_the_other_way_round(checks):
    """Pyro's checks would warn of a plate in the guide that the model lacks."""

    def guide(plate):
        with plate():
            pyro.sample("mean", dist.Normal(torch.zeros(3), 1.0).to_event(1))

    found = []
    with pyro.validation_enabled(checks):
        for ours, theirs in (("ours", "pyro's"), ("pyro's", "ours"), ("pyro's", "pyro's")):
            pyro.set_rng_seed(0)
            found.append(Trace_ELBO().loss(partial(program, PLATES[ours]), partial(guide, PLATES[theirs])))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("checks", [True, False])
def test_its_dimension_is_taken_while_it_is_entered_and_free_afterwards(checks):
    with pyro.validation_enabled(checks):
        with pytest.raises(ValueError, match="collide at dim=-1"), PLATES["ours"](), pyro.plate("others", 2, dim=-1):
            pass
        with pyro.plate("others", 2, dim=-1):
            pass
