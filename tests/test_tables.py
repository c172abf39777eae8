"""Tables of a report: what is printed, what was measured here and elsewhere, and what was counted."""

from dataclasses import replace

import pytest

from lib.papers import Benchmark, Row, Table, load_paper
from lib.reporting import Result, Study, paired_differences, provenance, summarise
from lib.reporting.claims import NOT_RUN
from lib.reporting.costs import cost_cell, cost_table, latencies, speed_table
from lib.reporting.markdown import folded, grouped, markdown, signed
from lib.reporting.names import decision_table
from lib.reporting.tables import benchmark_table, explained, printed_table
from tests.markdown import cells, find

# Costs


@pytest.mark.parametrize(
    ("printed", "metric", "value", "shown", "agrees"),
    [
        ("3M", "params_m", 3.33, "3.330M", True),
        ("26M", "params_m", 25.434, "25.43M (−0.57M)", False),
        ("0.95M", "params_m", 0.9504, "0.9504M", True),
        ("4.5G", "gflops", 4.454, "4.454G", True),
        ("9G", "gflops", 11.0, "11.00G (+2.00G)", False),
        ("-", "gflops", 11.0, "11.00G", True),
        ("14", "gimacs", 14.303, "14.30G", True),
        ("0.328", "gsummary", 0.32841, "0.3284G", True),
        ("1.797", "gsummary", 1.76673, "1.767G (−0.030G)", False),
        ("", "gimacs", 0.24637, "0.2464G", True),
        ("64", "gimacs", 64.927, "64.93G (+0.93G)", False),
    ],
)
def test_cost_cell(printed, metric, value, shown, agrees):
    assert cost_cell(printed, metric, [{metric: value}], truncated=False) == (shown, agrees)


def test_cost_of_several_networks_is_their_sum():
    counted = [{"gimacs": 26.165}, {"gimacs": 26.165}, {"gimacs": 14.303}]
    assert cost_cell("66", "gimacs", counted, truncated=False) == ("66.63G (+0.63G)", False)
    assert cost_cell("66", "gimacs", counted, truncated=True) == ("66.63G", True)


@pytest.mark.parametrize(("value", "agrees"), [(64.0, True), (64.99, True), (65.0, False), (63.99, False)])
def test_truncated_costs(value, agrees):
    assert cost_cell("64", "gimacs", [{"gimacs": value}], truncated=True)[1] == agrees


def test_costs_stand_apart_and_say_how_many_agree():
    rows = (
        Row(("FPD",), ("90.8", "3M"), True, {"": "r"}, ("n",)),
        Row(("Alone",), (), True, {"": "s"}, ("n",)),
        Row(("Wrong",), ("50.0", "9M"), True, {}, ("n",)),
        Row(("Uncounted",), ("50.0", "8M"), True, {}, ()),
        Row(("Quoted",), ("50.0", "7M"), False, {}, ()),
    )
    text = cost_table(table(rows, {"mean": "Mean"}, {"params_m": "# Param"}), {"n": {"params_m": 3.33}})
    assert "1 of 2 printed ones agree with the count" in text
    assert [cells(line) for line in text.splitlines() if line.startswith("| ")][2:] == [
        ["FPD", "3M", "**3.330M**"],
        ["Alone", "", "**3.330M**"],
        ["Wrong", "9M", "**3.330M (−5.67M)**"],
        ["Uncounted", "8M", ""],
    ]
    assert cost_table(table(rows, {"mean": "Mean"}, {}), {}) == ""


def table(rows: tuple[Row, ...], accuracy: dict[str, str], cost: dict[str, str], **others) -> Table:
    """A table with one column of labels."""
    settings = {"transposed": False, "truncated": False} | others
    return Table("1", "", "", {"method": "Method"}, {}, accuracy, cost, rows, **settings)


def test_a_bar_inside_a_cell_does_not_end_it():
    assert markdown(["a", "b"], [["KL(t || s)", "1"]]).splitlines()[-1] == r"| KL(t \|\| s) | 1 |"


def test_a_number_changes_its_own_line_only():
    """Nothing is padded to the longest cell."""
    before, after = (markdown(["a", "b"], [["x", "1"], ["y", cell]]).splitlines() for cell in ("2", "a long cell"))
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, True, True, False]


def test_what_is_common_is_said_once():
    assert grouped([("x", "1"), ("y", "2"), ("x", "3"), ("x", "1")]) == "* x\n  * 1\n  * 3\n* y\n  * 2"


def test_what_is_folded_is_still_markdown():
    assert folded("click", "| a |", "", "b") == "<details><summary>click</summary>\n\n| a |\n\nb\n\n</details>"


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


# Printed tables


