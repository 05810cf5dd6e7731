"""The memory of training: kernel weights by hand, its mixture, its choice of share, and the command."""

import json
from dataclasses import replace

import numpy as np
import pyro
import pytest
import torch

from experiments.pool import main as pool
from experiments.remember import main
from experiments.run_data import data_of_run
from experiments.svi import main as train
from guides import GUIDES
from hcrnn_pyro import kernel_memory, load_run
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.evaluation import evaluate, summarise
from hcrnn_pyro.kernel_memory import KernelMemory, Read, Remembering, fit_memory, read, remember
from hcrnn_pyro.new_items import side_information
from hcrnn_pyro.prediction import PosteriorPredictive
from hcrnn_pyro.runs import run_sha1
from models import MODELS, PRIORS
from tests.cycles import cycles, cycles_data, make_pair

ITEMS = 4
SEQUENTIAL = ["hcrnn1", "hcrnn3-bi", "hcrnn-switching", "gru4rec", "lstm4rec", "narm", "stamp", "sasrec"]


def flat(states, items, bandwidth=2.0, share=0.25):
    """A memory in the plane, along its own axes."""
    states = torch.tensor(states, dtype=torch.double)
    return KernelMemory(torch.zeros(2).double(), torch.eye(2).double(), states, torch.tensor(items), bandwidth, share)


def by_hand(memory, query, possible):
    weights = np.zeros(ITEMS + 1)
    for state, item in zip(memory.states.numpy(), memory.items.tolist(), strict=True):
        weights[item] += np.exp(-np.sum((query - state) ** 2) / memory.bandwidth)
    weights *= possible
    return weights / weights.sum()


STATES = [[0.0, 1.0], [2.0, 0.0], [0.5, 0.5], [-1.0, 3.0], [1.0, 1.0]]
FOLLOWED = [1, 1, 2, 4, 4]  # nothing was followed by 3


def model_says(*rows):
    return torch.tensor([[0.0, *row] for row in rows], dtype=torch.double).log()


def test_it_is_the_kernels_weight_of_what_followed():
    memory = flat(STATES, FOLLOWED)
    queries = torch.tensor([[0.1, 0.9], [30.0, -5.0]], dtype=torch.double)
    log_probs = model_says([0.4, 0.3, 0.2, 0.1], [0.25, 0.25, 0.5, 0.0])
    mixed = memory.mixed(Read(log_probs, queries)).exp().numpy()
    for n, query in enumerate(queries.numpy()):
        said = log_probs[n].exp().numpy()
        expected = 0.75 * said + 0.25 * by_hand(memory, query, said > 0)
        np.testing.assert_allclose(mixed[n], expected, rtol=1e-9)
    np.testing.assert_allclose(mixed.sum(axis=1), 1.0)
    assert mixed[1, 4] == 0.0, "what the model holds impossible stays so"


def test_mean_and_axes_are_those_of_the_states():
    turn = torch.linalg.qr(torch.randn(2, 2, dtype=torch.double)).Q
    plain = flat(STATES, FOLLOWED)
    mean = torch.tensor([3.0, -2.0], dtype=torch.double)
    turned = replace(plain, mean=mean, axes=turn, states=plain.states @ turn)
    query, log_probs = torch.tensor([[0.3, 0.2]], dtype=torch.double), model_says([0.1, 0.2, 0.3, 0.4])
    torch.testing.assert_close(
        turned.mixed(Read(log_probs, query + mean)), plain.mixed(Read(log_probs, query)), rtol=1e-9, atol=0
    )


def test_portions_change_nothing(monkeypatch):
    memory, queries = flat(STATES, FOLLOWED), torch.randn(7, 2).double()
    log_probs = torch.randn(7, ITEMS + 1).double().log_softmax(dim=1)
    whole = memory.mixed(Read(log_probs, queries))
    of_targets = memory.of_targets(Read(log_probs, queries), torch.tensor([1, 2, 3, 4, 1, 2, 4]), [0.5, 2.0])
    monkeypatch.setattr(kernel_memory, "BLOCK", 2 * len(STATES))
    torch.testing.assert_close(memory.mixed(Read(log_probs, queries)), whole)
    again = memory.of_targets(Read(log_probs, queries), torch.tensor([1, 2, 3, 4, 1, 2, 4]), [0.5, 2.0])
    torch.testing.assert_close(again, of_targets)
    at = torch.tensor([1, 2, 3, 4, 1, 2, 4])[:, None]
    model = log_probs.gather(1, at)[:, 0].exp()
    torch.testing.assert_close(0.75 * model + 0.25 * of_targets[1], whole.gather(1, at)[:, 0].exp())


