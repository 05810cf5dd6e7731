"""What the table's report says, from ranks made by hand: means, spreads, brackets, ties, copies, comparisons, rows."""

import numpy as np
import pandas as pd
import pytest

from experiments.presets import PRESETS, TIME_FLAG
from experiments.tables import rows as rows_module
from experiments.tables import sections
from experiments.tables.improvement import differences, improvements
from experiments.tables.markdown import p_value, spread, table
from experiments.tables.plan import PlannedRun, plan
from experiments.tables.progress import TimeLeft, duration
from experiments.tables.results import RANK_COLUMNS, DataResult, RowResult, results_table
from experiments.tables.rows import (
    ABLATION_ROWS,
    ENSEMBLE_ROWS,
    EXPERTS,
    INGREDIENTS,
    MEMORY_ROWS,
    OTHER,
    ROWS,
    TIMED_ROWS,
    Row,
    chosen_rows,
)
from hcrnn_pyro.comparison import compare
from hcrnn_pyro.data.dataset import DataSet, Sequences
from hcrnn_pyro.errors import UserError
from hcrnn_pyro.figures import draw_dots
from hcrnn_pyro.slices import label_predictions

NOBODY = Sequences.from_lists([[1, 2]])
TEST = Sequences.from_lists([[1, 2, 3], [4, 5, 6]])  # the first is a copy of a training sequence
DATA = DataSet(
    "hand-made",
    Sequences.from_lists([[1, 2, 3], [6, 5, 4]]),
    NOBODY,
    TEST,
    pd.DataFrame({"item_id": list("abcdef")}),
)
PLACES = pd.DataFrame({"row": [0, 0, 1, 1], "position": [1, 2, 1, 2], "item": [2, 3, 5, 6]})


def ranks(strict, pessimistic=None, filtered=None):
    columns = (strict, pessimistic or strict, filtered or strict, filtered or strict, [-1.0] * 4)
    return pd.DataFrame(dict(zip(RANK_COLUMNS, columns, strict=True)))


def row_result(row, tables, published=None, planned=None):
    runs = tuple(PlannedRun(row, DATA.name, (), seed, None) for seed in range(len(tables)))
    return RowResult(row, planned or len(tables), runs, tuple(tables), published or {})


def data_result(*rows, unfinished=()):
    return DataResult(DATA, rows, unfinished, PLACES, label_predictions(PLACES, DATA))


HCRNN = Row("ours", "hcrnn3-bi", {OTHER: ""}, "HCRNN-3+Bi")
PEER = Row("theirs", "narm", {OTHER: ""}, "NARM")
COUNTED = Row("counted", "item-knn", {OTHER: ""}, "Item-KNN", counted=True)
TWO_SEEDS = row_result(
    HCRNN,
    [ranks([1, 2, 4, 30], filtered=[1, 1, 1, 1]), ranks([2, 21, 21, 21], filtered=[1, 2, 3, 4])],
    published={"recall@3": 40.0, "recall@20": 60.0, "mrr@3": 30.0, "mrr@20": 35.0},
    planned=5,
)


def test_protocol_has_mean_spread_and_published_value():
    lines = sections.protocol(data_result(TWO_SEEDS, unfinished=("absent",)))
    # Seeds: R@3 50 and 25; R@20 75 and 25; M@3 (1 + 1/2) / 4 and (1/2) / 4; M@20 adds (1/4) / 4 to the first.
    assert lines[2].replace(" ", "") == "|model|R@3|R@20|M@3|M@20|seeds|"
    assert lines[4].replace(" ", "") == (
        "|ours|37.50±17.68(40.00)|50.00±35.36(60.00)|25.00±17.68(30.00)|28.12±22.10(35.00)|2of5|"
    )
    assert "No run is finished yet of: absent." in lines


def test_every_row_is_set_against_one():
    other = row_result(PEER, [ranks([9] * 4, filtered=[4, 4, 1, 1])])
    found = differences(data_result(TWO_SEEDS, other), "theirs")
    assert list(found) == ["ours"]
    recall, *_, mrr = found["ours"]
    # Filtered, ours ranks 1, 1, 1, 1 and 1, 2, 3, 4: R@3 is 100 and 75, MRR@20 100 and 100 (1 + 1/2 + 1/3 + 1/4) / 4.
    assert recall.interval.difference == pytest.approx(87.5 - 50)
    assert mrr.interval.difference == pytest.approx((100 + 100 * 25 / 48) / 2 - 62.5)
    # Ours gains 100 on each prediction of the first sequence, and loses 25 on each of the second.
    assert (recall.interval.low, recall.interval.high) == (pytest.approx(-25), pytest.approx(100))
    assert differences(data_result(TWO_SEEDS), "theirs") == {}


def test_results_csv():
    found = results_table([data_result(TWO_SEEDS)])
    assert list(found) == ["data", "model", "column", "metric", "mean", "sd", "seeds", "published"]
    by_key = found.set_index(["column", "metric"])
    first = by_key.loc[("protocol", "recall@3")]
    assert (first["data"], first["model"], first["seeds"], first["published"]) == ("hand-made", "ours", 2, 40.0)
    assert (first["mean"], round(first["sd"], 4)) == (37.5, 17.6777)
    filtered = by_key.loc[("filtered", "mrr@3")]
    assert filtered["mean"] == pytest.approx(100 * (1 + (1 + 1 / 2 + 1 / 3) / 4) / 2)
    assert np.isnan(filtered["published"])


