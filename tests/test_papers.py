"""Papers: complete tables as printed, and nothing named that params.yaml does not define."""

from pathlib import Path

import pytest
import yaml

from lib.errors import InputError
from lib.papers import load_paper
from lib.params import load_params
from lib.reporting.tables import setting

ROOT = Path(__file__).resolve().parents[1]


def test_fpd_prints_eight_complete_tables():
    paper = load_paper("fpd")
    assert [table.number for table in paper.tables] == list(range(1, 9))
    for table in paper.tables:
        for row in table.rows:
            assert len(row.printed) in (0, len(table.accuracy) + len(table.cost)), (table.number, row)
    assert sum(len(table.rows) for table in paper.tables) == 1 + 13 + 9 + 5 + 2 + 8 + 2 + 2 + 6
    table_2 = paper.tables[1]
    assert table_2.rows[10].printed[2] == "93.0"  # a trailing zero as printed


def test_fpd_names_only_what_params_define():
    paper, params = load_paper("fpd"), load_params(ROOT / "params.yaml")
    rows = [row for table in paper.tables for row in table.rows]
    runs = set(params.runs("fpd"))
    assert {row.run for row in rows if row.run} - {"mean_pose"} == runs == set(paper.curves)
    assert {row.network for row in rows if row.network} <= set(params.complexity.networks)
    assert {effect[side] for effect in paper.effects for side in ("treated", "control")} <= runs
    assert set(paper.roles.values()) <= runs
    spec = params.train_spec("fpd", paper.roles["distilled"]).model_dump(mode="json")
    for decision in paper.decisions:
        for key in decision.get("used", ()):
            setting(spec, key)


def test_fpd_decisions_and_scale_agree_with_params():
    params = load_params(ROOT / "params.yaml")
    fpd, scale = params.fpd, load_paper("fpd").scale
    assert (fpd.heatmap.sigma, fpd.heatmap.scaling, fpd.variant) == (1, "peak", "paper")
    assert (fpd.optimizer.name, fpd.optimizer.lr, fpd.optimizer.weight_decay) == ("rmsprop", 2.5e-4, 0)
    assert fpd.optimizer.milestones == ()
    assert fpd.decoding.flip_test and fpd.decoding.quarter_offset
    assert params.packs["lsp"].padding == 1.25
    teacher, student = fpd.supervised["lsp_teacher"].model, fpd.runs["lsp_fpd"].model
    assert scale["teacher"] == f"{teacher.stacks} × {teacher.channels}"
    assert scale["student"] == f"{student.stacks} × {student.channels}"
    assert scale["epochs"] == str(fpd.epochs["lsp"])


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