def test_a_share_of_nothing_is_the_model():
    log_probs = model_says([0.1, 0.2, 0.3, 0.4])
    assert torch.equal(flat(STATES, FOLLOWED, share=0.0).mixed(Read(log_probs, torch.zeros(1, 2))), log_probs)


def test_where_nothing_possible_followed_the_model_is_believed():
    log_probs = model_says([0.0, 0.0, 1.0, 0.0])  # item 3 alone is possible, and followed no state
    torch.testing.assert_close(flat(STATES, FOLLOWED).mixed(Read(log_probs, torch.zeros(1, 2).double())), log_probs)


def test_the_share_is_the_best_of_a_fine_grid():
    random = torch.Generator().manual_seed(0)
    model, memory = (torch.rand(400, generator=random).double() for _ in range(2))
    score, share = kernel_memory._best_share(model, memory)
    grid = np.linspace(0.0, 1.0, 2001)
    scores = [float(((1 - a) * model + a * memory).log().mean()) for a in grid]
    assert share == pytest.approx(grid[int(np.argmax(scores))], abs=1e-3)
    assert score == pytest.approx(max(scores), abs=1e-7)


def predictive_of(name, **settings):
    pyro.set_rng_seed(0)
    with_prior = {"make_prior": PRIORS["logistic-normal"], "contexts": 3} if name.startswith("hcrnn") else {}
    model = MODELS[name](items=8, hidden=6, **with_prior, **settings)
    return PosteriorPredictive(model.eval(), GUIDES["bag-of-items" if with_prior else "none"](model).eval())


@pytest.mark.parametrize(
    "name", ["hcrnn1", "hcrnn3-bi", "hcrnn-switching", "gru4rec", "lstm4rec", "narm", "stamp", "sasrec"]
)
def test_every_trained_sequential_model_has_states(name):
    predictive = predictive_of(name)
    part = cycles(3, 5)
    memory = remember(predictive, part)
    assert len(memory.items) == part.predictions
    assert (memory.items.diff() >= 0).all()
    batch = make_batch(part, np.array([2]), np.array([3]), "prefix")
    found = read(predictive, batch)
    assert torch.equal(found.log_probs, predictive(batch))
    near = replace(memory, bandwidth=1e-6, share=1 - 1e-6)  # it only believes a state that is the very same
    assert int(near.mixed(found).argmax()) == int(part[2][3])


def test_kept_states_are_those_of_the_prefixes():
    predictive, part = predictive_of("hcrnn3"), cycles(3, 4)
    memory = remember(predictive, part)
    by_prefix = []
    for row in range(len(part)):
        for length in range(1, len(part[row])):
            found = read(predictive, make_batch(part, np.array([row]), np.array([length]), "prefix"))
            by_prefix.append((int(part[row][length]), (found.states - memory.mean) @ memory.axes))
    assert memory.items.tolist() == sorted(item for item, _ in by_prefix)
    for item, state in by_prefix:
        distances = (memory.states[memory.items == item] - state).abs().amax(dim=1)
        assert distances.min() < 1e-4, "each is kept with the item that followed it"


def test_it_lifts_a_model_that_was_hardly_trained():
    """In a cycle the same state is always followed by the same item, which an untrained output layer does not know."""
    model, guide = make_pair()
    predictive, data = PosteriorPredictive(model.eval(), guide.eval()), cycles_data()
    memory = fit_memory(remember(predictive, data.train), predictive, data.valid)
    assert memory.share == kernel_memory.MOST
    alone, both = (
        summarise(evaluate(scorer, data.test, "one-pass")) for scorer in (predictive, Remembering(predictive, memory))
    )
    assert both["nll"] < 0.3 < 1.5 < alone["nll"]
    assert both["mrr@3"] > 95.0


def noisy(seed, count):
    """Cycles in which three items of ten are drawn at random."""
    part, random = cycles(seed, count), np.random.default_rng(seed)
    drawn = random.integers(1, 9, part.events).astype(part.items.dtype)
    return replace(part, items=np.where(random.random(part.events) < 0.3, drawn, part.items))


def test_the_choice_is_by_the_log_score():
    model, guide = make_pair()
    predictive, valid = PosteriorPredictive(model.eval(), guide.eval()), noisy(1, 60)
    chosen = fit_memory(remember(predictive, noisy(0, 120)), predictive, valid)

    def nll(**other):
        return summarise(evaluate(Remembering(predictive, replace(chosen, **other)), valid, "one-pass"))["nll"]

    best = nll()
    assert 0.0 < chosen.share < kernel_memory.MOST
    for factor in (2.0, 0.5):
        assert nll(bandwidth=factor * chosen.bandwidth) > best
    for share in (0.9 * chosen.share, min(1.1 * chosen.share, 0.999)):
        assert nll(share=share) > best