SCORES = {
    "r": {0: {"head": 50.0, "mean": 40.0}, 1: {"head": 50.0, "mean": 41.0}},
    "s": {0: {"head": 9.0, "mean": 39.0}},
}


def shown(blocks: list[str]) -> list[list[str]]:
    """Cells of a printed table without its head."""
    return [cells(line) for line in blocks[0].splitlines()[2:]]


def test_row_lines():
    rows = (
        Row(("Theirs",), ("93.0", "91.0", "-"), False, {}, ()),
        Row(("FPD",), ("90.8", "90.1", "3M"), True, {"": "r"}, ("n",), {"a": {"mean": "89.04"}, "b": {"mean": "85.4"}}),
        Row(("Alone",), (), True, {"": "s"}, ("n",)),
        Row(("Later",), ("50.0", "50.0", "3M"), True, {"": "t"}, ("n",)),
        Row(("Others",), (), True, {}, (), {"b": {"mean": "80.1"}}),
    )
    one = table(rows, {"head": "Head", "mean": "Mean"}, {"params_m": "# Param"})
    sources = {"a": "the authors", "b": "somebody"}
    blocks = printed_table(one, SCORES, {"r": ("1 × 32", "`r`"), "s": ("as printed", "`s`")}, (), sources)
    assert cells(blocks[0].splitlines()[0]) == ["Method", "Head", "Mean"]
    assert shown(blocks) == [
        ["FPD", "90.8", "90.1"],
        ["**ours**", "**50.0 ± 0.0**", "**40.5 ± 0.7**"],
        ["*elsewhere*", "", "*89.04*<sup>a</sup> *85.4*<sup>b</sup>"],
        ["Alone", "**9.0**", "**39.0**"],
        ["Later", "50.0", "50.0"],
        ["Others", "", "*80.1*<sup>b</sup>"],
    ]
    footnotes, quoted, runs = blocks[1:]
    assert footnotes == "* *a*: the authors\n* *b*: somebody"
    assert "1 rows that the paper quotes" in quoted and "| Theirs | 93.0 | 91.0 | - |" in quoted
    assert "Runs of this table: 2 of 3" in runs
    assert "* 1 × 32\n  * `r`: FPD\n* as printed\n  * `s`: Alone\n* not run\n  * `t`: Later\n" in runs


def test_a_run_of_several_rows_is_listed_once():
    rows = tuple(Row((name,), (), True, {"": run}, ()) for name, run in zip("ABCA", "rsrr", strict=True))
    rows += (Row(("chance",), (), True, {"": "lsp_mean_pose"}, ()),)
    names = {run: ("W4", f"`{run}`") for run in "rs"}
    text = printed_table(table(rows, {"mean": "Mean"}, {}), SCORES, names, (), {})[-1]
    assert "Runs of this table: 2 of 2" in text
    assert "* W4\n  * `r`: A; C\n  * `s`: B\n" in text


def test_what_is_printed_and_ours_share_a_line_where_no_column_has_both():
    printed = {"A": (("90.8", ""), "r"), "B": (("90.8", "1.0"), "r"), "C": (("", "1.0"), "")}
    rows = tuple(Row((name,), cells, True, {"": run} if run else {}, ()) for name, (cells, run) in printed.items())
    one = table(rows, {"other.mean": "Other", "head": "Head"}, {})
    assert shown(printed_table(one, SCORES, {}, (), {})) == [
        ["A", "90.8", "**50.0 ± 0.0**"],
        ["B", "90.8", "1.0"],
        ["**ours**", "", "**50.0 ± 0.0**"],
        ["C", "", "1.0"],
    ]


def test_differences_stand_where_scale_and_data_are_the_papers():
    rows = (
        Row(("A",), ("90.8", "40.0"), True, {"": "r"}, ()),
        Row(("B",), ("90.8", "40.04"), True, {"": "s"}, ()),
    )
    one = table(rows, {"head": "Head", "mean": "Mean"}, {})
    assert shown(printed_table(one, SCORES, {}, {"s"}, {}))[-3:] == [
        ["B", "90.8", "40.04"],
        ["**ours**", "**9.0**", "**39.00**"],  # as many decimals as are printed
        ["Δ", "−81.8", "−1.04"],
    ]
    assert [line[0] for line in shown(printed_table(one, SCORES, {}, (), {}))] == ["A", "**ours**", "B", "**ours**"]


