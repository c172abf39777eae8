"""Tables and statements of a report: what is printed, what was measured, and what follows from both."""

from dataclasses import replace

import pytest
from lib.reporting.effects import effect_table, verdict

from lib.metrics import unit_of
from lib.papers import Benchmark, Row, Table, load_paper
from lib.reporting import Result, Study, paired_differences, provenance, summarise
from lib.reporting.tables import (
    NOBODY,
    NOT_RUN,
    accuracy_cell,
    benchmark_table,
    cost_cell,
    decision_table,
    markdown,
    network,
    printed_table,
    run_names,
    setting,
    signed,
    speed_table,
)
from tests.markdown import cells, find

# Cells


def test_accuracy_cell():
    cell = accuracy_cell("90.8", "mean", {"mean": 43.24, "std": {"mean": 0.36}})
    assert (cell.paper, cell.ours.replace("\u00a0", " "), cell.difference) == ("90.8", "43.2 ± 0.4", "−47.6")
    assert accuracy_cell("90.8", "mean", {"mean": 90.81}).difference == "0.0"
    assert accuracy_cell("90.8", "mean", {"mean": 91.0}).ours == "91.0"
    assert accuracy_cell("", "mean", {"mean": 91.0}).difference == ""
    cell = accuracy_cell("89.24", "mean", {"mean": 89.2, "std": {"mean": 0.126}})  # as many decimals as are printed
    assert (cell.ours.replace("\u00a0", " "), cell.difference) == ("89.20 ± 0.13", "−0.04")


def test_accuracy_that_was_not_run_says_so():
    for measured, text in ((None, NOT_RUN), ({"ap": 3.0}, NOBODY)):  # no training; no large person
        cell = accuracy_cell("90.8", "ap_l", measured)
        assert (cell.paper, cell.ours, cell.difference) == ("90.8", text, "")


@pytest.mark.parametrize(
    ("printed", "metric", "value", "ours", "difference"),
    [
        ("3M", "params_m", 3.33, "3.330M", "="),
        ("26M", "params_m", 25.434, "25.43M", "−0.57M"),
        ("0.95M", "params_m", 0.9504, "0.9504M", "="),
        ("4.5G", "gflops", 4.454, "4.454G", "="),
        ("9G", "gflops", 11.0, "11.00G", "+2.00G"),
        ("-", "gflops", 11.0, "11.00G", ""),
        ("14", "gimacs", 14.303, "14.30G", "="),
        ("0.328", "gsummary", 0.32841, "0.3284G", "="),
        ("1.797", "gsummary", 1.76673, "1.767G", "−0.030G"),
        ("", "gimacs", 0.24637, "0.2464G", ""),
        ("64", "gimacs", 64.927, "64.93G", "+0.93G"),
    ],
)
def test_cost_cell(printed, metric, value, ours, difference):
    cell = cost_cell(printed, metric, [{metric: value}])
    assert (cell.paper, cell.ours, cell.difference) == (printed, ours, difference)
    assert cost_cell(printed, metric, []) == cost_cell(printed, "params_m", [])  # no network, nothing of ours
    assert cost_cell(printed, metric, []).ours == ""


def test_cost_of_several_networks_is_their_sum():
    counted = [{"gimacs": 26.165}, {"gimacs": 26.165}, {"gimacs": 14.303}]
    assert cost_cell("66", "gimacs", counted).ours == "66.63G"
    assert cost_cell("66", "gimacs", counted).difference == "+0.63G"
    assert cost_cell("66", "gimacs", counted, truncated=True).difference == "="


@pytest.mark.parametrize(("value", "difference"), [(64.0, "="), (64.99, "="), (65.0, "+1.00G"), (63.99, "−0.01G")])
def test_truncated_costs(value, difference):
    assert cost_cell("64", "gimacs", [{"gimacs": value}], truncated=True).difference == difference


def test_a_bar_inside_a_cell_does_not_end_it():
    assert markdown(["a", "b"], [["KL(t || s)", "1"]]).splitlines()[-1] == r"| KL(t \|\| s) |   1 |"


def test_signed_uses_a_true_minus_and_no_negative_zero():
    assert [signed(value) for value in (-1.25, 1.25, -0.04, 0)] == ["−1.2", "+1.2", "0.0", "0.0"]


# Seeds


