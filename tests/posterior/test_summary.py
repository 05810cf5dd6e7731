"""Intervals of theta against NumPy, and against Pyro's own draws."""

import numpy as np
import pytest

from guides import GUIDES
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.data.dataset import Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior import summary
from hcrnn_pyro.posterior.draws import draw
from hcrnn_pyro.posterior.joint import seeded
from hcrnn_pyro.posterior.summary import draw_theta, summarise_theta, theta_summary
from models import MODELS, PRIORS

SEQUENCES = Sequences.from_lists([[1, 2, 3, 4, 5], [6, 7], [8, 9, 1, 2]], ids=["c", "a", "b"])


@pytest.fixture
def pair():
    model = MODELS["hcrnn3-bi"](items=9, make_prior=PRIORS["logistic-normal"], hidden=6, contexts=4).eval()
    return model, GUIDES["bag-of-items"](model).eval()


def test_a_table_has_a_line_for_every_row_and_context():
    theta = np.random.default_rng(0).dirichlet(np.ones(3), (50, 2))  # S = 50, B = 2, K = 3
    table = summarise_theta(theta, np.array(["one", "two"], dtype=object), np.array([4, 9]))
    assert table["sequence"].tolist() == ["one"] * 3 + ["two"] * 3
    assert table["events_read"].tolist() == [4] * 3 + [9] * 3
    assert table["context"].tolist() == [0, 1, 2, 0, 1, 2]
    for line in table.to_dict("records"):
        values = np.sort(theta[:, ["one", "two"].index(line["sequence"]), line["context"]])
        assert line["mean"] == pytest.approx(sum(values) / 50)
        assert line["sd"] == pytest.approx((sum(values**2) / 50 - (sum(values) / 50) ** 2) ** 0.5, rel=1e-4)
        # Linear between order statistics: place 0.05 * 49 = 2.45 from the lowest, and so on.
        assert line["q05"] == pytest.approx(0.55 * values[2] + 0.45 * values[3])
        assert line["q50"] == pytest.approx(0.5 * values[24] + 0.5 * values[25])
        assert line["q95"] == pytest.approx(0.45 * values[46] + 0.55 * values[47])


@pytest.mark.parametrize("scope", ["sequence", "prefix"])
@pytest.mark.parametrize("positions", [1, 2_000])
def test_a_part_comes_in_its_own_order(pair, monkeypatch, scope, positions):
    """The narrow posterior's mean tells whose row it is, however the rows are batched."""
    model, guide = pair
    guide.families.eta.scale.bias.data.fill_(-20.0)
    guide.families.eta.scale.weight.data.zero_()
    monkeypatch.setattr(summary, "POSITIONS", positions)
    found = theta_summary(model, guide, SEQUENCES, 3, scope)
    rows = [(row, t) for row in range(3) for t in range(1, SEQUENCES.lengths[row])]
    rows = rows if scope == "prefix" else [(0, 4), (1, 1), (2, 3)]
    means = np.stack(
        [draw(model, guide, make_batch(SEQUENCES, np.array([r]), np.array([t]), scope), 1).theta[0, 0] for r, t in rows]
    )
    np.testing.assert_allclose(found.means, means, rtol=1e-4)
    np.testing.assert_allclose(found.row_mean, np.tile(means.mean(axis=0), (3, 1)), rtol=1e-4)
    assert found.table["sequence"].tolist() == np.repeat([SEQUENCES.ids[row] for row, _ in rows], 4).tolist()
    assert found.table["events_read"].tolist() == np.repeat([t for _, t in rows], 4).tolist()


def test_theta_is_that_of_the_whole_model(pair):
    batch = make_batch(SEQUENCES, np.array([0, 2]), np.array([4, 3]), "sequence")
    with seeded(3):
        ours = draw_theta(*pair, batch, 5)
    with seeded(3):
        np.testing.assert_array_equal(ours, draw(*pair, batch, 5).theta)


def test_what_has_no_row_is_refused(pair):
    with pytest.raises(UserError, match="sequence or the prefix scope"):
        theta_summary(*pair, SEQUENCES, 2, "filtering")
    with pytest.raises(UserError, match="predicts nothing"):
        theta_summary(*pair, Sequences.from_lists([[1]]), 2)
