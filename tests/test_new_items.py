"""Items added to a run without training: what is known of them, where they come to lie, what stays, what is refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.cold_start import main as cold_start
from experiments.cold_start import without_items
from experiments.new_items import main, read_items
from experiments.svi import main as train
from hcrnn_pyro import DataConfig, UserError, load_data, load_run
from hcrnn_pyro.counting import CountingConfig
from hcrnn_pyro.data.batches import make_batch
from hcrnn_pyro.new_items import add_items, nearest_items
from hcrnn_pyro.pair import PairConfig, build_pair
from hcrnn_pyro.runs import save_weights, start_run
from hcrnn_pyro.side_information import SideInformation
from models import MODELS

FLAGS = ["--hidden", "16", "--contexts", "4", "--lr", "0.02", "--batch-size", "32", "--epochs", "6"]
FLAGS += ["--item-embeddings", "spectral", "--evaluation", "one-pass"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("new_items")
    train([*FLAGS, "--out", str(out / "run")])
    train(["--model", "gru4rec", "--hidden", "8", "--epochs", "1", "--out", str(out / "gru4rec")])
    train(["--model", "markov", "--out", str(out / "markov")])
    return out


@pytest.fixture
def here(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return folder


def new_of(*rows):
    return pd.DataFrame(rows, columns=["item_id", "title", "categories"])


def batch_of(length=12):
    data = load_data(DataConfig())
    return make_batch(data.test, np.arange(5), np.full(5, length), "filtering")


def test_features_are_categories_and_the_two_decades_around_a_year():
    catalogue = new_of(["a", "One (1984)", "X|Y"], ["b", "Two (1990)", "Y"], ["c", "Three", None])
    described = SideInformation.of(catalogue)
    assert (described.categories, described.decades) == (("X", "Y"), (1980, 1990))
    expected = [[1, 1, 0.6, 0.4], [0, 1, 0, 1], [np.nan] * 4]
    np.testing.assert_allclose(described.features(catalogue), expected)
    others = new_of(["d", "Old (1931)", "Z|X"], ["e", "Unknown (x)", "Z"])
    np.testing.assert_allclose(described.features(others), [[1, 0, 1, 0], [np.nan] * 4])
    assert described.features(pd.DataFrame({"item_id": ["f"]})).shape == (1, 4)


def test_a_new_item_lies_among_those_of_its_category(here, tmp_path):
    run = load_run("run")
    names = sorted(set(run.items["categories"]))
    added = add_items(run, new_of(*([f"new-{name}", "", name] for name in names)), tmp_path / "added")
    for number, name in enumerate(names):
        near = nearest_items(added, len(run.items) + number + 1, 5)
        assert (near["categories"] == name).mean() >= 0.8
        assert near["cosine"].is_monotonic_decreasing and near["item_id"].isin(run.items["item_id"]).all()


@pytest.mark.parametrize("name", ["run", "gru4rec"])
def test_what_was_trained_keeps_its_weights_and_its_odds(here, tmp_path, name):
    run = load_run(name)
    added = add_items(
        run, new_of(["n1", "", run.items["categories"][0]], ["n2", None, "unheard of"]), tmp_path / "more"
    )
    again = load_run(tmp_path / "more")
    batch, size = batch_of(), len(run.items)
    before, after, read = (one.predictive(batch) for one in (run, added, again))
    assert after.shape[1] == before.shape[1] + 2 and torch.equal(after, read)
    odds = [scores[:, 1 : size + 1] - scores[:, 1:2] for scores in (before, after)]
    torch.testing.assert_close(odds[1], odds[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(after[:, 1:].exp().sum(dim=1), torch.ones(len(after)))
    variance, output = again.model.item_variance, again.model.output_matrix
    assert torch.equal(output[: size + 1], run.model.output_matrix)
    assert variance.shape == output.shape and not variance[: size + 1].any() and (variance[size + 1 :] > 0).all()
    certain, unheard = again.items["embedding_sd"].iloc[size:]
    assert again.items["embedding_sd"].iloc[:size].isna().all() and 0 < certain < unheard
    assert again.metrics == {} and (again.items["item_id"].iloc[:size] == run.items["item_id"]).all()


def test_the_command_names_uncertainty_and_neighbours(here, tmp_path, capsys):
    category = load_run("run").items["categories"][0]
    pd.DataFrame({"item_id": ["77"], "title": ["Mine"], "categories": [category]}).to_csv("new.csv", index=False)
    main(["--run", "run", "--items", "new.csv", "--out", str(tmp_path / "out")])
    line = next(line for line in capsys.readouterr().out.split("\n") if line.startswith("Mine"))
    assert line.count(category) == 3
    assert load_run(tmp_path / "out").items["item_id"].iloc[-1] == "77"
    with pytest.raises(UserError, match="has new items already"):
        main(["--run", str(tmp_path / "out"), "--items", "new.csv", "--out", str(tmp_path / "further")])
    with pytest.raises(UserError, match="to which items were added"):
        train(["--resume", "--out", str(tmp_path / "out")])


def test_tables_of_every_kind_are_read_as_text(tmp_path):
    table = pd.DataFrame({"item_id": [7, 8], "title": ["One (1999)", None]})
    table.to_parquet(tmp_path / "t.parquet")
    table.to_csv(tmp_path / "t.csv", index=False)
    table.to_csv(tmp_path / "t.tsv", index=False, sep="\t")
    for kind in ("parquet", "csv", "tsv"):
        assert read_items(tmp_path / f"t.{kind}").to_numpy().tolist() == [["7", "One (1999)"], ["8", ""]]


@pytest.mark.parametrize("name", [name for name, make in MODELS.items() if not issubclass(make.config, CountingConfig)])
def test_every_model_that_is_trained_takes_new_items(here, tmp_path, name):
    data, pair = load_data(DataConfig()), PairConfig(name)
    settings = {"hidden": 8}
    model, guide = build_pair(pair, settings, data.catalogue_size)
    start_run(tmp_path / "first", {"pair": vars(pair), "settings": settings}, data)
    save_weights(tmp_path / "first", model, guide)
    category = data.items["categories"][0]
    add_items(load_run(tmp_path / "first"), new_of(["n1", "", category], ["n2", "", None]), tmp_path / "more")
    log_probs = load_run(tmp_path / "more").predictive(batch_of())
    assert log_probs.shape[1] == data.catalogue_size + 3
    torch.testing.assert_close(log_probs[:, 1:].exp().sum(dim=1), torch.ones(len(log_probs)))


@pytest.mark.parametrize(
    ("run", "content", "sentence"),
    [
        ("run", "item_id,categories\nitem-1,X\n", "Item item-1 is no new one"),
        ("run", "item_id\na\na\n", "Item a is more than once"),
        ("run", "name\na\n", "need a column item_id; got name"),
        ("run", "item_id\n", "no new item"),
        ("run", "item_id,title\na,One, The (1999)\n", "Quote a title that has a comma"),
        ("run", "item_id,title\n,One\n", "A new item has no item_id"),
        ("run", "", "cannot be read as a table of items"),
        ("markov", "item_id\na\n", "counted, not trained"),
        ("absent", "item_id\na\n", "holds no run"),
    ],
)
def test_what_cannot_be_added_is_refused_in_a_sentence(here, tmp_path, run, content, sentence):
    (tmp_path / "items.csv").write_text(content)
    with pytest.raises(UserError, match=sentence):
        main(["--run", run, "--items", str(tmp_path / "items.csv"), "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_run_that_can_take_no_items_is_refused_before_it_is_trained_anew(here, tmp_path):
    with pytest.raises(UserError, match="counted, not trained"):
        cold_start(["--run", "markov", "--out", str(tmp_path / "out")])
    with pytest.raises(UserError, match=r"a share between 0 and 1; got 1\.0"):
        cold_start(["--run", "run", "--held-out", "1", "--out", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_a_catalogue_of_which_nothing_is_known_is_refused(here):
    with pytest.raises(UserError, match="Nothing is known of the run's items"):
        SideInformation.of(pd.DataFrame({"item_id": ["a"], "title": ["No year"]}))


def test_a_data_set_without_items_has_none_of_their_events():
    data = load_data(DataConfig())
    chosen = np.zeros(data.catalogue_size, dtype=bool)
    chosen[[0, 7]] = True
    left = without_items(data, chosen)
    assert left.catalogue_size == data.catalogue_size - 2
    names = left.items["item_id"].to_numpy()[left.train.items - 1].tolist()
    original = data.items["item_id"].to_numpy()[data.train.items - 1]
    assert names == [name for name in original if name not in ("item-1", "item-8")]


def test_cold_items_beat_unknown_ones_by_their_categories(here, tmp_path, capsys):
    cold_start(["--run", "run", "--held-out", "0.2", "--out", str(tmp_path / "cold")])
    printed = capsys.readouterr().out
    first = printed.split("All other items")[0].split("\n")

    def recall(name):
        return float(next(line for line in first if line.startswith(name)).removeprefix(name).split()[1])

    # In this set an item's category is all that there is to know.
    assert recall("added by side information") > 1.3 * recall("added, nothing known of them")
    assert recall("added by side information") > 0.9 * recall("trained with them")
    assert "not added" in printed.split("All other items")[1]