def test_summary_over_seeds():
    one = {"mean": 40.0, "auc": 20.0}
    assert summarise({0: one}) == one
    assert summarise({0: {"mean": 1 / 3, "epe": 1 / 3, "auc_20_50": 1 / 3}}) == {
        **{"mean": 0.3333, "epe": 0.33333, "auc_20_50": 0.333333}  # three digits more than are shown
    }
    result = summarise({0: one, 3: {"mean": 44.0, "auc": 20.0}})
    assert (result["mean"], result["auc"]) == (42, 20)
    assert result["std"] == {"mean": pytest.approx(8**0.5, abs=1e-4), "auc": 0}


def test_differences_are_paired_by_seed():
    treated = {0: {"mean": 10.0}, 1: {"mean": 30.0}, 7: {"mean": 99.0}}
    control = {1: {"mean": 28.0}, 0: {"mean": 9.0}}
    assert paired_differences(treated, control, "mean") == {0: 1.0, 1: 2.0}


def test_effect_table():
    names = {"mean": "mean PCK", "auc": "AUC", "auc_20_50": "an area"}
    differences = {"mean": {0: 1.0, 1: 2.0}, "auc": {0: -1.0, 1: -1.0}, "auc_20_50": {0: 0.041, 1: -0.003}}
    table = effect_table("a", "b", differences, names)
    assert find(table, "mean PCK") == ["mean PCK", "+1.00", "+2.00", "+1.50 ± 0.71"]
    assert find(table, "AUC") == ["AUC", "−1.00", "−1.00", "−1.00 ± 0.00"]
    assert find(table, "an area") == ["an area", "+0.041", "−0.003", "+0.019 ± 0.031"]  # a ratio has three decimals


def test_verdict_claims_no_more_than_the_spread_allows():
    def says(*differences: float) -> str:
        return verdict(differences, "mean PCKh@0.5", unit_of("mean"), "the teacher's term")

    assert "no conclusion" in says(5.0)
    assert "no conclusion" in says(1.0, 2.0)  # t of one degree of freedom: two seeds say little
    assert "no conclusion" in says(1.0, -0.5, 0.4)
    assert "the teacher's term raises the mean PCKh@0.5" in says(1.0, 1.1, 0.9)
    assert "lowers the mean PCKh@0.5." in says(-1.0, -1.1, -0.9)
    errors = verdict((-1.0, -1.1, -0.9), "EPE", unit_of("epe"), "the teacher's term")
    assert "a difference of −1.00 mm of EPE, 95 % interval" in errors
    assert errors.endswith("the teacher's term lowers the EPE (lower is better).")
    # Mean 2, std 1, three seeds: 2 ± 4.3027 / sqrt 3.
    assert "+2.00 points of mean PCKh@0.5, 95 % interval −0.48 to +4.48" in says(1.0, 2.0, 3.0)


# Printed tables


def test_row_lines():
    accuracy, cost = {"mean": "Mean"}, {"params_m": "# Param"}
    rows = (
        Row(("Theirs",), ("93.0", "-"), False, {}, ()),
        Row(("FPD",), ("90.8", "3M"), True, {"": "r"}, ("n",)),
        Row(("Alone",), (), True, {"": "s"}, ("n",)),
        Row(("Later",), ("50.0", "3M"), True, {}, ("n",)),
    )
    table = Table(1, "", "", {"method": "Method"}, {}, accuracy, cost, rows, transposed=False, truncated=False)
    metrics = {"r": {"mean": 40.0, "std": {"mean": 1.0}}, "s": {"mean": 39.0}}
    text = printed_table(table, metrics, {"n": {"params_m": 3.33}}, {"r": "`r` (1 × 32)"}, {})
    header, _, *body = (cells(line) for line in text.splitlines())
    assert header == ["", "Method", "Mean", "# Param"]
    assert body == [
        ["*quoted*", "Theirs", "93.0", "-"],
        ["paper", "FPD", "90.8", "3M"],
        ["**ours** `r` (1 × 32)", "", "**40.0 ± 1.0**", "**3.330M**"],
        ["Δ", "", "−50.8", "="],
        ["**ours** `s`", "Alone", "**39.0**", "**3.330M**"],
        ["paper", "Later", "50.0", "3M"],
        ["**ours**", "", "not run", "**3.330M**"],
        ["Δ", "", "", "="],
    ]


