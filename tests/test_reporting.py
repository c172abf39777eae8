"""Reports: printed numbers are the paper's, our numbers are the predictions', and what was not run says so."""

import json
import shutil
from pathlib import Path

import pytest

from lib.errors import InputError
from lib.files import read_csv
from lib.papers import load_paper
from lib.reporting import load_results, load_studies
from lib.reporting.claims import NOT_RUN, TOO_FEW
from lib.reporting.illustrations import draw_classes
from stages import evaluate, report, summary
from tests.markdown import cells, find, section
from tests.projects import RUNS, write_project

ROOT = Path(__file__).resolve().parents[1]
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


def test_evaluate_writes_headlines_and_details(tree):
    evaluate.main("fpd")
    details = json.loads(Path("reports/metrics/fpd.details.json").read_text())
    mpii, lsp = ["mpii_s4_c128", "mpii_fpd", "mpii_alpha_01"], ["lsp_student", "lsp_fpd"]
    assert list(details) == [*mpii, "mpii_mean_pose", *lsp, "lsp_mean_pose"]
    fpd = details["lsp_fpd"]
    assert (fpd["benchmark"], fpd["images"], fpd["persons"]) == ("lsp", "drawn", 10)
    assert fpd["error"] == pytest.approx(0.97525, abs=1e-5)  # 142 hits in 144
    assert {seed: (scores["mean"], scores["auc"]) for seed, scores in fpd["seeds"].items()} == {
        "0": (100, 100),
        "1": (90, 90),
    }
    assert details["mpii_fpd"]["images"] == "the benchmark's"
    share = 130 / 164
    assert details["mpii_fpd"]["error"] == pytest.approx(100 * (share * (1 - share) / 164) ** 0.5, abs=1e-5)
    assert details["lsp_mean_pose"]["seeds"]["0"]["mean"] == 100  # all stand alike
    assert json.loads(Path("reports/metrics/fpd.json").read_text()) == {
        "mpii": {"student": 55, "student ±": pytest.approx(50**0.5, abs=1e-4), "distilled": 80, "distilled ±": 0},
        "lsp": {
            **{"student": 80, "student ±": pytest.approx(200**0.5, abs=1e-4)},
            **{"distilled": 95, "distilled ±": pytest.approx(50**0.5, abs=1e-4)},
        },
    }
    plots = Path("reports/plots/fpd")
    rows = {dataset: read_csv(plots / f"{dataset}_pck.csv") for dataset in ("lsp", "mpii")}
    assert [len(curve) for curve in rows.values()] == [21, 51]
    assert rows["lsp"][-1] == {"threshold": "0.2", "student": "80.0", "distilled": "95.0", "mean pose": "100.0"}
    assert rows["mpii"][-1] == {"threshold": "0.5", "student": "55.0", "distilled": "80.0", "mean pose": "100.0"}
    assert read_csv(plots / "mpii_history.csv") == [
        {"epoch": "1", "student": "", "distilled": ""},
        {"epoch": "2", "student": "40.0", "distilled": "40.0"},
    ]


def write_learned() -> None:
    """Make the mean pose a bad one: the only training person stands far away from its box."""
    for path in Path("data/annotations").glob("*/train.json"):
        content = json.loads(path.read_text())
        for person in content["annotations"]:
            person["keypoints"] = [value + 400 * (place % 3 == 0) for place, value in enumerate(person["keypoints"])]
        path.write_text(json.dumps(content))


@pytest.fixture
def small(tmp_path, monkeypatch):
    """As `tree`, under a profile whose numbers mean something, with networks better than the mean pose."""
    monkeypatch.chdir(tmp_path)
    settings = (ROOT / "params.yaml").read_text()
    (tmp_path / "params.yaml").write_text(settings.replace("profile: mini ", "profile: small "))
    write_project("fpd", RUNS, people={"lsp": 20, "mpii": 30})
    write_learned()
    return tmp_path


