"""Papers: complete tables as printed, and nothing named that params.yaml does not define."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from lib.errors import InputError
from lib.metrics.scores import HANDS, HEADLINE, unit_of
from lib.papers import Benchmark, Paper, Table, load_paper, operands, paper_keys
from lib.params import Params, load_params
from lib.params.scales import FULL
from lib.reporting import named
from lib.reporting.figures import COLOURS
from lib.reporting.markdown import decimals_of
from lib.reporting.names import has, network, pixels, setting
from lib.runs import Run, as_json

ROOT = Path(__file__).resolve().parents[1]
PAPERS = paper_keys()
# Rows of each printed table, and rows of ours in it.
ROWS = {
    "fpd": ([0, 13, 9, 2, 8, 2, 2, 6], [1, 5, 5, 1, 0, 3, 0, 0]),
    "okdhp": ([9, 6, 4, 6, 3, 2, 5, 4, 6, 4, 6], [3, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
    "cdkd": ([18, 22, 7, 7, 8, 5, 6, 4, 3, 4], [5, 8, 0, 0, 1, 0, 0, 0, 0, 0]),
    "cmkg": ([4, 7, 5], [6, 1, 1]),
}
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X")
# What the transcription calls the columns of tables with several networks in a row.
NAMED = {
    ("cmkg", 1): {"rgb.epe": "epe_rgb", "depth.epe": "epe_depth", "epe": "epe_kd", "rgb.epe - epe": "epe_drop"},
    ("cmkg", 2): {"none.epe - epe": "epe_drop", "auc_20_50": "auc", "auc_20_50 - none.auc_20_50": "auc_gain"},
    ("cmkg", 3): {
        **{"none.epe": "epe_none", "l2.epe": "epe_l2", "none.epe - l2.epe": "epe_l2_drop"},
        **{"epe": "epe_meta", "none.epe - epe": "epe_meta_drop"},
    },
}


@pytest.fixture(scope="module")
def params() -> Params:
    return load_params(ROOT / "params.yaml")


def specs(params: Params, paper: str) -> dict[str, Run]:
    """All runs at the paper's scale."""
    return {run: params.run(f"{paper}/{run}", FULL) for run in params.papers[paper].runs}


def counted(params: Params, name: str) -> dict:
    """What build_model takes, but for the joints, of a network whose cost is counted."""
    complexity = params.common.complexity
    entry = complexity.networks[name]
    return params.models[entry.model].spec((entry.input or complexity.input,) * 2)


def labels_alone(run: Run) -> bool:
    """Whether a run learns from labels and nothing else."""
    return run.method == run.output


def results(trained: dict[str, Run], dataset: str) -> set[str]:
    """Names of the networks that the runs on a benchmark leave behind: their own, and further branches they export."""
    names = set()
    for run, spec in trained.items():
        if spec.dataset == dataset:
            names |= {run, *(f"{run}_branch_{number}" for number in range(2, len(spec.exports) + 1))}
    return names


def tables(key: str) -> dict[int, Table]:
    """The tables of a paper from 1 on, without rows that others alone have measured."""
    found = {}
    for number, table in enumerate(load_paper(key).tables, start=1):
        rows = tuple(row for row in table.rows if row.printed or row.runs)
        found[number] = replace(table, rows=rows)
    return found


@pytest.mark.parametrize("key", PAPERS)
def test_printed_tables_are_complete(key):
    paper = load_paper(key)
    printed, ours = ROWS[key]
    for place, table in enumerate(paper.tables):
        assert table.number == (ROMAN[place] if key == "cdkd" else str(place + 1))
    for table in paper.tables:
        for row in table.rows:
            assert len(row.printed) in (0, len(table.accuracy) + len(table.cost)), (table.number, row)
            assert len(table.labels) == 1 or not table.transposed, table.number
    assert [sum(1 for row in table.rows if row.printed) for table in paper.tables] == printed
    assert [sum(1 for row in table.rows if not row.printed) for table in paper.tables] == ours


def test_printed_zeros_stay():
    assert tables("fpd")[2].rows[10].printed[2] == "93.0"
    assert tables("okdhp")[3].rows[2].printed == ("90.0", "47")
    assert [row.printed[0] for row in tables("okdhp")[9].rows] == ["89.24", "89.20", "89.28", "89.19", "89.20", "89.18"]


@pytest.mark.parametrize("key", PAPERS)
def test_tables_name_only_what_params_define(key, params):
    """Every run has a row, one on a benchmark that no printed table is about a role, a claim or a row of our table."""
    paper, trained = load_paper(key), specs(params, key)
    rows = [row for table in paper.tables for row in table.rows]
    left = {run for row in rows for run in row.runs.values()}
    for dataset, benchmark in paper.benchmarks.items():
        known = results(trained, dataset)
        if left & known:
            # People that a detector found have no annotation's box, which the mean pose needs.
            known |= {f"{dataset}_mean_pose"} if benchmark.length else set()
            assert known <= left
            left -= known
        else:
            shown = {*benchmark.roles.values(), *(run for claim in paper.claims for run in claim.runs)}
            own = {run for row in benchmark.table.rows for run in row.runs.values()} if benchmark.table else set()
            assert set(benchmark.roles.values()) | own - {f"{dataset}_mean_pose"} <= known <= shown | own
    assert left == set()
    complexity = params.common.complexity
    known = {*complexity.networks, *complexity.training}
    assert {network for row in rows for network in row.networks} <= known