def test_transposed_table():
    rows = (Row(("0",), ("90.1", "62.4"), True, {"": "a"}, ()), Row(("1",), ("8", "9"), True, {}, ()))
    accuracy = {"mean": "Mean", "auc": "AUC"}
    table = Table(8, "", "", {"alpha": "α"}, {}, accuracy, {}, rows, transposed=True, truncated=False)
    lines = [cells(line) for line in printed_table(table, {"a": {"mean": 90.0}}, {}, {}, {}).splitlines()]
    assert lines[0] == ["", "α", "0", "1"]
    assert lines[2:6] == [
        ["", "run", "`a`", ""],
        ["paper", "Mean", "90.1", "8"],
        ["**ours**", "", "**90.0**", "not run"],
        ["Δ", "", "−0.1", ""],
    ]
    assert lines[6:] == [["paper", "AUC", "62.4", "9"], ["**ours**", "", "nobody", "not run"]]


def test_rows_of_several_runs():
    """A column is of the row's run, of another by its name, or the paired difference of two."""
    accuracy = {"rgb.epe": "RGB", "epe": "KD", "rgb.epe - epe": "drop", "auc_20_50": "AUC"}
    rows = (
        Row(("both",), ("24.68", "23.41", "1.27", "0.915"), True, {"rgb": "a", "": "b"}, ()),
        Row(("first half",), (), True, {"rgb": "c"}, ()),
        Row(("untrained",), ("1.00", "2.00", "0.50", "0.5"), True, {"rgb": "a", "": "d"}, ()),
        Row(("nothing named",), ("1.00", "2.00", "", "0.5"), True, {}, ()),
    )
    table = Table(1, "", "", {"settings": "Settings"}, {}, accuracy, {}, rows, transposed=False, truncated=False)
    scores = {"a": {0: {"epe": 30.0}, 1: {"epe": 34.0}, 2: {"epe": 9.0}}, "b": {1: {"epe": 35.0}, 0: {"epe": 27.0}}}
    metrics = {"a": {"epe": 24.3333}, "b": {"epe": 31.0, "auc_20_50": 0.5, "std": {"epe": 5.65685, "auc_20_50": 0.01}}}
    metrics["c"] = {"epe": 40.0, "auc_20_50": 0.1}
    text = printed_table(table, metrics, {}, {"a": "`a` (small)"}, scores)
    _, _, *body = (cells(line) for line in text.splitlines())
    assert body == [
        ["paper", "both", "24.68", "23.41", "1.27", "0.915"],
        # Seeds 0 and 1 have both: 3 and −1, whose mean is not the difference of the means.
        ["**ours** `a` (small) / `b`", "", "**24.33**", "**31.00 ± 5.66**", "**1.00 ± 2.83**", "**0.500 ± 0.010**"],
        ["Δ", "", "−0.35", "+7.59", "−0.27", "−0.415"],
        ["**ours** `c`", "first half", "**40.00**", "", "", ""],
        ["paper", "untrained", "1.00", "2.00", "0.50", "0.5"],
        ["**ours** `a` (small) / `d`", "", "**24.33**", "not run", "not run", "not run"],
        ["Δ", "", "+23.33", "", "", ""],
        ["paper", "nothing named", "1.00", "2.00", "", "0.5"],
        ["**ours**", "", "not run", "not run", "not run", "not run"],
    ]


def test_names_of_runs_show_what_was_trained():
    def spec(stacks: int, channels: int, distillation: dict | None) -> dict:
        model = {"stacks": stacks, "channels": channels, "stem": "any"}
        return {"model": model, "input": [64, 64], "distillation": distillation}

    full = {run: spec(4, 256, {"alpha": 0.5}) for run in "abc"}
    specs = {"a": spec(1, 32, None), "b": spec(1, 32, {"alpha": 0.05}), "c": spec(4, 256, {"alpha": 0.5})}
    names = run_names("abc", specs, full, {"α": "distillation.alpha"})
    assert names == {"a": "`a` (1 × 32)", "b": "`b` (1 × 32, α 0.05)", "c": "`c` (α 0.5)"}
    assert run_names("ca", specs, full, {}) == {"c": "`c`", "a": "`a` (1 × 32)"}
    assert run_names(["a", "not trained"], specs, full, {}) == {"a": "`a` (1 × 32)"}


def test_names_of_runs_show_the_branches_that_were_trained():
    def spec(shared: int, *stacks: int) -> dict:
        first, *others = ({"name": "hourglass", "stacks": count, "channels": 32} for count in stacks)
        return {"model": first, "input": [64, 64], "distillation": {"shared": shared, "branches": others}}

    full = dict.fromkeys("abcd", spec(2, 4, 6, 8))
    specs = {"a": spec(0, 1, 1, 1), "b": spec(1, 4, 6, 8), "c": spec(2, 4, 6, 8), "d": spec(2, 4, 6, 6)}
    assert run_names("abcd", specs, full, {}) == {
        "a": "`a` (1 × 32, 3 branches of 1 stack, 0 shared)",
        "b": "`b` (4 × 32, 3 branches of 4, 6, 8 stacks, 1 shared)",
        "c": "`c`",
        "d": "`d` (4 × 32, 3 branches of 4, 6, 6 stacks, 2 shared)",
    }


