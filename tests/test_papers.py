"""Papers: complete tables as printed, and nothing named that params.yaml does not define."""

from pathlib import Path

import pytest
import yaml

from lib.errors import InputError
from lib.papers import load_paper
from lib.params import load_params
from lib.reporting.figures import COLOURS
from lib.reporting.tables import setting

ROOT = Path(__file__).resolve().parents[1]


def test_fpd_prints_eight_complete_tables():
    paper = load_paper("fpd")
    assert [table.number for table in paper.tables] == list(range(1, 9))
    for table in paper.tables:
        for row in table.rows:
            assert len(row.printed) in (0, len(table.accuracy) + len(table.cost)), (table.number, row)
    printed = [sum(1 for row in table.rows if row.printed) for table in paper.tables]
    assert printed == [0, 13, 9, 2, 8, 2, 2, 6]
    assert [len(table.rows) - count for table, count in zip(paper.tables, printed, strict=True)] == [
        1,
        5,
        5,
        1,
        0,
        2,
        0,
        0,
    ]
    table_2 = paper.tables[1]
    assert table_2.rows[10].printed[2] == "93.0"  # a trailing zero as printed


def test_fpd_names_only_what_params_define():
    paper, params = load_paper("fpd"), load_params(ROOT / "params.yaml")
    rows = [row for table in paper.tables for row in table.rows]
    runs = set(params.runs("fpd"))
    baselines = {f"{dataset}_mean_pose" for dataset in paper.benchmarks}
    assert {row.run for row in rows if row.run} == runs | baselines
    assert {row.network for row in rows if row.network} <= set(params.complexity.networks)
    for effect in paper.effects:
        treated, control = (params.fpd.run(effect[side]) for side in ("treated", "control"))
        assert (treated.dataset, treated.model) == (control.dataset, control.model), effect["question"]
    for dataset, benchmark in paper.benchmarks.items():
        shown = {*benchmark.roles.values(), *benchmark.curves}
        assert {params.fpd.run(run).dataset for run in shown} == {dataset}
        assert set(benchmark.roles.values()) <= set(benchmark.curves) and len(benchmark.curves) <= len(COLOURS)
        spec = params.train_spec("fpd", benchmark.roles["distilled"]).model_dump(mode="json")
        for decision in paper.decisions:
            for key in decision.get("used", ()):
                setting(spec, key)


def test_runs_are_what_their_rows_say():
    """Stacks, channels, teacher, α and loss of Tables 4 to 8, and the costs counted, agree with params.yaml."""
    tables, params = {table.number: table for table in load_paper("fpd").tables}, load_params(ROOT / "params.yaml")
    run = params.fpd.run
    for row in tables[5].rows:
        model = run(row.run).model
        assert (model.name, str(model.stacks), str(model.channels)) == ("hourglass", *row.labels)
    for number in (2, 3, 5):
        for row in tables[number].rows:
            if row.run and row.network:
                network = params.complexity.networks[row.network].model_dump(exclude={"joints"})
                assert run(row.run).model.model_dump() == network, row
    student, fpd, teacher = (run(row.run) for row in tables[4].rows)
    assert run("mpii_prm_fpd").teacher == tables[4].rows[2].run
    assert student.model == fpd.model
    assert [(m.name, m.stacks, m.channels) for m in (student.model, teacher.model)] == [
        ("pyranet", 4, 128),
        ("pyranet", 8, 256),
    ]
    none, *others = (params.train_spec("fpd", row.run).distillation for row in tables[8].rows)
    assert none is None
    assert [other.alpha for other in others] == [float(row.labels[0]) for row in tables[8].rows[1:]]
    losses = [params.train_spec("fpd", row.run).distillation.loss for row in tables[7].rows]
    assert losses == ["mse", "cross_entropy"]
    small = {run(row.run).model for row in (*tables[6].rows, *tables[7].rows, *tables[8].rows)}
    assert small == {run("mpii_s4_c128").model}


def test_fpd_decisions_and_scale_agree_with_params():
    params = load_params(ROOT / "params.yaml")
    fpd, paper = params.fpd, load_paper("fpd")
    assert (fpd.heatmap.sigma, fpd.heatmap.scaling, fpd.variant) == (1, "peak", "paper")
    assert (fpd.optimizer.name, fpd.optimizer.lr, fpd.optimizer.weight_decay) == ("rmsprop", 2.5e-4, 0)
    assert fpd.optimizer.milestones == ()
    assert fpd.decoding.flip_test and fpd.decoding.quarter_offset
    for dataset, benchmark in paper.benchmarks.items():
        assert params.packs[dataset].padding == 1.25
        assert params.packs[dataset].input == (256, 256)
        teacher, student = (fpd.run(benchmark.roles[role]).model for role in ("teacher", "distilled"))
        assert benchmark.scale["teacher"] == f"{teacher.stacks} × {teacher.channels}"
        assert benchmark.scale["student"] == f"{student.stacks} × {student.channels}"
        assert benchmark.scale["epochs"] == str(fpd.epochs[dataset])


def test_unknown_papers_are_refused():
    with pytest.raises(InputError, match="known: fpd"):
        load_paper("fdp")


def test_facts_of_the_printed_tables(shared_data):
    """Cell by cell against an independent transcription, where it is at hand."""
    path = shared_data.parent / "papers/tables/fpd.yaml"
    if not path.is_file():
        pytest.skip(f"no {path}")
    facts = yaml.load(path.read_text(), Loader=yaml.BaseLoader)["tables"]
    for table in load_paper("fpd").tables[1:]:
        names = {"gflops": "flops_g"}
        columns = [names.get(name, name) for name in [*table.accuracy, *table.cost]]
        expected = [[row[name] for name in columns] for row in facts[f"table_{table.number}"]["rows"]]
        printed = [[text.rstrip("MG") for text in row.printed] for row in table.rows if row.printed]
        assert [["null" if text in ("-", "") else text for text in row] for row in printed] == expected