@pytest.mark.parametrize("key", PAPERS)
def test_claims_compare_one_network_on_one_benchmark(key, params):
    paper, trained = load_paper(key), specs(params, key)

    def budget(spec: Run) -> int:
        return spec.epochs + (budget(trained[named(spec.init)]) if spec.init else 0)

    for claim in paper.claims:
        treated, control = (trained[run] for run in claim.runs)
        assert treated != control, claim
        assert (treated.dataset, treated.model, budget(treated), treated.optimizer) == (
            control.dataset,
            control.model,
            budget(control),
            control.optimizer,
        ), claim
        assert paper.benchmarks[treated.dataset].name in claim.on
    assert len({(claim.claim, claim.on) for claim in paper.claims}) == len(paper.claims)
    assert {trained[claim.treated].dataset for claim in paper.claims if claim.headline} == set(paper.benchmarks)


@pytest.mark.parametrize("key", PAPERS)
def test_claims_quote_the_differences_of_their_table(key, params):
    """`+0.8` of Table 6 is what the printed cells of both runs give, with the sign that is better."""
    paper, trained = load_paper(key), specs(params, key)
    printed = {f"Table {table.number}": table for table in paper.tables}
    gains = {(claim.claim, claim.on, claim.where): claim.gain for claim in paper.claims}
    for claim in paper.claims:
        if claim.where.startswith("not "):
            assert claim.gain == ""
            continue
        if claim.where.endswith(", on MPII"):
            where = claim.on.replace("LSP", "MPII"), claim.where.removesuffix(", on MPII")
            assert claim.gain == gains[claim.claim, *where]
            continue
        table = printed[claim.where]
        metric, cells = HEADLINE[trained[claim.treated].dataset], {}
        for row in table.rows:
            for column, text_of_cell in zip(table.accuracy, row.printed, strict=False):
                (name, found), *others = operands(column)
                if name in row.runs and not others and found == metric:
                    cells[row.runs[name]] = text_of_cell
        treated, control = (cells[run] for run in claim.runs)
        gain = (float(treated) - float(control)) * (-1 if unit_of(metric).lower_is_better else 1)
        assert f"{gain:+.{decimals_of(treated)}f}" == claim.gain, claim


@pytest.mark.parametrize("key", PAPERS)
def test_numbers_from_elsewhere_have_a_column_and_a_source(key):
    paper = load_paper(key)
    rows = [(table, row) for table in paper.tables for row in table.rows]
    for table, row in rows:
        assert all(set(values) <= set(table.accuracy) for values in row.elsewhere.values())
    used = {source for _, row in rows for source in row.elsewhere}
    used |= {gain["source"] for claim in paper.claims for gain in claim.elsewhere}
    assert used == set(paper.sources)


@pytest.mark.parametrize("key", PAPERS)
def test_benchmarks_show_their_own_runs_at_the_scale_of_the_paper(key, params):
    paper, trained = load_paper(key), specs(params, key)
    assert set(paper.benchmarks) == {spec.dataset for spec in trained.values()}
    for dataset, benchmark in paper.benchmarks.items():
        shown = [*benchmark.roles.values(), *benchmark.curves.values()]
        assert {trained[run].dataset for run in shown} == {dataset}
        assert benchmark.roles.items() <= benchmark.curves.items() and len(benchmark.curves) <= len(COLOURS)
        assert bool(benchmark.length) == (dataset != "coco")  # a tolerated error: all others have a PCK
        assert (benchmark.length == "mm") == (benchmark.noun == "hands") == (dataset in HANDS)
        assert set(benchmark.gain) <= set(benchmark.curves)
        check_scale(benchmark, trained)


def check_scale(benchmark: Benchmark, trained: dict[str, Run]) -> None:
    """Networks, input and epochs of a benchmark are those of its runs at the paper's scale."""
    scale = benchmark.scale
    assert set(scale["networks"]) <= set(benchmark.roles)
    for role, text in scale["networks"].items():
        model = trained[benchmark.roles[role]].model
        assert text == network(model) or text.startswith("not stated")
    for role, run in benchmark.roles.items():
        text = scale["input"][role] if isinstance(scale["input"], dict) else scale["input"]
        assert pixels(trained[run].input) in text  # of CDKD's teachers: not stated, but where the ablations have it
        spec = trained[run]
        epochs = [str(one.epochs) for one in (trained[named(spec.init)], spec)] if spec.init else [str(spec.epochs)]
        text = scale["epochs"][role] if isinstance(scale["epochs"], dict) else scale["epochs"]
        assert text == " + ".join(epochs) or text == "not stated"


