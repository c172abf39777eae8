"""Tables and statements of a report: what is printed, what was measured, and what follows from both."""

from dataclasses import replace

import pytest

from lib.papers import Benchmark, Row, Table, load_paper
from lib.reporting import Study, paired_differences, provenance, summarise
from lib.reporting.effects import effect_table, verdict
from lib.reporting.tables import (
    NOT_RUN,
    accuracy_cell,
    cost_cell,
    decision_table,
    printed_table,
    run_names,
    signed,
)
from tests.markdown import cells, find

# Cells


def test_accuracy_cell():
    cell = accuracy_cell("90.8", "mean", {"mean": 43.24, "std": {"mean": 0.36}})
    assert (cell.paper, cell.ours.replace("\u00a0", " "), cell.difference) == ("90.8", "43.2 ± 0.4", "−47.6")
    assert accuracy_cell("90.8", "mean", {"mean": 90.81}).difference == "0.0"
    assert accuracy_cell("90.8", "mean", {"mean": 91.0}).ours == "91.0"
    assert accuracy_cell("", "mean", {"mean": 91.0}).difference == ""


def test_accuracy_that_was_not_run_says_so():
    assert accuracy_cell("90.8", "mean", None) == accuracy_cell("90.8", "mean", {"auc": 3.0})
    assert accuracy_cell("90.8", "mean", None).ours == NOT_RUN
    assert accuracy_cell("90.8", "mean", None).difference == ""


@pytest.mark.parametrize(
    ("printed", "metric", "value", "ours", "difference"),
    [
        ("3M", "params_m", 3.33, "3.33M", "="),
        ("26M", "params_m", 25.434, "25.43M", "−0.57M"),
        ("0.95M", "params_m", 0.9504, "0.95M", "="),
        ("4.5G", "gflops", 4.454, "4.45G", "="),
        ("9G", "gflops", 11.0, "11.00G", "+2.00G"),
        ("-", "gflops", 11.0, "11.00G", ""),
    ],
)
def test_cost_cell(printed, metric, value, ours, difference):
    cell = cost_cell(printed, metric, {metric: value})
    assert (cell.paper, cell.ours, cell.difference) == (printed, ours, difference)


def test_signed_uses_a_true_minus_and_no_negative_zero():
    assert [signed(value) for value in (-1.25, 1.25, -0.04, 0)] == ["−1.2", "+1.2", "0.0", "0.0"]


# Seeds


def test_summary_over_seeds():
    one = {"mean": 40.0, "auc": 20.0}
    assert summarise({0: one}) == one
    result = summarise({0: one, 3: {"mean": 44.0, "auc": 20.0}})
    assert (result["mean"], result["auc"]) == (42, 20)
    assert result["std"] == {"mean": pytest.approx(8**0.5, abs=1e-4), "auc": 0}


def test_differences_are_paired_by_seed():
    treated = {0: {"mean": 10.0}, 1: {"mean": 30.0}, 7: {"mean": 99.0}}
    control = {1: {"mean": 28.0}, 0: {"mean": 9.0}}
    assert paired_differences(treated, control, "mean") == {0: 1.0, 1: 2.0}


def test_effect_table():
    table = effect_table("a", "b", {"mean": {0: 1.0, 1: 2.0}, "auc": {0: -1.0, 1: -1.0}})
    assert find(table, "mean") == ["mean", "+1.00", "+2.00", "+1.50 ± 0.71"]
    assert find(table, "auc") == ["auc", "−1.00", "−1.00", "−1.00 ± 0.00"]


def test_verdict_claims_no_more_than_the_spread_allows():
    def says(*differences: float) -> str:
        return verdict(differences, "mean PCKh@0.5", "the teacher's term")

    assert "no conclusion" in says(5.0)
    assert "no conclusion" in says(1.0, 2.0)  # t of one degree of freedom: two seeds say little
    assert "no conclusion" in says(1.0, -0.5, 0.4)
    assert "the teacher's term raises the mean PCKh@0.5" in says(1.0, 1.1, 0.9)
    assert "lowers" in says(-1.0, -1.1, -0.9)
    # Mean 2, std 1, three seeds: 2 ± 4.3027 / sqrt 3.
    assert "+2.00 points of mean PCKh@0.5, 95 % interval −0.48 to +4.48" in says(1.0, 2.0, 3.0)


# Printed tables