def test_networks_without_stacks_are_named_by_their_encoder():
    def spec(channels: int, *branches: int) -> dict:
        first, *others = ({"encoder": "resnet18", "channels": width} for width in (channels, *branches))
        distillation = {"shared": 0, "branches": others} if others else None
        return {"model": first, "input": [64, 64], "distillation": distillation}

    specs = {"a": spec(32), "b": spec(32, 32, 32), "c": spec(256, 256)}
    full = {"a": spec(256), "b": spec(256, 256, 256), "c": spec(256, 256)}
    names = {"a": "`a` (resnet18 × 32)", "b": "`b` (resnet18 × 32, 3 branches)", "c": "`c`"}
    assert run_names("abc", specs, full, {}) == names


def test_names_of_runs_show_an_input_that_is_not_the_papers():
    model = {"stacks": 1, "channels": 8}
    full = {run: {"model": model, "input": [256, 192], "distillation": None} for run in "ab"}
    specs = {"a": full["a"] | {"input": [128, 64]}, "b": full["b"]}
    assert run_names("ab", specs, full, {}) == {"a": "`a` (128 × 64 px)", "b": "`b`"}
    smaller = {"a": specs["a"] | {"model": {"stacks": 1, "channels": 4}}}
    assert run_names("a", smaller, full, {}) == {"a": "`a` (1 × 4, 128 × 64 px)"}