def test_many_states_are_kept_in_part(monkeypatch):
    monkeypatch.setattr(kernel_memory, "STATES", 40)
    predictive = predictive_of("narm")
    first, again, other = (remember(predictive, cycles(0, 60), seed=seed) for seed in (0, 0, 1))
    assert 20 <= len(first.items) <= 45
    assert torch.equal(first.states, again.states)
    assert not torch.equal(first.items, other.items) or not torch.equal(first.states, other.states)


def test_a_model_without_states_is_refused():
    with pytest.raises(UserError, match="A BPRMF reads no states out of a sequence"):
        remember(predictive_of("bpr-mf"), cycles(0, 3))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    small = ["--epochs", "2", "--hidden", "8", "--contexts", "3", "--evaluation", "one-pass", "--device", "cpu"]
    train(["--data", "synthetic", *small, "--out", str(folder / "first")])
    train(["--refit", str(folder / "first"), "--out", str(folder / "refit")])
    train(["--data", "synthetic", "--model", "pop", "--out", str(folder / "pop")])
    main(["--run", str(folder / "first"), "--out", str(folder / "memory")])
    return folder


def metrics(folder):
    return json.loads((folder / "metrics.json").read_text())


def test_a_run_with_a_memory_is_read_back(runs):
    run = load_run(runs / "memory")
    assert isinstance(run.predictive, Remembering)
    config = run.config["memory"]
    assert (run.memory.bandwidth, run.memory.share) == (config["bandwidth"], config["share"])
    assert 0.0 < config["share"] < 1.0
    assert metrics(runs / "memory")["valid"]["nll"] < metrics(runs / "first")["valid"]["nll"]
    again = summarise(evaluate(run.predictive, data_of_run(run).test, "one-pass"))
    assert again["nll"] == pytest.approx(metrics(runs / "memory")["test"]["nll"], abs=1e-5)
    assert run_sha1(runs / "memory") != run_sha1(runs / "first")


def test_it_is_pooled_like_any_run(runs, tmp_path, capsys):
    pool(
        ["--runs", str(runs / "memory"), str(runs / "pop"), "--evaluation", "one-pass", "--out", str(tmp_path / "pool")]
    )
    capsys.readouterr()
    assert metrics(tmp_path / "pool")["valid"]["nll"] <= metrics(runs / "memory")["valid"]["nll"] + 1e-6


def test_a_refit_is_asked_as_its_first_run_was(runs, tmp_path, capsys):
    flags = ["--run", str(runs / "refit"), "--out", str(tmp_path / "both")]
    with pytest.raises(UserError, match="Remember that one first, and name it by --selected"):
        main(flags)
    with pytest.raises(UserError, match=r"is not what .*first became with a memory"):
        main([*flags, "--selected", str(runs / "refit")])
    main([*flags, "--selected", str(runs / "memory")])
    assert "as in " in capsys.readouterr().out
    first, both = load_run(runs / "memory"), load_run(tmp_path / "both")
    assert both.config["memory"] == first.config["memory"]
    assert len(both.memory.items) == len(first.memory.items) + 1_534, "the valid part's predictions as well"
    assert both.selected.folder.resolve() == (runs / "memory").resolve()
    assert metrics(tmp_path / "both")["valid"] == metrics(runs / "memory")["valid"]


def test_what_cannot_remember_is_refused(runs, tmp_path):
    out = ["--out", str(tmp_path / "new")]
    for run, sentence in (
        ("pop", "holds a pop, which counts and has no states to remember"),
        ("memory", "has a memory already"),
    ):
        with pytest.raises(UserError, match=sentence):
            main(["--run", str(runs / run), *out])
    with pytest.raises(UserError, match="--selected is for a refit"):
        main(["--run", str(runs / "first"), "--selected", str(runs / "memory"), *out])
    with pytest.raises(UserError, match="holds another run"):
        main(["--run", str(runs / "first"), "--out", str(runs / "memory")])
    assert not (tmp_path / "new").exists()


def test_a_run_with_a_memory_is_not_trained(runs, tmp_path):
    with pytest.raises(UserError, match=r"was given a memory\. Refit the run that it remembers"):
        train(["--refit", str(runs / "memory"), "--out", str(tmp_path / "a")])
    with pytest.raises(UserError, match="holds a run with a memory, not one to be trained"):
        train(["--resume", "--out", str(runs / "memory")])
    with pytest.raises(UserError, match="has a memory of its training; add items to the run that was trained"):
        side_information(load_run(runs / "memory"))


def test_a_lost_memory_is_told(runs, tmp_path):
    lost = tmp_path / "lost"
    lost.mkdir()
    for name in ("config.json", "model.safetensors", "items.parquet"):
        (lost / name).write_bytes((runs / "memory" / name).read_bytes())
    with pytest.raises(UserError, match=r"memory\.safetensors is missing or damaged"):
        load_run(lost)
