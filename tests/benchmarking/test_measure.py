"""Costs that are known beforehand, and the order in which systems take their turns."""

import time

import pytest
import torch

from experiments.benchmarking.measure import MIB, Clock, Row, in_turns, peak_memory
from experiments.benchmarking.report import table

FLOATS = MIB // 4  # floats in a MiB


def test_the_peak_is_the_worst_moment_and_not_the_sum():
    def work():
        first = torch.empty(4 * FLOATS)
        second = torch.empty(8 * FLOATS)
        del first
        return second, torch.empty(2 * FLOATS)

    assert peak_memory(work, "cpu") == 12.0


def test_what_is_kept_for_the_backward_pass_counts():
    inputs = torch.zeros(FLOATS, requires_grad=True)
    kept = 1  # inputs * 2, which sigmoid overwrites with its result and keeps
    gradient = 1  # of inputs * 2; the sum's own is one number, and what was kept is gone when that of inputs is made
    peak = peak_memory(lambda: (inputs * 2).sigmoid_().sum().backward(), "cpu")
    assert peak == pytest.approx(kept + gradient, abs=0.01)
    assert peak_memory(lambda: (inputs.detach() * 2).sigmoid_().sum(), "cpu") == pytest.approx(1, abs=0.01)


def test_the_clock_counts_work_and_not_waiting():
    def spin():
        start = time.process_time()
        while time.process_time() - start < 0.05:
            pass

    assert Clock("cpu")(lambda: time.sleep(0.05)) < 0.04
    assert Clock("cpu")(spin) >= 0.05


def test_systems_take_turns_and_the_first_round_does_not_count():
    called = []

    def measure(name):
        called.append(name)
        return len(called)

    runs = in_turns({"a": lambda: measure("a"), "b": lambda: measure("b")}, repeats=2)
    assert called == ["a", "b"] * 3
    assert runs == {"a": [3, 5], "b": [4, 6]}


def test_medians_and_ratios_in_table_and_records():
    rows = [Row("epoch", "s", {"ours": [3.0, 9.0, 4.0], "GRU": [2.0, 2.0, 1.0]}), Row("share", "%", {"ours": [12.5]})]
    lines = [line.split() for line in table(rows, "GRU").splitlines()]
    assert lines == [["ours", "GRU", "ours", "/", "GRU"], ["epoch", "(s)", "4", "2", "2.00"], ["share", "(%)", "12.5"]]
    ours, gru = rows[0].records("GRU")
    assert (ours["median"], ours["ratio_to_gru"], ours["runs"]) == (4.0, 2.0, [3.0, 9.0, 4.0])
    assert (gru["median"], gru["ratio_to_gru"]) == (2.0, 1.0)
    assert rows[1].records("GRU")[0]["ratio_to_gru"] is None
