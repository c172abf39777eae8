"""Reports: printed numbers are the paper's, our numbers are the predictions', and what was not run says so."""

import json
import shutil
from pathlib import Path

import pytest

from lib.errors import InputError
from lib.files import read_csv
from lib.papers import load_paper
from lib.reporting import load_results, load_studies
from lib.reporting.illustrations import draw_classes
from lib.reporting.tables import NOT_RUN
from stages import evaluate, report, summary
from tests.markdown import cells, find, section
from tests.projects import coco, write_predictions, write_project

ROOT = Path(__file__).resolve().parents[1]
RUNS = {  # persons out of ten that each seed misses
    "lsp_student": {0: 1, 1: 3},
    "lsp_fpd": {0: 0, 1: 1},
    "mpii_s4_c128": {0: 4, 1: 5},
    "mpii_fpd": {0: 2, 1: 2},
    "mpii_alpha_01": {0: 3, 1: 3},
}
OKDHP = {
    "mpii_hg4_base": {0: 5},
    "mpii_hg4": {0: 2},
    "mpii_hg4_unbalanced": {0: 1},
    "coco_hg4_base": {0: 10},
    "coco_hg4": {0: 0},
    "lsp_hg4_base": {0: 4},
    "lsp_hg4": {0: 3},
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A project with two seeds of some students on each benchmark, and no teacher."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    write_project("fpd", RUNS, people={"lsp": 20, "mpii": 30})
    return tmp_path


CDKD = {
    "mpii_teacher_k05": {0: 1},
    "mpii_simcc_64": {0: 5},
    "mpii_okdhp_64": {0: 6},
    "mpii_cdkd_64": {0: 2},
    "mpii_projectors_2": {0: 3},
    "coco_cdkd_32": {0: 0},
    "lsp_teacher": {0: 1, 1: 1},
    "lsp_simcc_64": {0: 4, 1: 5},
    "lsp_sape_64": {0: 3, 1: 4},
    "lsp_cdkd_64": {0: 2, 1: 2},
    "lsp_simcc_32": {0: 7, 1: 7},
    "lsp_cdkd_32": {0: 6, 1: 5},
}


@pytest.fixture
def full_tree(tmp_path, monkeypatch):
    """A project with runs of OKDHP at the paper's scale on each benchmark, one of which keeps all branches."""
    monkeypatch.chdir(tmp_path)
    settings = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(settings.replace("profile: mini ", "profile: paper "), encoding="utf-8")
    write_project("okdhp", OKDHP, people={"lsp": 20, "mpii": 30, "coco": 40})
    for number, missed in ((2, 3), (3, 4)):
        write_predictions(Path(f"models/okdhp/mpii_hg4_unbalanced/seed0/branch_{number}"), coco(10, "mpii"), missed)
    return tmp_path


def trained(run: str) -> str:
    """The name of a run as the tables show it in the `tree`."""
    model = json.loads((Path("models/fpd") / run / "spec.json").read_text())["model"]
    return f"`{run}` ({model['stacks']} × {model['channels']}, 64 × 64 px)"


def test_evaluate_writes_numbers_only(tree):
    evaluate.main("fpd")
    metrics = json.loads(Path("reports/metrics/fpd.json").read_text())
    mpii, lsp = ["mpii_s4_c128", "mpii_fpd", "mpii_alpha_01"], ["lsp_student", "lsp_fpd"]
    assert list(metrics) == [*mpii, "mpii_mean_pose", *lsp, "lsp_mean_pose"]
    fpd = metrics["lsp_fpd"]
    assert (fpd["mean"], fpd["auc"], fpd["seeds"], fpd["persons"]) == (95, 95, 2, 10)
    assert fpd["std"]["mean"] == pytest.approx(50**0.5, abs=1e-4)
    assert [metrics[name]["mean"] for name in mpii] == [55, 80, 70]
    assert metrics["lsp_mean_pose"]["mean"] == metrics["mpii_mean_pose"]["mean"] == 100  # all stand alike

    def numbers(node):
        return all(map(numbers, node.values())) if isinstance(node, dict) else isinstance(node, int | float)

    assert numbers(metrics)
    plots = Path("reports/plots/fpd")
    rows = {run: read_csv(plots / "pck" / f"{run}.csv") for run in ("lsp_fpd", "mpii_fpd")}
    assert [len(curve) for curve in rows.values()] == [21, 51]
    assert rows["lsp_fpd"][-1] == {"threshold": "0.2", "pck": "95.0"}
    assert rows["mpii_fpd"][-1] == {"threshold": "0.5", "pck": "80.0"}
    assert read_csv(plots / "history/mpii_fpd.csv") == [
        {"epoch": "1", "loss": "0.5", "validation": ""},
        {"epoch": "2", "loss": "0.25", "validation": "40.0"},
    ]


def test_report(tree):
    evaluate.main("fpd")
    report.main("fpd")
    text = Path("reports/fpd.md").read_text()
    headings = [line.split(" – ")[0] for line in text.splitlines() if line.startswith("## Table")]
    assert headings == [f"## Table {number}" for number in range(1, 9)]
    assert "The numbers on MPII are no reproduction.** The images are the benchmark's (official copy)" in text
    assert "The numbers on LSP are no reproduction.** The images are synthetic" in text
    assert find(text, "profile `mini`")[1:] == ["MPII: paper", "MPII: here", "LSP: paper", "LSP: here"]
    assert find(text, "seeds") == ["seeds", "not stated", "0, 1", "not stated", "0, 1"]
    assert find(text, "training persons")[1:] == ["29K, less 3K for validation", "30", "11K", "20"]
    assert find(text, "evaluated persons")[2::2] == ["10", "10"]
    assert find(text, "network: teacher")[1:] == ["8 × 256", "not run", "8 × 256", "not run"]
    small = find(text, "network: student")
    assert small[1::2] == ["4 × 128"] * 2 and set(small[2::2]) == {"1 × 16, pytorch-pose stem, 2 halvings"}
    assert find(text, "git revision")[2] == "0123abc"

    table = section(text, "Table 3")
    ours = find(table, f"**ours** {trained('lsp_fpd')}")
    assert ours[1:] == ["", *["**95.0 ± 7.1**"] * 9, "**3.330M**", "**9.380G**"]
    differences = ["−2.3", "+2.7", "+8.2", "+10.8", "+3.1", "+2.8", "+4.1", "+4.2", "+30.7", "=", "="]
    assert find(table, "Δ") == ["Δ", "", *differences]
    assert find(table, f"**ours** {trained('lsp_student')}")[1:3] == ["Student alone", "**80.0 ± 14.1**"]
    assert set(find(table, "**ours** `lsp_control`")[2:11]) == {"not run"}

    test_set = section(text, "Table 2")  # its labels are not public: costs alone are compared
    assert find(test_set, "**ours**")[1:] == ["", *["not run"] * 9, "**3.330M**", "**9.380G**"]
    assert find(test_set, "Δ") == ["Δ", *[""] * 10, "=", "="]
    assert find(test_set, f"**ours** {trained('mpii_fpd')}")[9:] == ["**80.0 ± 0.0**"] * 2 + [
        "**3.330M**",
        "**9.380G**",
    ]
    assert find(section(text, "Table 6"), f"**ours** {trained('mpii_fpd')}")[2:] == ["**80.0 ± 0.0**"] * 2
    assert find(section(text, "Table 7"), f"**ours** {trained('mpii_fpd')[:-1]}, loss mse)")[-1] == "**80.0 ± 0.0**"
    alphas = [cells(line) for line in section(text, "Table 8").splitlines() if line.startswith("|")]
    assert alphas[2][2] == trained("mpii_s4_c128")
    assert alphas[2][4] == f"{trained('mpii_alpha_01')[:-1]}, α 0.1)"
    assert alphas[4][2:] == ["**55.0 ± 7.1**", NOT_RUN, "**70.0 ± 0.0**", "**80.0 ± 0.0**", NOT_RUN, NOT_RUN]

    effects = section(text, "Effects")
    assert find(effects, "mean PCK@0.2") == ["mean PCK@0.2", "+10.00", "+20.00", "+15.00 ± 7.07"]
    assert find(effects, "mean PCKh@0.5") == ["mean PCKh@0.5", "+20.00", "+30.00", "+25.00 ± 7.07"]
    assert effects.count("\nNot run.\n") == 4  # both pairs from trained students, Table 4's and Table 7's
    figures = {f"{dataset}_{name}.png" for dataset in ("lsp", "mpii") for name in ("pck", "history", "people")}
    assert {path.name for path in Path("reports/figures/fpd").iterdir()} == figures
    assert {name for name in figures if f"](figures/fpd/{name})" in text} == figures


def test_report_of_a_paper_with_branches_and_without_teacher(full_tree):
    evaluate.main("okdhp")
    metrics = json.loads(Path("reports/metrics/okdhp.json").read_text())
    branches = [f"mpii_hg4_unbalanced{part}" for part in ("", "_branch_2", "_branch_3")]
    assert [metrics[name]["mean"] for name in branches] == [90, 70, 60]
    assert (metrics["coco_hg4"]["ap"], metrics["coco_hg4_base"]["ap"]) == (100, 0)
    assert {name for name in metrics if name.endswith("mean_pose")} == {"mpii_mean_pose", "lsp_mean_pose"}
    plots = Path("reports/plots/okdhp")
    assert {path.stem for path in (plots / "history").iterdir()} == OKDHP.keys()  # a branch has none of its own
    assert {path.stem for path in (plots / "pck").iterdir()} == {name for name in metrics if "coco" not in name} - {
        "mpii_mean_pose",
        "lsp_mean_pose",
    }
    assert read_csv(plots / "history/coco_hg4.csv")[1] == {"epoch": "2", "loss": "0.25", "validation": "40.0"}

    report.main("okdhp")
    text = Path("reports/okdhp.md").read_text()
    headings = [line.split(" – ")[0] for line in text.splitlines() if line.startswith("## Table")]
    assert headings == [f"## Table {number}" for number in range(1, 12)]
    assert "MPII and COCO: the benchmark's images (official copy), trained at the paper's scale." in text
    assert "The images are synthetic, drawn by this project, and the networks were trained at the paper's scale" in text
    assert find(section(text, "Table 4"), "**ours** `coco_hg4`")[3] == "**100.0**"
    table_5 = section(text, "Table 5")
    assert [find(table_5, f"**ours** `{name}`")[-1] for name in branches] == ["**90.0**", "**70.0**", "**60.0**"]
    assert find(section(text, "Table 3"), "**ours** `mpii_hg4`")[-1] == "**14.30G**"
    assert find(section(text, "Table 3"), "**ours** `mpii_hg4_fpd`")[2:] == [NOT_RUN, "**42.90G**"]  # teacher twice
    lsp = section(text, "LSP: not in the paper")
    assert [find(lsp, role)[1:3] for role in ("baseline", "OKDHP")] == [
        ["`lsp_hg4_base`", "60.0"],
        ["`lsp_hg4`", "70.0"],
    ]
    assert find(lsp, "branches, β = 0")[1:3] == ["`lsp_hg4_beta_0`", NOT_RUN]
    assert "mean pose of the training set" in lsp.splitlines()[-3]
    assert "MPII: not in the paper" not in text
    speed = [cells(line)[0] for line in section(text, "Measured speed").splitlines() if line.startswith("| `")]
    assert speed[:3] == ["`s8_c256`", "`pose_s2_c256`", "`pose_s4_c256`"]  # the reference, then the paper's own
    assert not {"`s4_c256`", "`okdhp_s4_i2`"} & {*speed}  # FPD's, and one that is not deployed
    effects = section(text, "Effects")
    assert find(effects, "AP")[1] == find(effects, "AR")[1] == "+100.00"
    decisions = section(text, "Decisions")
    assert "`settings.temperature: 1`" in decisions
    figures = {f"{dataset}_{name}.png" for dataset in ("lsp", "mpii", "coco") for name in ("pck", "history", "people")}
    assert {path.name for path in Path("reports/figures/okdhp").iterdir()} == figures - {"coco_pck.png"}
    assert "dashed" not in text


@pytest.fixture
def domains(tmp_path, monkeypatch):
    """A project with runs of CDKD on each benchmark; only LSP has a teacher."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    weights = [run for run in CDKD if run.startswith("lsp_")]
    write_project("cdkd", CDKD, people={"lsp": 20, "mpii": 30, "coco": 40}, weights=weights)
    return tmp_path


def test_report_of_a_paper_with_inputs_of_several_sizes(domains):
    evaluate.main("cdkd")
    report.main("cdkd")
    text = Path("reports/cdkd.md").read_text()
    headings = [line.split(" – ")[0] for line in text.splitlines() if line.startswith("## Table")]
    assert headings == [f"## Table {number}" for number in range(1, 11)]
    assert find(text, "profile `mini`")[1::2] == ["MPII: paper", "COCO: paper", "LSP: paper"]
    assert find(text, "training persons")[2::2] == ["30", "40", "20"]  # COCO's are in data/crops/coco_square
    assert find(text, "network input, px: teacher")[2::2] == [NOT_RUN, NOT_RUN, "128 × 128"]
    assert find(text, "network input, px: CDKD, 64 px")[1:] == ["64 × 64"] * 2 + ["64 × 64", NOT_RUN] + ["64 × 64"] * 2
    assert find(text, "network input, px: CDKD, 32 px")[2::2] == [NOT_RUN, "32 × 32", "32 × 32"]
    small = "HRNet-W4, blocks 1, modules [1, 1, 1], stem 8"
    assert find(text, "network: CDKD, 64 px")[5:] == ["HRNet-W32", small]
    assert find(text, "network: teacher")[-1] == f"{small}, split 4"  # half the pixels, as many classes

    table = section(text, "Table 1 ")
    assert find(table, f"**ours** `mpii_cdkd_64` ({small})")[4:] == [
        *(["**80.000**"] * 8),
        *("**3.330M**", "**0.5930G**", "**14.30G**"),
    ]
    competitor = next(line for line in table.splitlines() if "`mpii_okdhp_64`" in line)
    assert "3 branches of 1 stack, 0 shared)" in competitor
    assert "| paper" in table and "CAL [6]" in table and table.count("| **ours** ") == 18 + 3
    assert (
        find(section(text, "Table 5"), f"**ours** `mpii_teacher_k05` ({small}, split 1, 128 × 128 px)")[-1]
        == "**90.0**"
    )
    assert find(section(text, "Table 2"), f"**ours** `coco_cdkd_32` ({small})")[4] == "**100.0**"
    (names,) = [line for line in section(text, "Table 6").splitlines() if "mpii_projectors_2" in line]
    assert f"`mpii_projectors_2` ({small}, projectors 2)" in names and f"({small}, projectors 3)" in names
    lsp = section(text, "LSP: not in the paper")
    assert find(lsp, "CDKD, 32 px")[1:3] == [f"`lsp_cdkd_32` ({small})", "45.0 ± 7.1"]
    assert f"`lsp_sape_64` ({small})" in lsp  # no role of the benchmark

    speed = [cells(line) for line in section(text, "Measured speed").splitlines() if line.startswith("| `")]
    inputs = {row[0]: row[1] for row in speed}
    assert (inputs["`s8_c256`"], inputs["`simcc_w32_32`"], inputs["`hrnet_w48_64`"]) == (
        *("256 × 256", "32 × 32", "64 × 64"),
    )
    assert "`okdhp_s4_released_64`" not in inputs
    assert "relative to that network at its own input" in text
    effects = section(text, "Effects")
    assert find(effects, "`lsp_cdkd_64` − `lsp_simcc_64`")[1:] == ["seed 0", "seed 1", "mean ± std"]
    assert "The paper reports +1.022 mean PCKh (Table 1)." in effects
    decisions = section(text, "Decisions")
    assert "`settings.kernels: [3, 5, 7, 7]`" in decisions and "`teacher_input: [128, 128]`" in decisions
    assert "`crops: mpii / coco_square / lsp`" in decisions
    figures = {f"{dataset}_{name}.png" for dataset in ("lsp", "mpii", "coco") for name in ("pck", "history", "people")}
    assert {path.name for path in Path("reports/figures/cdkd").iterdir()} == figures - {"coco_pck.png"} | {
        "lsp_classes.png"
    }
    assert "](figures/cdkd/lsp_classes.png)" in text


def test_classes_are_drawn_of_what_was_trained(domains):
    """Without the students of one size, and without any that learned from a teacher."""

    def drawn(*removed: str) -> bool:
        for run in removed:
            shutil.rmtree(domains / "models/cdkd" / run)
        (study,) = [study for study in load_studies(load_paper("cdkd")) if study.key == "lsp"]
        found = draw_classes("cdkd", study, 0, domains)
        assert (domains / "lsp_classes.png").is_file() == found
        return found

    assert drawn("lsp_simcc_32", "lsp_cdkd_32", "lsp_simcc_64")
    (domains / "lsp_classes.png").unlink()
    assert not drawn("lsp_cdkd_64")


@pytest.mark.parametrize("stage", [evaluate, report])
def test_which_paper_has_to_be_said(tree, stage):
    with pytest.raises(InputError, match=r"which paper.* known: cdkd, cmkg, fpd, okdhp"):
        stage.main()


def test_branches_of_a_run_that_exports_all(full_tree):
    folder = Path("models/okdhp")
    results = load_results(folder, ["mpii_hg4", "mpii_hg4_unbalanced"])
    assert list(results) == ["mpii_hg4", *(f"mpii_hg4_unbalanced{part}" for part in ("", "_branch_2", "_branch_3"))]
    run, second, third = list(results.values())[1:]
    assert [result.spec["model"]["stacks"] for result in (run, second, third)] == [4, 6, 8]
    assert run.histories and not second.histories
    assert "branches" not in second.spec["settings"] and second.spec["method"] == "okdhp"
    assert (second.predictions[0]["keypoints"][:, 0, 0] > 1000).sum() == 3
    (folder / "mpii_hg4_unbalanced/seed0/branch_3/predictions.npz").unlink()
    with pytest.raises(InputError, match=r"branch_3/predictions\.npz not found"):
        load_results(folder, ["mpii_hg4_unbalanced"])


def test_a_benchmark_may_be_missing(tree):
    for path in (*Path("models/fpd").glob("mpii_*"), *Path("data").glob("*/mpii")):
        shutil.rmtree(path)
    evaluate.main("fpd")
    report.main("fpd")
    summary.main()
    text = Path("reports/fpd.md").read_text()
    assert find(text, "profile `mini`")[1:] == ["LSP: paper", "LSP: here"]
    assert set(find(section(text, "Table 4"), "**ours** `mpii_prm_fpd`")[2:]) == {NOT_RUN}
    assert len(list(Path("reports/figures/fpd").iterdir())) == 3
    assert "teacher not run" in Path("reports/README.md").read_text()


def test_any_single_run_can_be_reported(tree):
    for path in Path("models/fpd").iterdir():
        if path.name != "mpii_alpha_01":
            shutil.rmtree(path)
    evaluate.main("fpd")
    report.main("fpd")
    text = Path("reports/fpd.md").read_text()
    assert find(text, "evaluated persons")[2] == "10"
    assert not list(Path("reports/figures/fpd").iterdir())  # they show other runs


def test_reports_are_pure_functions_of_their_inputs(tree):
    def outputs():
        evaluate.main("fpd")
        report.main("fpd")
        summary.main()
        return {path: path.read_bytes() for path in Path("reports").rglob("*") if path.is_file()}

    assert outputs() == outputs()


def test_summary(tree):
    evaluate.main("fpd")
    (tree / "reports/published/small").mkdir(parents=True)
    (tree / "reports/published/small/fpd.md").write_text("# FPD on real images\n\ntext\n")
    summary.main()
    text = Path("reports/README.md").read_text()
    mpii, lsp = [cells(line) for line in text.splitlines() if line.startswith("| [Fast Human Pose Estimation](fpd.md)")]
    assert mpii[1:3] == ["MPII", "mean PCKh@0.5, %:<br>teacher not run<br>student 55.0 ± 7.1<br>distilled 80.0 ± 0.0"]
    assert lsp[1:3] == ["LSP", "mean PCK@0.2, %:<br>teacher not run<br>student 80.0 ± 14.1<br>distilled 95.0 ± 7.1"]
    assert lsp[3:] == ["`mini`", "synthetic", "0, 1", "0123abc", "a CPU"]
    assert mpii[4] == "official"
    assert "* [FPD on real images](published/small/fpd.md) – small" in text


def test_summary_of_several_papers(full_tree):
    evaluate.main("okdhp")
    summary.main()
    rows = [cells(line) for line in Path("reports/README.md").read_text().splitlines() if "](okdhp.md)" in line]
    assert [row[1] for row in rows] == ["MPII", "COCO", "LSP"]
    assert rows[1][2] == "AP, %:<br>baseline 0.0<br>OKDHP 100.0"
    assert rows[2][2] == "mean PCK@0.2, %:<br>baseline 60.0<br>branches, β = 0 not run<br>OKDHP 70.0"


def test_missing_and_incomplete_runs_are_refused(tree):
    with pytest.raises(InputError, match="no trained run"):
        load_results(tree / "models/fpd", ["lsp_teacher"])
    (tree / "models/fpd/lsp_fpd/seed1/predictions.npz").unlink()
    with pytest.raises(InputError, match=r"predictions\.npz not found"):
        load_results(tree / "models/fpd", ["lsp_fpd"])
