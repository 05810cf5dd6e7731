"""The data set of draws: its dimensions and numbers, and what ArviZ's own functions make of it."""

import numpy as np
import pytest
import torch
import xarray

from hcrnn_pyro.errors import UserError
from hcrnn_pyro.posterior.dataset import to_arviz, write_netcdf
from hcrnn_pyro.posterior.draws import Draws
from hcrnn_pyro.posterior.weights import pareto_k

DRAWS, ROWS, CONTEXTS = 60, 3, 4
IDS, LENGTHS = np.array(["u1", "u/2", "ü 3"], dtype=object), np.array([5, 2, 9])


@pytest.fixture
def draws():
    eta = torch.randn(DRAWS, ROWS, CONTEXTS)
    densities = torch.randn(3, DRAWS, ROWS)
    sticks = torch.rand(DRAWS, ROWS, CONTEXTS - 1)
    return Draws({"eta": eta, "sticks": sticks, "size": densities[0].exp()}, {"theta": eta.softmax(-1)}, *densities)


def test_groups_dimensions_and_numbers_survive_the_file(draws, tmp_path):
    write_netcdf(to_arviz(draws, IDS, LENGTHS, {"run": "runs/ml"}), tmp_path / "draws.nc")
    assert [file.name for file in tmp_path.iterdir()] == ["draws.nc"]
    with xarray.open_datatree(tmp_path / "draws.nc", engine="h5netcdf") as tree:
        assert list(tree.children) == ["posterior", "log_likelihood", "log_prior", "sample_stats", "constant_data"]
        assert tree.attrs["run"] == "runs/ml"
        expected = {
            "theta": ("chain", "draw", "sequence", "context"),
            "eta": ("chain", "draw", "sequence", "context"),
            "sticks": ("chain", "draw", "sequence", "sticks_dim_0"),
            "size": ("chain", "draw", "sequence"),
        }
        assert {name: tree["posterior"][name].dims for name in expected} == expected
        for name, value in {**draws.latents, **draws.deterministic}.items():
            np.testing.assert_array_equal(tree["posterior"][name].values, value[None])
        assert tree["posterior"]["sequence"].values.tolist() == IDS.tolist()
        assert tree["posterior"]["context"].values.tolist() == [0, 1, 2, 3]
        np.testing.assert_array_equal(tree["log_likelihood"]["next_item"].values[0], draws.log_likelihood)
        np.testing.assert_array_equal(tree["log_prior"]["latents"].values[0], draws.log_prior)
        np.testing.assert_array_equal(tree["sample_stats"]["log_weight"].values[0], draws.log_weights)
        np.testing.assert_allclose(tree["sample_stats"]["k_hat"].values, pareto_k(draws.log_weights))
        assert tree["sample_stats"]["k_hat"].dims == ("sequence",)
        assert tree["constant_data"]["length"].values.tolist() == LENGTHS.tolist()


def test_arviz_reads_it(draws, tmp_path):
    pytest.importorskip("xarray_einstats", reason="what arviz-stats[xarray] brings")
    import arviz_stats

    write_netcdf(to_arviz(draws, IDS, LENGTHS), tmp_path / "draws.nc")
    with xarray.open_datatree(tmp_path / "draws.nc", engine="h5netcdf") as tree:
        table = arviz_stats.summary(tree, var_names=["theta"], round_to="none")
        assert len(table) == ROWS * CONTEXTS
        assert table.loc["theta[u/2, 1]", "mean"] == pytest.approx(float(draws.theta[:, 1, 1].mean()), rel=1e-5)
        sizes = arviz_stats.ess(tree, var_names=["theta"])["theta"]
        assert sizes.dims == ("sequence", "context")
        assert float(sizes.min()) > DRAWS / 5  # independent draws
        interval = arviz_stats.hdi(tree, var_names=["theta"], prob=0.9)["theta"].sel(sequence="u1", context=2)
        values = np.sort(draws.theta[:, 0, 2].numpy())
        held = int(np.sum((values >= float(interval[0])) & (values <= float(interval[1]))))
        assert abs(held - 0.9 * DRAWS) <= 2


def test_sequences_need_names_of_their_own(draws):
    with pytest.raises(UserError, match="two share one"):
        to_arviz(draws, np.array(["a", "a", "b"]), LENGTHS)


def test_a_file_that_fails_is_not_left_behind(tmp_path):
    class Tree:
        def to_netcdf(self, path, engine):
            path.write_bytes(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_netcdf(Tree(), tmp_path / "draws.nc")
    assert list(tmp_path.iterdir()) == []