def test_report(small):
    evaluate.main("fpd")
    report.main("fpd")
    text = Path("reports/fpd.md").read_text()
    headings = [line.split(" – ")[0] for line in text.splitlines() if line.startswith("## Table")]
    assert headings == [f"## Table {number}" for number in range(1, 9)]
    top, claims = text.split("## Claims")[0], section(text, "Claims")
    assert "**No reproduction of the numbers on MPII**: images are the benchmark's (official copy)" in top
    assert "**No reproduction of the numbers on LSP**: images are drawn by this project" in top
    rows = [cells(line) for line in claims.splitlines() if line.startswith("| Distillation helps, from random")]
    # Seeds 0 and 1 gain 10 and 20 points on LSP, 20 and 30 on MPII: 15 and 25 ± 12.706 × 5.
    assert rows[0][1:] == ["MPII", "+0.8, Table 6", "−0.3 and +0.7", "+25.0 (−38.5 to +88.5; 2)", f"**{TOO_FEW}**"]
    assert rows[1][1:] == [
        "LSP",
        "+0.8, Table 6, on MPII",
        "−0.3 and +0.7, on MPII",
        "+15.0 (−48.5 to +78.5; 2)",
        f"**{TOO_FEW}**",
    ]
    assert [cells(line)[-1] for line in claims.splitlines() if line.startswith("| Squared")] == [NOT_RUN]
    assert "| `lsp_fpd` − `lsp_student` | 0: +10.00, 1: +20.00 |" in claims
    assert "a third party: yuanyuanli85" in claims

    table = section(text, "Table 3")
    lines = [cells(line) for line in table.splitlines() if line.startswith("| ")]
    row = next(number for number, line in enumerate(lines) if line[0] == "FPD")
    assert lines[row + 1] == ["**ours**", *["**95.0**"] * 7, *["**95.0 ± 7.1**"] * 2]
    assert ["Student alone", *["**80.0**"] * 7, *["**80.0 ± 14.1**"] * 2] in lines
    assert "Δ" not in [line[0] for line in lines]  # a smaller scale
    assert "* Trained student, trained on without teacher: `lsp_control`" in table.split("Not run:")[1]
    assert "* FPD: `lsp_fpd` (1 × 32, 64 × 64 px)" in table
    test_set = section(text, "Table 2")  # its labels are not public
    row = ["Validation persons: FPD", *["**80.0**"] * 7, *["**80.0 ± 0.0**"] * 2]
    assert row in [cells(line) for line in test_set.splitlines() if line.startswith("| ")]
    assert "Costs at full size: 2 of 2 printed ones agree" in test_set and "12 rows that the paper quotes" in test_set
    assert "`mpii_fpd` (1 × 32, 64 × 64 px, loss mse)" in section(text, "Table 7")
    alphas = [cells(line) for line in section(text, "Table 8").splitlines() if line.startswith("|")]
    assert alphas[3] == ["**ours**", "**55.0 ± 7.1**", "", "**70.0 ± 0.0**", "**80.0 ± 0.0**", "", ""]
    assert "*87.934*<sup>a</sup> *84.69*<sup>b</sup>" in section(text, "Table 5")

    below = section(text, "Scale and provenance")
    assert "Trained at revision 0123abc with PyTorch 2.0 on a CPU." in below
    scales = [cells(line) for line in below.splitlines() if line.startswith("| ")]
    assert [line[2] for line in scales if line[0] == "training persons"] == ["30", "20"]
    assert [line[1:] for line in scales if line[0] == "network: teacher"] == [["8 × 256", NOT_RUN]] * 2
    assert [line[1:] for line in scales if line[0] == "seeds"] == [["not stated", "0, 1"]] * 2
    figures = {f"{dataset}_{name}.png" for dataset in ("lsp", "mpii") for name in ("pck", "people")}
    assert {path.name for path in Path("reports/figures/fpd").iterdir()} == figures  # two epochs make no curve
    assert {name for name in figures if f"](figures/fpd/{name})" in text} == figures


def test_a_profile_that_checks_has_no_verdicts_and_no_pictures_of_people(tree):
    """Its networks are worse than the mean pose, which hits everybody here."""
    evaluate.main("fpd")
    report.main("fpd")
    text = Path("reports/fpd.md").read_text()
    assert TOO_FEW not in text and "so there are no verdicts here" in text
    assert find(section(text, "Claims"), "Squared error beats cross-entropy")[1:] == ["MPII", "+0.2, Table 7", ""]
    assert {path.name for path in Path("reports/figures/fpd").iterdir()} == {"lsp_pck.png", "mpii_pck.png"}


def test_hardware_stands_in_one_line(tree):
    def lines() -> list[str]:
        evaluate.main("fpd")
        report.main("fpd")
        summary.main()
        return [line for name in ("fpd", "README") for line in Path(f"reports/{name}.md").read_text().splitlines()]

    before = lines()
    for path in Path(".cache/records/fpd").iterdir():
        path.write_text(path.read_text().replace("a CPU", "another CPU of a longer name"))
    after = lines()
    assert len(before) == len(after)
    assert sum(one != other for one, other in zip(before, after, strict=True)) == 1