def test_row_lines():
    accuracy, cost = {"mean": "Mean"}, {"params_m": "# Param"}
    rows = (
        Row(("Theirs",), ("93.0", "-"), False, None, None),
        Row(("FPD",), ("90.8", "3M"), True, "r", "n"),
        Row(("Alone",), (), True, "s", "n"),
        Row(("Later",), ("50.0", "3M"), True, None, "n"),
    )
    table = Table(1, "", "", {"method": "Method"}, {}, accuracy, cost, rows, transposed=False)
    metrics = {"r": {"mean": 40.0, "std": {"mean": 1.0}}, "s": {"mean": 39.0}}
    text = printed_table(table, metrics, {"n": {"params_m": 3.33}}, {"r": "`r` (1 × 32)"})
    header, _, *body = (cells(line) for line in text.splitlines())
    assert header == ["", "Method", "Mean", "# Param"]
    assert body == [
        ["*quoted*", "Theirs", "93.0", "-"],
        ["paper", "FPD", "90.8", "3M"],
        ["**ours** `r` (1 × 32)", "", "**40.0 ± 1.0**", "**3.33M**"],
        ["Δ", "", "−50.8", "="],
        ["**ours** `s`", "Alone", "**39.0**", "**3.33M**"],
        ["paper", "Later", "50.0", "3M"],
        ["**ours**", "", "not run", "**3.33M**"],
        ["Δ", "", "", "="],
    ]


def test_transposed_table():
    rows = (Row(("0",), ("90.1", "62.4"), True, "a", None), Row(("1",), ("8", "9"), True, None, None))
    table = Table(8, "", "", {"alpha": "α"}, {}, {"mean": "Mean", "auc": "AUC"}, {}, rows, transposed=True)
    lines = [cells(line) for line in printed_table(table, {"a": {"mean": 90.0}}, {}, {}).splitlines()]
    assert lines[0] == ["", "α", "0", "1"]
    assert lines[2:6] == [
        ["", "run", "`a`", ""],
        ["paper", "Mean", "90.1", "8"],
        ["**ours**", "", "**90.0**", "not run"],
        ["Δ", "", "−0.1", ""],
    ]
    assert lines[6:] == [["paper", "AUC", "62.4", "9"], ["**ours**", "", "not run", "not run"]]


def test_names_of_runs_show_what_was_trained():
    def spec(stacks: int, channels: int, distillation: dict | None) -> dict:
        return {"model": {"stacks": stacks, "channels": channels, "stem": "any"}, "distillation": distillation}

    table = Table(8, "", "", {}, {"α": "distillation.alpha"}, {}, {}, (), transposed=False)
    full = {run: {"stacks": 4, "channels": 256} for run in "abc"}
    specs = {"a": spec(1, 32, None), "b": spec(1, 32, {"alpha": 0.05}), "c": spec(4, 256, {"alpha": 0.5})}
    assert run_names(table, specs, full) == {"a": "`a` (1 × 32)", "b": "`b` (1 × 32, α 0.05)", "c": "`c` (α 0.5)"}
    plain = replace(table, settings={})
    assert run_names(plain, specs, full) == {"a": "`a` (1 × 32)", "b": "`b` (1 × 32)", "c": "`c`"}


def test_decisions_show_every_value_that_was_trained_with():
    paper = replace(load_paper("fpd"), decisions=({"question": "Q", "decision": "D", "reason": "R", "used": ["a.b"]},))
    assert find(decision_table(paper, [{"a": {"b": 0.5}}]), "Q") == ["Q", "D", "R", "`a.b: 0.5`"]
    assert find(decision_table(paper, [{"a": {"b": None}}, {"a": {"b": 7}}]), "Q")[3] == "`a.b: null / 7`"
    assert find(decision_table(paper, []), "Q")[3] == ""


def test_warning_covers_all_benchmarks():
    full = {"input": "256 × 256", "teacher": "8 × 256", "student": "4 × 128", "epochs": "70"}

    def warning(**scales: tuple[str, dict]) -> str:
        studies = [
            Study(key, Benchmark(key.upper(), "", "", "", {}, (), full), {"info": {"source": source}}, {})
            for key, (source, _) in scales.items()
        ]
        return provenance.warning(studies, {key: here for key, (_, here) in scales.items()})

    small = full | {"epochs": "3"}
    both = warning(a=("synthetic", small), b=("synthetic", small))
    assert both.startswith("**The numbers on A and B are no reproduction.** The images are synthetic")
    first, second = warning(a=("synthetic", full), b=("official", small)).split("\n\n")
    assert first.startswith("**The numbers on A are no reproduction.**") and "at the paper's scale" in first
    assert second.startswith("**The numbers on B are no reproduction.** The images are the benchmark's (official copy)")
    assert warning(a=("official", full)) == "A: the benchmark's images (official copy), trained at the paper's scale."