def test_names_of_networks():
    hrnet = {"name": "hrnet", "width": 32, "blocks": 4, "modules": [1, 4, 3], "stem": 64, "head": "simcc", "split": 2.0}
    assert network(hrnet) == "HRNet-W32"
    assert network(hrnet | {"width": 48, "split": 3.0}) == "HRNet-W48, split 3"
    small = {"width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8, "split": 0.5}
    assert network(hrnet | small) == "HRNet-W4, blocks 1, modules [1, 1, 1], stem 8, split 0.5"
    resnet = {"name": "simplebaseline", "blocks": [3, 4, 6, 3], "width": 64, "channels": 256, "head": "heatmap"}
    assert network(resnet) == "ResNet-50"
    assert network(resnet | {"blocks": [3, 8, 36, 3]}) == "ResNet-152"
    assert network(resnet | {"blocks": [1, 1, 1, 1], "width": 8, "channels": 32}) == "ResNet-14, width 8, channels 32"


def test_depth_of_a_resnet_follows_its_blocks():
    resnet = {"name": "resnet", "block": "basic", "blocks": [2, 2, 2, 2], "width": 64}
    assert network(resnet) == "ResNet-18"
    assert network(resnet | {"block": "bottleneck", "blocks": [3, 4, 6, 3]}) == "ResNet-50"
    assert network(resnet | {"blocks": [1, 1, 1, 1], "width": 8}) == "ResNet-10, width 8"


def test_settings_are_shown_as_params_yaml_has_them():
    spec = {"a": {"b": [3, 5], "c": ["tau"], "d": [], "e": True, "f": None, "g": 1e-4, "h": "cca"}}
    shown = [setting(spec, f"a.{key}") for key in "bcdefgh"]
    assert shown == ["[3, 5]", "[tau]", "[]", "true", "null", "0.0001", "cca"]


def test_benchmark_without_a_printed_table():
    benchmark = Benchmark("LSP", "mean PCK@0.2", "", {"baseline": "a", "ours": "b"}, (), {})
    metrics = {"seeds": 2, "persons": 9, "std": {"mean": 0.5, "auc": 1.0}}
    found = {"a": metrics | {"mean": 50.0, "auc": 30.0}, "c": {"mean": 8.0, "auc": 2.0}}
    text = benchmark_table(benchmark, found, {"b": "`b`", "a": "`a` (1 × 8)", "c": "chance"})
    lines = [cells(line) for line in text.splitlines()]
    assert lines[0] == ["", "run", "mean", "auc"]
    assert lines[2:] == [
        ["ours", "`b`", NOT_RUN, NOT_RUN],
        ["baseline", "`a` (1 × 8)", "50.0 ± 0.5", "30.0 ± 1.0"],
        ["", "chance", "8.0", "2.0"],
    ]


def test_speed_table_shows_the_costs_that_the_paper_prints():
    cost = {"params_m": 3.333, "gflops": 9.0, "gimacs": 4.666}
    cost |= {"latency_ms_b1": 12.4, "throughput_b1": 80.645, "speedup_b1": 2.0}
    table = speed_table({"n": cost}, {"n": (256, 192)}, ["params_m", "gimacs"], [1], "ref")
    header, _, row = map(cells, table.splitlines())
    assert header == [
        "network",
        "input, px",
        "# Param",
        "multiply-accumulates",
        "ms, batch 1",
        "images/s, batch 1",
        "× `ref`, batch 1",
    ]
    assert row == ["`n`", "256 × 192", "3.333M", "4.666G", "12", "80.64", "2.0"]


def test_decisions_show_every_value_that_was_trained_with():
    paper = replace(load_paper("fpd"), decisions=({"question": "Q", "decision": "D", "reason": "R", "used": ["a.b"]},))
    assert find(decision_table(paper, [{"a": {"b": 0.5}}]), "Q") == ["Q", "D", "R", "`a.b: 0.5`"]
    assert find(decision_table(paper, [{"a": {"b": None}}, {"a": {"b": 7}}]), "Q")[3] == "`a.b: null / 7`"
    assert find(decision_table(paper, [{"a": {"b": 7}}, {"a": {"c": 8}}]), "Q")[3] == "`a.b: 7`"  # another method's
    assert find(decision_table(paper, []), "Q")[3] == ""


def test_scale_has_a_line_for_every_role():
    first = {"data": "D", "input": "256 × 256", "networks": {"teacher": "8 × 256", "student": "4 × 128"}}
    second = {"data": "E", "networks": {"student": "resnet18 × 256"}}
    studies = [
        Study(key, Benchmark(key.upper(), "", "", {}, (), scale), {}, {})
        for key, scale in (("a", first), ("b", second))
    ]
    here = {"a": first | {"networks": {"teacher": NOT_RUN, "student": "1 × 16"}}, "b": second}
    text = provenance.scale_table(studies, here, "mini")
    assert find(text, "profile `mini`")[1:] == ["A: paper", "A: here", "B: paper", "B: here"]
    assert find(text, "network: teacher")[1:] == ["8 × 256", NOT_RUN, "", ""]
    assert find(text, "network: student")[1:] == ["4 × 128", "1 × 16", *["resnet18 × 256"] * 2]
    assert find(text, "network input, px")[1:] == ["256 × 256", "256 × 256", "", ""]


def test_scale_has_a_line_for_every_input():
    inputs = {"teacher": "not stated", "student": "64 × 64"}
    studies = [Study("a", Benchmark("A", "", "", {}, (), {"input": inputs, "networks": {}}), {}, {})]
    here = {"a": {"input": {"teacher": "256 × 256", "student": NOT_RUN}, "networks": {}}}
    text = provenance.scale_table(studies, here, "mini")
    assert find(text, "network input, px: teacher")[1:] == ["not stated", "256 × 256"]
    assert find(text, "network input, px: student")[1:] == ["64 × 64", NOT_RUN]


def test_warning_covers_all_benchmarks():
    spec = {
        "input": [256, 256],
        "teacher_input": None,
        "model": {"stacks": 4},
        "distillation": None,
        "epochs": 70,
        "train_samples": None,
    }
    full = dict.fromkeys("ab", spec)

    def warning(**trained: tuple[str, dict]) -> str:
        studies = []
        for run, (source, found) in trained.items():
            results = {run: Result(found, {}, {}, {})}
            studies.append(
                Study(run, Benchmark(run.upper(), "", "", {}, (), {}), {"info": {"source": source}}, results)
            )
        return provenance.warning(studies, full)

    small = spec | {"model": {"stacks": 1}}
    both = warning(a=("synthetic", small), b=("synthetic", small))
    assert both.startswith("**The numbers on A and B are no reproduction.** The images are synthetic")
    first, second = warning(a=("synthetic", spec), b=("official", small)).split("\n\n")
    assert first.startswith("**The numbers on A are no reproduction.**") and "at the paper's scale" in first
    assert second.startswith("**The numbers on B are no reproduction.** The images are the benchmark's (official copy)")
    assert warning(a=("official", spec)) == "A: the benchmark's images (official copy), trained at the paper's scale."
    for change in (
        {"input": [64, 64]},
        {"epochs": 3},
        {"train_samples": 400},
        {"distillation": {"branches": []}},
        {"teacher_input": [128, 128]},
    ):
        assert "on a smaller scale" in warning(a=("official", spec | change))