def test_report_of_a_paper_with_branches_and_without_teacher(full_tree):
    write_learned()
    evaluate.main("okdhp")
    details = json.loads(Path("reports/metrics/okdhp.details.json").read_text())
    branches = [f"mpii_hg4_unbalanced{part}" for part in ("", "_branch_2", "_branch_3")]
    assert [details[name]["seeds"]["0"]["mean"] for name in branches] == [90, 70, 60]
    metrics = json.loads(Path("reports/metrics/okdhp.json").read_text())
    assert metrics == {
        "mpii": {"baseline": 50, "OKDHP": 80},
        "coco": {"baseline": 0, "OKDHP": 100},
        "lsp": {"baseline": 60, "OKDHP": 70},
    }
    assert {name for name in details if name.endswith("mean_pose")} == {"mpii_mean_pose", "lsp_mean_pose"}
    plots = Path("reports/plots/okdhp")
    names = {f"{dataset}_{kind}.csv" for dataset in ("mpii", "coco", "lsp") for kind in ("pck", "history")}
    assert {path.name for path in plots.iterdir()} == names - {"coco_pck.csv"}
    assert read_csv(plots / "coco_history.csv")[1] == {"epoch": "2", "baseline": "40.0", "OKDHP": "40.0"}

    report.main("okdhp")
    text = Path("reports/okdhp.md").read_text()
    headings = [line.split(" – ")[0] for line in text.splitlines() if line.startswith("## Table")]
    assert headings == [f"## Table {number}" for number in range(1, 12)]
    assert "MPII and COCO: images are the benchmark's (official copy), networks trained at the paper's scale." in text
    assert (
        "**No reproduction of the numbers on LSP**: images are drawn by this project, networks trained at the" in text
    )
    table_4 = [cells(line) for line in section(text, "Table 4").splitlines() if line.startswith("| ")]
    row = next(number for number, line in enumerate(table_4) if line[0] == "✓, 4-Stack HG")
    assert (table_4[row + 1][:2], table_4[row + 2][:2]) == (["**ours**", "**100.0**"], ["Δ", "+25.2"])
    table_5 = [cells(line) for line in section(text, "Table 5").splitlines() if line.startswith("| **ours**")]
    assert [line[-1] for line in table_5] == ["**90.0**", "**70.0**", "**60.0**"]
    costs = {cells(line)[0]: cells(line)[1:] for line in section(text, "Table 3").splitlines() if line.startswith("| ")}
    assert costs["FPD"] == ["66", "**42.90G (−23.10G)**"]  # teacher twice, and the student
    lsp = section(text, "LSP: not in the paper")
    assert (find(lsp, "baseline")[1], find(lsp, "OKDHP")[1]) == ("**60.0**", "**70.0**")
    assert find(lsp, "mean pose, no image seen")
    assert "MPII: not in the paper" not in text
    speed = [cells(line)[0] for line in text.split("Measured speed")[1].splitlines() if line.startswith("| `")]
    assert speed[:3] == ["`s8_c256`", "`pose_s2_c256`", "`pose_s4_c256`"]  # the reference, then the paper's own
    assert not {"`s4_c256`", "`okdhp_s4_i2`"} & {*speed}  # FPD's, and one that is not deployed
    claims = [cells(line) for line in section(text, "Claims").splitlines() if line.startswith("| OKDHP beats its base")]
    gains = {line[1]: line[4] for line in claims if line[4]}
    assert gains == {
        "MPII, 4 stacks": "+30.0 (1 seed)",
        "COCO, 4 stacks": "+100.0 (1 seed)",
        "LSP, 4 stacks": "+10.0 (1 seed)",
    }
    assert "`settings.temperature: 1`" in section(text, "Decisions")
    figures = {f"{dataset}_{name}.png" for dataset in ("lsp", "mpii", "coco") for name in ("pck", "people")}
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
    write_learned()
    evaluate.main("cdkd")
    report.main("cdkd")
    text = Path("reports/cdkd.md").read_text()
    headings = [line.split(" – ")[0] for line in text.splitlines() if line.startswith("## Table")]
    assert headings == [f"## Table {number}" for number in range(1, 11)]
    scales = [cells(line) for line in section(text, "Scale and provenance").splitlines() if line.startswith("| ")]

    def here(name: str) -> list[str]:
        return [line[2] for line in scales if line[0] == name]

    assert [line[0] for line in scales if line[1:] == ["paper", "here"]] == ["MPII", "COCO", "LSP"]
    assert here("training persons") == ["30", "40", "20"]  # COCO's are in data/crops/coco_square
    assert here("network input, px: teacher") == [NOT_RUN, NOT_RUN, "128 × 128"]
    assert here("network input, px: CDKD, 64 px") == ["64 × 64", NOT_RUN, "64 × 64"]
    small = "HRNet-W4, blocks 1, modules [1, 1, 1], stem 8"
    assert here("network: CDKD, 64 px")[2] == small
    assert here("network: teacher")[-1] == f"{small}, split 4"  # half the pixels, as many classes

    table = section(text, "Table 1 ")
    lines = [cells(line) for line in table.splitlines() if line.startswith("| ")]
    row = next(number for number, line in enumerate(lines) if line[0] == "CDKD (ours), 64 × 64, HRNet-W32")
    assert lines[row + 1] == ["**ours**", *["**80.000**"] * 8]
    assert lines[row - 1] == ["*elsewhere*", *[""] * 7, "*78.7*<sup>a</sup>"]
    assert f"* CDKD (ours), 64 × 64, HRNet-W32: `mpii_cdkd_64` ({small})" in table
    competitor = next(line for line in table.splitlines() if "`mpii_okdhp_64`" in line)
    assert "3 branches of 1 stack, 0 shared)" in competitor
    assert f"`mpii_teacher_k05` ({small}, split 1, 128 × 128 px)" in section(text, "Table 5")
    assert f"`mpii_projectors_2` ({small}, projectors 2)" in section(text, "Table 6")
    lsp = section(text, "LSP: not in the paper")
    assert find(lsp, "CDKD, 32 px")[8] == "**45.0 ± 7.1**"
    assert find(lsp, "CAL [6]")[1:] == ["HRNet-W32", "77.692", "60.6", "", ""]  # not run
    simcc = ["HRNet-W32", "78.340", "58.6", "**55.0 ± 7.1**", "**25.0 ± 7.1**"]  # CDKD is better by 20 and 30
    assert find(lsp, "Simcc (baseline) [10]")[1:] == simcc
    assert f"`lsp_sape_64` ({small})" in lsp and find(lsp, "SAPE alone, 64 px")[8] == "**65.0 ± 7.1**"

    speed = [cells(line) for line in text.split("Measured speed")[1].splitlines() if line.startswith("| `")]
    inputs = {row[0]: row[1] for row in speed}
    assert (inputs["`s8_c256`"], inputs["`simcc_w32_32`"], inputs["`hrnet_w48_64`"]) == (
        *("256 × 256", "32 × 32", "64 × 64"),
    )
    assert "`okdhp_s4_released_64`" not in inputs and "at its own input" in text
    assert find(section(text, "Claims"), "SAPE helps a network of heatmaps")[1:] == [
        "MPII, 64 px",
        "+1.405, Table 10",
        "",
    ]
    decisions = section(text, "Decisions")
    assert "`settings.kernels: [3, 5, 7, 7]`" in decisions and "`teacher_input: [128, 128]`" in decisions
    assert "`crops: mpii / coco_square / lsp`" in decisions
    figures = {f"{dataset}_{name}.png" for dataset in ("lsp", "mpii", "coco") for name in ("pck", "people")}
    figures |= {"lsp_classes.png", "table_1.png", "table_2.png"}
    assert {path.name for path in Path("reports/figures/cdkd").iterdir()} == figures - {"coco_pck.png"}
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


def test_a_benchmark_may_be_missing(small):
    for path in (*Path("models/fpd").glob("mpii_*"), *Path("data").glob("*/mpii")):
        shutil.rmtree(path)
    evaluate.main("fpd")
    report.main("fpd")
    summary.main()
    text = Path("reports/fpd.md").read_text()
    assert "MPII" not in text.split("## Claims")[0]
    assert "**ours**" not in section(text, "Table 4") and "Runs of this table: 0 of 3" in section(text, "Table 4")
    assert {path.name for path in Path("reports/figures/fpd").iterdir()} == {"lsp_pck.png", "lsp_people.png"}
    assert "| LSP | student |" in Path("reports/README.md").read_text()


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


def test_missing_and_incomplete_runs_are_refused(tree):
    with pytest.raises(InputError, match="no trained run"):
        load_results(tree / "models/fpd", ["lsp_teacher"])
    (tree / "models/fpd/lsp_fpd/seed1/predictions.npz").unlink()
    with pytest.raises(InputError, match=r"predictions\.npz not found"):
        load_results(tree / "models/fpd", ["lsp_fpd"])