@pytest.mark.parametrize("key", PAPERS)
def test_decisions_and_settings_name_entries_of_a_spec(key, params):
    """`used` exists in distilled runs of the roles, `settings` in every distilled run of their table."""
    paper = load_paper(key)

    trained = specs(params, key)

    def distilled(runs) -> list[dict]:
        found = [trained[run] for run in runs]
        return [json.loads(json.dumps(as_json(spec))) for spec in found if spec.settings]

    shown = distilled(run for benchmark in paper.benchmarks.values() for run in benchmark.roles.values())
    assert shown
    for decision in paper.decisions:
        assert set(decision) <= {"question", "decision", "reason", "used"}
        for used in decision.get("used", ()):
            known = [spec for spec in shown if has(spec, used)]
            assert known and all(setting(spec, used) for spec in known), used
            kinds = {(spec["method"], spec["dataset"]) for spec in known}  # each has settings of its own
            assert known == [spec for spec in shown if (spec["method"], spec["dataset"]) in kinds], used
    for table in paper.tables:
        for entry in table.settings.values():
            assert all(setting(spec, entry) for spec in distilled(row.run for row in table.rows)), table.number


def test_runs_of_fpd_are_what_their_rows_say(params):
    """Stacks, channels, teacher, α and loss of Tables 4 to 8, and the costs counted, agree with params.yaml."""
    printed, run = tables("fpd"), specs(params, "fpd")
    for row in printed[5].rows:
        model = run[row.run].model
        assert (model["name"], str(model["stacks"]), str(model["channels"])) == ("hourglass", *row.labels)
    for number in (2, 3, 5):
        for row in printed[number].rows:
            if row.run and row.networks:
                assert [counted(params, name) for name in row.networks] == [run[row.run].model], row
    student, fpd, teacher = (run[row.run] for row in printed[4].rows)
    assert fpd.teacher == teacher.label
    assert student.model == fpd.model
    assert [(m["name"], m["stacks"], m["channels"]) for m in (student.model, teacher.model)] == [
        ("pyranet", 4, 128),
        ("pyranet", 8, 256),
    ]
    none, *others = (run[row.run] for row in printed[8].rows)
    assert labels_alone(none)
    assert [other.settings["alpha"] for other in others] == [float(row.labels[0]) for row in printed[8].rows[1:]]
    losses = [run[row.run].settings["loss"] for row in printed[7].rows]
    assert losses == ["mse", "cross_entropy"]
    for row in (*printed[6].rows, *printed[7].rows, *printed[8].rows):
        assert run[row.run].model == run["mpii_s4_c128"].model


def hourglass(spec: Run, stacks: int) -> bool:
    """Whether a run deploys the paper's hourglass of so many stacks."""
    paper = {"name": "hourglass", "stacks": stacks, "channels": 256, "stem": "pytorch-pose"}
    return spec.model.items() >= paper.items()


def branches(spec: Run) -> tuple[list[int], int]:
    """Stacks of each branch, the deployed one first, and how many of them are shared."""
    return [model["stacks"] for model in (spec.model, *spec.settings["branches"])], spec.settings["shared"]


def test_decisions_of_fpd_agree_with_params(params):
    fpd = params.papers["fpd"]
    assert (fpd.heatmap.sigma, fpd.heatmap.scaling, fpd.variant) == (1, "peak", "paper")
    assert (fpd.optimizer.name, fpd.optimizer.lr, fpd.optimizer.weight_decay) == ("rmsprop", 2.5e-4, 0)
    assert fpd.optimizer.milestones == ()
    assert fpd.decoding.flip_test and fpd.decoding.refinement == "quarter"
    for dataset in load_paper("fpd").benchmarks:
        assert params.common.crops[dataset].padding == 1.25


def test_unknown_papers_are_refused():
    with pytest.raises(InputError, match="known: cdkd, cmkg, fpd, okdhp"):
        load_paper("fdp")


@pytest.mark.parametrize("key", PAPERS)
def test_facts_of_the_printed_tables(key, shared_data):
    """Cell by cell against an independent transcription, where it is at hand."""
    path = shared_data.parent / f"papers/tables/{key}.yaml"
    if not path.is_file():
        pytest.skip(f"no {path}")
    facts = yaml.load(path.read_text(), Loader=yaml.BaseLoader)["tables"]
    paper: Paper = load_paper(key)
    for number, table in enumerate(paper.tables, start=1):
        if not table.accuracy:
            continue
        rows = facts[f"table_{number}"]["rows"]
        # The transcription names a cost by its table; what is counted here besides has no printed cell.
        costs = [name for name in rows[0] if name in ("params_m", "flops_g", "train_cost_g")]
        blank = ["null"] * (len(table.cost) - len(costs))
        names = [NAMED.get((key, number), {}).get(name, name) for name in (*table.accuracy, *costs)]
        expected = [[*(row.get(name, "null") for name in names), *blank] for row in rows]
        assert sum(name not in rows[0] for name in names) == (key == "cmkg" and number == 2)  # AUC, 0–50 mm
        printed = [[text.rstrip("MG") for text in row.printed] for row in table.rows if row.printed]
        assert [["null" if text in ("-", "") else text for text in row] for row in printed] == expected