def test_wide_tables_share_labels_and_have_spreads_of_the_headline_alone():
    names = ["head", "shoulder", "elbow", "wrist", "hip", "knee", "mean"]
    scores = {"r": {seed: {name: 50.0 + seed for name in names} for seed in (0, 1)}}
    rows = (Row(("HRNet", "64 × 64"), ("1.0",) * 7, True, {"": "r"}, ()),)
    one = replace(table(rows, {name: name for name in names}, {}), labels={"method": "Method", "size": "Size"})
    blocks = printed_table(one, scores, {}, (), {})
    assert cells(blocks[0].splitlines()[0])[0] == "Method, Size"
    assert shown(blocks) == [["HRNet, 64 × 64", *["1.0"] * 7], ["**ours**", *["**50.5**"] * 6, "**50.5 ± 0.7**"]]


def test_transposed_table():
    rows = (Row(("0",), ("90.1", "62.4"), True, {"": "s"}, ()), Row(("1",), ("8", "9"), True, {}, ()))
    one = table(rows, {"mean": "Mean", "auc": "AUC"}, {}, transposed=True)
    blocks = printed_table(replace(one, labels={"alpha": "α"}), SCORES, {}, {"s"}, {})
    assert cells(blocks[0].splitlines()[0]) == ["α", "0", "1"]
    assert shown(blocks) == [
        *(["Mean", "90.1", "8"], ["**ours**", "**39.0**", ""], ["Δ", "−51.1", ""]),
        *(["AUC", "62.4", "9"], ["**ours**", "nobody", ""]),
    ]


def test_rows_of_several_runs():
    """A column is of the row's run, of another by its name, or the paired difference of two."""
    accuracy = {"rgb.epe": "RGB", "epe": "KD", "rgb.epe - epe": "drop", "auc_20_50": "AUC"}
    rows = (
        Row(("both",), ("24.68", "23.41", "1.27", "0.915"), True, {"rgb": "a", "": "b"}, ()),
        Row(("first half",), (), True, {"rgb": "c"}, ()),
        Row(("untrained",), ("1.00", "2.00", "0.50", "0.5"), True, {"rgb": "a", "": "d"}, ()),
        Row(("nothing named",), ("1.00", "2.00", "", "0.5"), True, {}, ()),
    )
    scores = {
        "a": {0: {"epe": 30.0}, 1: {"epe": 34.0}, 2: {"epe": 9.0}},
        "b": {1: {"epe": 35.0, "auc_20_50": 0.49}, 0: {"epe": 27.0, "auc_20_50": 0.51}},
        "c": {0: {"epe": 40.0, "auc_20_50": 0.1}},
    }
    assert shown(printed_table(table(rows, accuracy, {}), scores, {}, (), {})) == [
        ["both", "24.68", "23.41", "1.27", "0.915"],
        # Seeds 0 and 1 have both: 3 and −1, whose mean is not the difference of the means.
        ["**ours**", "**24.33 ± 13.43**", "**31.00 ± 5.66**", "**1.00 ± 2.83**", "**0.500 ± 0.014**"],
        ["first half", "**40.00**", "", "", ""],
        ["untrained", "1.00", "2.00", "0.50", "0.5"],
        ["**ours**", "**24.33 ± 13.43**", "", "", ""],
        ["nothing named", "1.00", "2.00", "", "0.5"],
    ]


def test_benchmark_without_a_printed_table():
    benchmark = Benchmark("LSP", "mean PCK@0.2", "", {"baseline": "a", "ours": "b"}, {"third": "d"}, {})
    scores = {
        "a": {0: {"head": 7.0, "mean": 50.0}, 1: {"head": 9.0, "mean": 51.0}},
        "d": {0: {"head": 6.0, "mean": 5.0}},
        "e": {0: {"mean": 4.0}},
        "lsp_mean_pose": {0: {"head": 1.0, "mean": 8.0}},
    }
    text = benchmark_table("lsp", benchmark, scores, ["b", "a", "d", "e", "lsp_mean_pose"])
    assert [cells(line) for line in text.splitlines()][:1] + shown([text]) == [
        ["", "head", "mean"],
        ["baseline", "**8.0**", "**50.5 ± 0.7**"],
        ["third", "**6.0**", "**5.0**"],
        ["`e`", "nobody", "**4.0**"],
        ["mean pose, no image seen", "**1.0**", "**8.0**"],
    ]


def test_columns_are_explained_below_a_benchmark_without_a_printed_table():
    study = Study("lsp", Benchmark("LSP", "mean PCK@0.2", "test persons", {}, {}, {}), {}, {"a": None})
    text = explained(study, {"a": {0: {"mean": 50.0}}})
    assert text == "*mean* is the benchmark's number, mean PCK@0.2 in %."
    more = explained(study, {"a": {0: {"mean": 50.0}, 1: {"mean": 50.0, "exploding": 0.0}}})
    assert more.startswith(f"{text} *exploding*: of how many persons, in %, ")