def test_rows_that_live_on_ties_are_told_and_lose_the_comparison():
    flattered = row_result(COUNTED, [ranks([1, 1, 1, 1], pessimistic=[50, 50, 50, 50])], {"recall@3": 0.0})
    peer = row_result(PEER, [ranks([3, 3, 3, 3]), ranks([3, 3, 3, 3])])
    of_data = data_result(flattered, peer, TWO_SEEDS)
    text = "\n".join(sections.protocol(of_data))
    assert "Ties flatter counted:" in text
    assert "The published Item-KNN row is impossible" in text
    against = "\n".join(sections.ties(of_data))
    assert "counted" in against
    assert "theirs" not in against
    assert [item.peer for item in improvements([of_data])] == ["theirs"] * 4


def test_without_copies_leaves_the_copied_sequence_out():
    lines = sections.without_copies(data_result(TWO_SEEDS))
    assert "the 1 test sequences (2 predictions)" in lines[0]
    # Of the second sequence the ranks are 4 and 30, then 21 and 21.
    assert lines[4].replace(" ", "") == "|ours|0.00±0.00|25.00±35.36|0.00±0.00|6.25±8.84|2of5|"
    assert sections.not_tied(data_result(TWO_SEEDS)) == []  # no times


def test_a_comparison_averages_over_runs():
    first, second = np.array([[1, 2, 4, 30], [2, 21, 21, 21]]), np.array([[4, 4, 4, 4]])
    found = compare(first, second, PLACES["row"].to_numpy(), "recall@20")
    assert (found.first, found.second, found.interval.difference) == (50.0, 100.0, -50.0)
    assert found.improvement == -50.0
    assert found.seeds_p_value is None  # one run has no spread
    # Drawing two sequences anew gives the differences of either, or of both: -25 and -75, and -50 half of the time.
    assert (found.interval.low, found.interval.high) == (-75.0, -25.0)


def test_cells():
    assert spread(np.array([1.0, 3.0]), 2.5) == "2.00 ± 1.41 (2.50)"
    assert spread(np.array([1.0])) == "1.00"
    assert [p_value(value) for value in (None, 0.0004, 0.25)] == ["-", "< 0.001", "0.250"]
    assert table(["a", "bb"], [["long", "1"]]) == ["| a    | bb |", "| ---- | -: |", "| long |  1 |", ""]


def test_chosen_rows_keep_the_order_of_the_table_and_take_in_a_users_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("from models import NARM as Mine\n")
    assert [row.name for row in chosen_rows(["narm,pop"])] == ["pop", "narm"]
    everything = [row.name for row in chosen_rows(["all,mine:Mine"])]
    assert everything == [*ROWS, "mine:Mine"]
    assert chosen_rows(["mine:Mine"])[0].flags_on("citeulike") == []
    with pytest.raises(UserError, match="Did you mean 'narm'"):
        chosen_rows(["nram"])


def test_a_table_stopped_half_way_has_few_seeds_and_not_few_rows(tmp_path):
    runs = plan([COUNTED, HCRNN], {"a": (), "b": ()}, [1, 2], tmp_path)
    named = [(run.data, run.row.name, run.seed) for run in runs]
    first = [("a", "counted", 1), ("a", "ours", 1), ("b", "counted", 1), ("b", "ours", 1)]
    assert named == [*first, ("a", "ours", 2), ("b", "ours", 2)]  # what only counts is run once


def test_a_pool_comes_with_its_members_and_after_them(tmp_path, monkeypatch):
    pool = Row("together", "hcrnn3-bi", {OTHER: ""}, pooled=("counted", "ours"))
    monkeypatch.setattr(rows_module, "ROWS", {row.name: row for row in (COUNTED, HCRNN, PEER, pool)})
    assert [row.name for row in chosen_rows(["together"])] == ["counted", "ours", "together"]
    runs = plan([COUNTED, HCRNN, pool], {"a": ()}, [1, 2], tmp_path)
    assert [(str(run), [str(member) for member in run.needs]) for run in runs[2::2]] == [
        ("a together 1", ["a counted 1", "a ours 1"]),
        ("a together 2", ["a counted 1", "a ours 2"]),
    ]
    assert not runs[2].ready
    for member in runs[2].needs:
        member.folder.mkdir(parents=True)
        (member.folder / "metrics.json").write_text("{}")
    assert runs[2].ready
    assert not runs[4].ready


def test_time_left_follows_the_runs_most_like_those_that_are_left(tmp_path):
    runs = plan([HCRNN, PEER], {"a": ()}, [1, 2], tmp_path)
    left = TimeLeft(jobs=2)
    assert left.of(runs) == ""
    left.add(runs[0], 100.0)  # ours, 1
    left.add(runs[1], 300.0)  # theirs, 1
    assert left.of(runs[2:]) == "; about 3 min left"  # (100 + 300) / 2 = 200 s
    assert [duration(seconds) for seconds in (89, 480, 12_000)] == ["89 s", "8 min", "3 h 20 min"]


