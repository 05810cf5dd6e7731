"""What is compared: the peers are what they say, the arithmetic is counted right, the parts add up to the step."""

import numpy as np
import pytest
import torch
from pyro.infer import Trace_ELBO
from torch.utils.flop_counter import FlopCounterMode

from experiments.benchmarking.arithmetic import Operations, Peak, hcrnn_operations
from experiments.benchmarking.breakdown import PARTS, Parts
from experiments.benchmarking.systems import GRU, OURS, REFERENCE, compared_systems
from experiments.benchmarking.workloads import Bench, one_user, random_batch
from hcrnn_pyro.elbo import Objective
from models import HCRNNConfig

ITEMS, SIZE, CONTEXTS = 30, 6, 4
SETTINGS = HCRNNConfig(hidden=SIZE, contexts=CONTEXTS)
SYSTEMS = {system.name: system for system in compared_systems(SETTINGS)}


@pytest.fixture(params=SYSTEMS)
def bench(request):
    return Bench(SYSTEMS[request.param], ITEMS, "cpu")


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_the_peer_recurs_as_a_gru():
    model, _ = SYSTEMS[GRU].build(ITEMS)
    model.double().eval()
    batch = random_batch(1, 5, ITEMS)
    weights = {name: tensor.numpy() for name, tensor in model.gru.state_dict().items()}
    hidden = np.zeros(SIZE)
    for t, item in enumerate(model.embed(batch.inputs)[0].detach().numpy()):
        from_item = np.split(weights["weight_ih_l0"] @ item + weights["bias_ih_l0"], 3)
        from_hidden = np.split(weights["weight_hh_l0"] @ hidden + weights["bias_hh_l0"], 3)
        reset, update = (sigmoid(from_item[i] + from_hidden[i]) for i in (0, 1))
        hidden = (1 - update) * np.tanh(from_item[2] + reset * from_hidden[2]) + update * hidden
        for got in model.states(batch, torch.full((1, CONTEXTS), 0.25))[:2]:
            np.testing.assert_allclose(got[0, t].detach().numpy(), hidden, rtol=1e-10)


def test_training_moves_every_parameter_of_every_system(bench):
    before = {name: parameter.clone() for name, parameter in bench.objective.named_parameters()}
    bench.train([random_batch(4, 6, ITEMS)] * 2)
    still = [name for name, p in bench.objective.named_parameters() if torch.equal(p, before[name])]
    assert still == []


def test_one_user_is_one_whole_history(bench):
    batch = one_user(ITEMS, 50)
    assert (batch.size, batch.inputs.shape, batch.scope) == (1, (1, 50), "prefix")
    asked = []
    answered = bench.predictive.model.register_forward_hook(lambda *_: asked.append(1))
    bench.answer(batch, times=3)
    answered.remove()
    assert len(asked) == 3


def counted(work):
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def test_products_are_as_many_as_torch_counts():
    """Torch's counter leaves out matrix times vector: the dot products with v_theta and v_h."""
    bench = Bench(SYSTEMS[REFERENCE], ITEMS, "cpu")
    parts, model = Parts(bench), bench.predictive.model
    for events in (1, 7):
        batch = random_batch(3, events, ITEMS)
        counts = {part: count.products for part, count in hcrnn_operations(batch, ITEMS, SIZE, CONTEXTS).items()}
        steps = 3 * events
        theta, _ = parts.posterior(batch)
        states = model.states(batch, theta)
        likelihood = model.likelihood(batch, theta)
        scored = likelihood.features.new_zeros(steps, model.readout.output_size)
        assert counts["guide"] == counted(lambda: parts.posterior(batch))  # noqa: B023 - called at once
        recurrence = counted(lambda: model.states(batch, theta))  # noqa: B023
        assert counts["recurrence"] == recurrence + 2 * steps * CONTEXTS * SIZE
        output = counted(lambda: model.to_item_space(scored)) + counted(likelihood.log_probs)  # noqa: B023
        padding = 2 * steps * SIZE  # log_probs has a column for it
        assert counts["output layer"] == output - padding
        if events == 1:  # with more, torch calculates some scores that the mask takes away
            readout = counted(lambda: model.readout(states.hidden, states.local_context, batch.queries))  # noqa: B023
            assert counts["readout"] == readout + 2 * steps * SIZE


def test_sigmoids_are_one_for_every_context_and_every_pair_of_positions():
    counts = hcrnn_operations(random_batch(3, 7, ITEMS), ITEMS, SIZE, CONTEXTS)
    assert counts["recurrence"].sigmoids == 3 * 7 * CONTEXTS * SIZE
    assert counts["readout"].sigmoids == 3 * (1 + 2 + 3 + 4 + 5 + 6 + 7) * SIZE


def test_the_floor_counts_products_forward_and_twice_backward():
    assert Peak(products=100.0, sigmoids=10.0).seconds(Operations(products=50.0, sigmoids=20.0)) == 1.5 + 2.0


@pytest.mark.parametrize("name", [OURS, REFERENCE, GRU])
def test_the_step_without_pyro_has_the_same_loss_and_gradients(name):
    bench = Bench(SYSTEMS[name], ITEMS, "cpu")
    batch = random_batch(4, 6, ITEMS)
    objective = Objective(bench.predictive.model, bench.predictive.guide, Trace_ELBO())
    losses, gradients = [], []
    for loss in (lambda: objective(batch).loss, lambda: Parts(bench).loss(batch)):
        torch.manual_seed(3)
        losses.append(loss())
        gradients.append(torch.autograd.grad(losses[-1], list(objective.parameters())))
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("name", [OURS, REFERENCE, GRU])
def test_the_parts_give_the_gradients_of_every_parameter(name):
    bench = Bench(SYSTEMS[name], ITEMS, "cpu")
    before = {key: parameter.clone() for key, parameter in bench.objective.named_parameters()}
    works = Parts(bench).works(random_batch(4, 6, ITEMS))
    assert tuple(works) == PARTS
    for work in works.values():
        work()
    still = [key for key, p in bench.objective.named_parameters() if torch.equal(p, before[key])]
    assert still == []