def test_speed_table():
    text = speed_table({"n": {"throughput_b1": 80.645, "speedup_b1": 2.0}}, {"n": (256, 192)}, [1], "ref")
    header, _, row = map(cells, text.splitlines())
    assert header == ["network", "input, px", "images/s, batch 1", "× `ref`"]
    assert row == ["`n`", "256 × 192", "80.64", "2.0"]


def test_decisions_show_every_value_that_was_trained_with():
    paper = replace(load_paper("fpd"), decisions=({"question": "Q", "decision": "D", "reason": "R", "used": ["a.b"]},))
    assert find(decision_table(paper, [{"a": {"b": 0.5}}]), "Q") == ["Q", "D", "R", "`a.b: 0.5`"]
    assert find(decision_table(paper, [{"a": {"b": None}}, {"a": {"b": 7}}]), "Q")[3] == "`a.b: null / 7`"
    assert find(decision_table(paper, [{"a": {"b": 7}}, {"a": {"c": 8}}]), "Q")[3] == "`a.b: 7`"  # another method's
    assert find(decision_table(paper, []), "Q")[3] == ""


def test_scale_has_a_line_for_roles_that_are_alike():
    roles = {"teacher": "8 × 256", "student": "4 × 128", "pupil": "4 × 128"}
    inputs = dict.fromkeys(roles, "64 × 64")
    paper = {"data": "D", "input": inputs, "networks": roles, "hardware": "two GPUs"}
    paper |= dict.fromkeys(("epochs", "optimizer", "train", "evaluated", "seeds"), "P")
    study = Study("a", Benchmark("A", "", "validation persons", {}, {}, paper), {}, {})
    here = paper | {"networks": roles | {"teacher": NOT_RUN}, "input": dict.fromkeys(roles, "32 × 32"), "seeds": "0"}
    del here["hardware"]
    text = provenance.scale_table(study, here)
    assert find(text, "A") == ["A", "paper", "here"]
    assert find(text, "network: teacher")[1:] == ["8 × 256", NOT_RUN]
    assert find(text, "network: student; pupil")[1:] == ["4 × 128", "4 × 128"]
    assert find(text, "network input, px")[1:] == ["64 × 64", "32 × 32"]
    assert find(text, "training persons")[1:] == ["P", "P"]
    assert find(text, "seeds")[1:] == ["P", "0"]
    assert find(text, "hardware")[1:] == ["two GPUs", "see above"]


def test_warning_covers_all_benchmarks():
    spec = {
        "input": [256, 256],
        "teacher_input": None,
        "model": {"stacks": 4},
        "method": "heatmap",
        "settings": {},
        "epochs": 70,
        "train_samples": None,
    }
    full = dict.fromkeys("ab", spec)

    def warning(**trained: tuple[str, dict]) -> str:
        studies = []
        for run, (source, found) in trained.items():
            results = {run: Result(found, {}, {}, {})}
            studies.append(
                Study(run, Benchmark(run.upper(), "", "", {}, {}, {}), {"info": {"source": source}}, results)
            )
        return provenance.warning(studies, full)

    small = spec | {"model": {"stacks": 1}}
    both = warning(a=("synthetic", small), b=("synthetic", small))
    assert both.startswith("**No reproduction of the numbers on A and B**: images are drawn by this project, networks")
    first, second = warning(a=("synthetic", spec), b=("official", small)).split("\n\n")
    assert first.startswith("**No reproduction of the numbers on A**") and "at the paper's scale" in first
    assert second.startswith("**No reproduction of the numbers on B**: images are the benchmark's (official copy)")
    assert warning(a=("official", spec)) == (
        "A: images are the benchmark's (official copy), networks trained at the paper's scale."
    )
    for change in (
        {"input": [64, 64]},
        {"epochs": 3},
        {"train_samples": 400},
        {"settings": {"branches": []}},
        {"method": "okdhp"},
        {"teacher_input": [128, 128]},
    ):
        assert "on a smaller scale" in warning(a=("official", spec | change))


def test_latencies_are_those_of_the_networks_asked_for():
    networks = {"a": {"torch_ms": 30.0, "onnxruntime_ms": 12.0}, "b": {"torch_ms": 1.0, "onnxruntime_ms": 1.0}}
    found = {"machine": {"hardware": "a CPU", "torch": "2.15", "onnxruntime": "1.32"}, "networks": networks}
    text, table = latencies(found, {"a": (64, 48), "c": (64, 64)})
    assert "a CPU" in text and "onnxruntime 1.32" in text
    assert [cell.strip() for cell in table.splitlines()[2].strip("|").split("|")][2:] == ["30.0", "12.0", "2.5"]
    assert len(table.splitlines()) == 3 and latencies(found, {"c": (64, 64)}) == []