def test_a_figure_is_drawn_whole_or_not_at_all(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    points = pd.DataFrame(
        {"name": ["a", "b"], "group": ["x", "y"], "panel": ["R@3"] * 2, "mean": [1.0, 2.0], "low": [0.5, 2.0]}
    ).assign(high=[1.5, 2.0], published=[np.nan, 2.5])
    draw_dots(points, "two dots", tmp_path / "dots.png")
    assert (tmp_path / "dots.png").read_bytes().startswith(b"\x89PNG")
    monkeypatch.setattr("hcrnn_pyro.figures.can_draw", lambda: False)
    with pytest.raises(UserError, match="A figure needs matplotlib"):
        draw_dots(points, "two dots", tmp_path / "none.png")
    assert not (tmp_path / "none.png").exists()


def test_the_ablation_has_each_ingredient_alone_and_all_but_each():
    def settings(row):
        words = row.flags_on("citeulike")
        return {pair for pair in zip(words[::2], words[1::2], strict=True) if pair[0] not in ("--patience", "--epochs")}

    everything = settings(ROWS["hcrnn3-bi+prior"])
    assert chosen_rows(["ablation"]) == list(ABLATION_ROWS.values())
    for name in INGREDIENTS:
        alone, without = (ABLATION_ROWS[f"hcrnn3-bi+{row}"] for row in (name, f"prior-{name}"))
        assert settings(alone) < everything
        assert settings(without) == everything - settings(alone)


def test_an_ensemble_takes_the_seeds_that_follow_in_a_circle(tmp_path):
    pool = Row("three", "hcrnn3-bi", {OTHER: ""}, pooled=("ours", "counted"), seeds=3)
    runs = plan([COUNTED, HCRNN, pool], {"a": ()}, [1, 2, 3, 4], tmp_path)
    assert [run.row.name for run in runs] == ["counted", "ours", "ours", "ours", "ours", *["three"] * 4]
    assert [[str(member) for member in run.needs] for run in runs[-4:]] == [
        ["a ours 1", "a ours 2", "a ours 3", "a counted 1"],
        ["a ours 2", "a ours 3", "a ours 4", "a counted 1"],
        ["a ours 3", "a ours 4", "a ours 1", "a counted 1"],
        ["a ours 4", "a ours 1", "a ours 2", "a counted 1"],
    ]
    with pytest.raises(UserError, match="A run of three pools 3 seeds, and --seeds has 2"):
        plan([COUNTED, HCRNN, pool], {"a": ()}, [1, 2], tmp_path)


def test_rows_of_ensembles_pool_what_the_row_of_one_seed_pools():
    for name, row in ENSEMBLE_ROWS.items():
        assert row.pooled == (MEMORY_ROWS | TIMED_ROWS)[name.removesuffix("+ensemble")].pooled


@pytest.mark.parametrize("name", ["gru4rec", "narm", "sasrec", "hcrnn3-bi"])
def test_rows_with_times_add_them_to_the_prior_then_pool_and_refit(name):
    chosen = {row.name: row for row in chosen_rows(["times"])}
    assert set(TIMED_ROWS) < set(chosen), "what they pool comes along"
    timed, pool, refit, refitted_pool = (
        chosen[f"{name}+times{end}"] for end in ("", "+experts", "+refit", "+experts+refit")
    )
    for data in ("citeulike", "movielens", "another"):
        assert timed.flags_on(data) == [*ROWS[f"{name}+prior"].flags_on(data), TIME_FLAG]
    experts = [*EXPERTS, "slit-long"]
    assert pool.pooled == (timed.name, *experts)
    assert refit.refits == timed.name
    assert refitted_pool.pooled == (refit.name, *(f"{expert}+refit" for expert in experts))


@pytest.mark.parametrize(("group", "begin", "trained"), [("memory", "", "+prior"), ("times", "+times", "+times")])
@pytest.mark.parametrize("name", ["gru4rec", "narm", "sasrec", "hcrnn3-bi"])
def test_rows_with_a_memory_have_it_of_the_trained_row_and_its_refit(group, begin, trained, name):
    chosen = {row.name: row for row in chosen_rows([group])}
    memory = f"{name}{begin}+memory"
    experts = [*EXPERTS, "slit-long"]
    assert chosen[memory].remembers == (name + trained,)
    assert chosen[f"{memory}+refit"].remembers == (f"{name}{begin}+refit", memory), "chosen by the run before the refit"
    assert chosen[f"{memory}+experts"].pooled == (memory, *experts)
    refits = [f"{expert}+refit" for expert in experts]
    assert chosen[f"{memory}+experts+refit"].pooled == (f"{memory}+refit", *refits)


def test_the_preset_of_movielens_is_a_row_of_the_table():
    assert TIMED_ROWS["hcrnn3-bi+times"].flags_on("movielens") == PRESETS["movielens"].split()
    assert ROWS["hcrnn3-bi+prior"].flags_on("citeulike") == PRESETS["citeulike"].split()
