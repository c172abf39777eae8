"""Reports: printed numbers are the paper's, our numbers are the predictions', and what was not run says so."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data.crops import Crops
from lib.errors import InputError
from lib.models import build_model
from lib.papers import Row, Table
from lib.params import load_params
from lib.reporting import load_results, paired_differences, read_csv, summarise
from lib.reporting.examples import person_panels, transfer_examples
from lib.reporting.figures import BYTES, Example, Panel, curves, histories, people, transfer
from lib.reporting.tables import (
    NOT_RUN,
    accuracy_cell,
    cost_cell,
    effect_table,
    printed_table,
    signed,
    verdict,
)
from lib.training.checkpoint import save_weights
from stages import evaluate, report, summary

ROOT = Path(__file__).resolve().parents[1]
JOINTS = [
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
]
NETWORKS = ("s8_c256", "s4_c256", "s2_c256", "s1_c256", "s4_c128", "s4_c64", "s4_c32", "lsp_s4_c128")
COST = {"params_m": 3.33, "gflops": 9.38} | {
    f"{name}_b{size}": 1.0 for name in ("latency_ms", "throughput", "speedup") for size in (1, 32)
}


def cells(line: str) -> list[str]:
    """The cells of a markdown table's line."""
    return [cell.strip().replace("\u00a0", " ") for cell in line.strip().strip("|").split("|")]


def find(text: str, start: str) -> list[str]:
    """The cells of the only line that begins with `start`, without padding."""
    found = [cells(line) for line in text.splitlines() if cells(line)[0] == start]
    assert len(found) == 1, f"{len(found)} lines begin with {start}"
    return found[0]


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
    assert "no conclusion" in verdict([5.0])
    assert "no conclusion" in verdict([1.0, 2.0])  # t of one degree of freedom: two seeds say little
    assert "no conclusion" in verdict([1.0, -0.5, 0.4])
    assert "raises" in verdict([1.0, 1.1, 0.9])
    assert "lowers" in verdict([-1.0, -1.1, -0.9])
    # Mean 2, std 1, three seeds: 2 ± 4.3027 / sqrt 3.
    assert "+2.00 points of mean PCK, 95 % interval −0.48 to +4.48" in verdict([1.0, 2.0, 3.0])


# Printed tables


def test_row_lines():
    accuracy, cost = {"mean": "Mean"}, {"params_m": "# Param"}
    rows = (
        Row(("Theirs",), ("93.0", "-"), False, None, None),
        Row(("FPD",), ("90.8", "3M"), True, "r", "n"),
        Row(("Alone",), (), True, "s", "n"),
        Row(("Later",), ("50.0", "3M"), True, None, "n"),
    )
    table = Table(1, "", "", {"method": "Method"}, accuracy, cost, rows, transposed=False)
    metrics = {"r": {"mean": 40.0, "std": {"mean": 1.0}}, "s": {"mean": 39.0}}
    header, _, *body = (cells(line) for line in printed_table(table, metrics, {"n": {"params_m": 3.33}}).splitlines())
    assert header == ["", "Method", "Mean", "# Param"]
    assert body == [
        ["*quoted*", "Theirs", "93.0", "-"],
        ["paper", "FPD", "90.8", "3M"],
        ["**ours** `r`", "", "**40.0 ± 1.0**", "**3.33M**"],
        ["Δ", "", "−50.8", "="],
        ["**ours** `s`", "Alone", "**39.0**", "**3.33M**"],
        ["paper", "Later", "50.0", "3M"],
        ["**ours**", "", "not run", "**3.33M**"],
        ["Δ", "", "", "="],
    ]


def test_transposed_table():
    rows = tuple(
        Row((alpha,), printed, True, None, None) for alpha, printed in (("0", ("90.1", "62.4")), ("1", ("8", "9")))
    )
    table = Table(8, "", "", {"alpha": "α"}, {"mean": "Mean", "auc": "AUC"}, {}, rows, transposed=True)
    lines = [cells(line) for line in printed_table(table, {}, {}).splitlines()]
    assert lines[0] == ["", "α", "0", "1"]
    assert lines[2:4] == [["paper", "Mean", "90.1", "8"], ["**ours**", "", "not run", "not run"]]
    assert lines[4] == ["paper", "AUC", "62.4", "9"]


# A whole report


def coco(persons: int) -> dict:
    """Persons of 14 joints on a grid 40 px wide, torso (joints 2 and 9) exactly 100 px."""
    annotations, images = [], []
    for number in range(persons):
        points = np.array([[10.0 + 3 * joint, 20 + 5 * joint] for joint in range(14)])
        points[2], points[9] = [10, 10], [10, 110]
        keypoints = np.concatenate([points, np.full((14, 1), 2)], axis=1)
        images.append({"id": number, "file_name": f"{number}.png", "width": 120, "height": 150})
        annotations.append(
            {"id": number, "image_id": number, "bbox": [10, 10, 40, 101], "keypoints": keypoints.ravel().tolist()}
        )
    category = {"id": 1, "keypoints": JOINTS, "skeleton": [[1, 2], [2, 3], [13, 14]], "flip_pairs": [[0, 5]]}
    info = {"dataset": "lsp", "source": "synthetic", "note": "drawn figures"}
    return {"info": info, "images": images, "annotations": annotations, "categories": [category]}


def write_run(folder: Path, spec: dict, annotations: dict, wrong: dict[int, int]) -> None:
    """A trained run whose seeds miss the given numbers of persons by far and hit the others exactly."""
    for seed, missed in wrong.items():
        truth = np.array([person["keypoints"] for person in annotations["annotations"]]).reshape(-1, 14, 3)[..., :2]
        truth[:missed] += 1000
        (folder / f"seed{seed}").mkdir(parents=True)
        np.savez(folder / f"seed{seed}" / "predictions.npz", ids=np.arange(len(truth)), keypoints=truth)
        (folder / f"seed{seed}" / "history.csv").write_text("epoch,loss,val_mean\n1,0.5,\n2,0.25,40.0\n")
    (folder / "spec.json").write_text(json.dumps(spec))
    environment = {"revision": "0123abc", "hardware": "a CPU", "torch": "2.0", "dataset_source": "synthetic"}
    (folder / "environment.json").write_text(json.dumps(environment))


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A project with two seeds of the student (90, 70 %) and of FPD (100, 90 %), nothing else, and no teacher."""
    annotations = coco(10)
    (tmp_path / "data/annotations/lsp").mkdir(parents=True)
    for split in ("train", "val"):
        (tmp_path / f"data/annotations/lsp/{split}.json").write_text(json.dumps(annotations))
    crops = tmp_path / "data/crops/lsp"
    (crops / "train").mkdir(parents=True)
    arrays = {
        "images": np.zeros((20, 6, 6, 3), np.uint8),
        "keypoints": np.zeros((20, 14, 2), np.float32),
        "visible": np.ones((20, 14), bool),
        "to_image": np.zeros((20, 2, 3)),
        "ids": np.arange(20),
    }
    for name, array in arrays.items():
        np.save(crops / "train" / f"{name}.npy", array)
    meta = {"joints": JOINTS, "flip_pairs": [[0, 5]], "input": [4, 4], "margin": 1.5}
    (crops / "meta.json").write_text(json.dumps(meta))
    (tmp_path / "data/raw/lsp").mkdir(parents=True)
    for number in range(10):
        Image.new("RGB", (120, 150), (90, 120, 90)).save(tmp_path / f"data/raw/lsp/{number}.png")

    shutil.copy(ROOT / "params.yaml", tmp_path)
    params = load_params(tmp_path / "params.yaml")
    for name, wrong in {"lsp_student": {0: 1, 1: 3}, "lsp_fpd": {0: 0, 1: 1}}.items():
        spec = params.train_spec("fpd", name).model_dump(mode="json")
        write_run(tmp_path / "models/fpd" / name, spec, annotations, wrong)
    (tmp_path / "reports/metrics").mkdir(parents=True)
    (tmp_path / "reports/metrics/complexity.json").write_text(json.dumps(dict.fromkeys(NETWORKS, COST)))
    machine = {"hardware": "a CPU", "threads": 2, "torch": "2.0"}
    (tmp_path / "reports/metrics/complexity.environment.json").write_text(json.dumps(machine))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_evaluate_writes_numbers_only(tree):
    evaluate.main("fpd")
    metrics = json.loads(Path("reports/metrics/fpd.json").read_text())
    assert list(metrics) == ["lsp_student", "lsp_fpd", "mean_pose"]
    fpd = metrics["lsp_fpd"]
    assert (fpd["mean"], fpd["auc"], fpd["seeds"], fpd["persons"]) == (95, 95, 2, 10)
    assert fpd["std"]["mean"] == pytest.approx(50**0.5, abs=1e-4)

    def numbers(node):
        return all(map(numbers, node.values())) if isinstance(node, dict) else isinstance(node, int | float)

    assert numbers(metrics)
    rows = read_csv(Path("reports/plots/fpd/pck/lsp_fpd.csv"))
    assert len(rows) == 21
    assert rows[-1] == {"threshold": "0.2", "pck": "95.0"}
    assert read_csv(Path("reports/plots/fpd/history/lsp_student.csv")) == [
        {"epoch": "1", "loss": "0.5", "val_mean": ""},
        {"epoch": "2", "loss": "0.25", "val_mean": "40.0"},
    ]


def test_report(tree):
    evaluate.main("fpd")
    report.main("fpd")
    text = Path("reports/fpd.md").read_text()
    headings = [line.split(" – ")[0] for line in text.splitlines() if line.startswith("## Table")]
    assert headings == [f"## Table {number}" for number in range(1, 9)]
    assert "These numbers are no reproduction" in text and "synthetic" in text
    assert find(text, "seeds")[2] == "0, 1"
    assert find(text, "training persons")[2] == "20"
    assert find(text, "test persons")[1:] == ["1K", "10"]
    assert find(text, "teacher, stacks × channels")[1:] == ["8 × 256", "not run"]
    assert find(text, "git revision")[2] == "0123abc"

    ours = find(text, "**ours** `lsp_fpd`")
    assert ours[1:] == ["", *["**95.0 ± 7.1**"] * 9, "**3.33M**", "**9.38G**"]
    assert find(text, "**ours** `lsp_student`")[1:3] == ["Student alone", "**80.0 ± 14.1**"]
    assert set(find(text, "**ours** `lsp_control`")[2:11]) == {"not run"}
    differences = [cells(line) for line in text.splitlines() if cells(line)[0] == "Δ"]
    assert ["Δ", "", "−2.3", "+2.7", "+8.2", "+10.8", "+3.1", "+2.8", "+4.1", "+4.2", "+30.7", "=", "="] in differences

    assert find(text, "mean") == ["mean", "+10.00", "+20.00", "+15.00 ± 7.07"]
    assert "Over 2 seeds: a difference of +15.00 points" in text
    assert text.count("\nNot run.\n") == 1  # FPD from the trained student and its control
    assert sorted(path.name for path in Path("reports/figures/fpd").iterdir()) == [
        "history.png",
        "pck.png",
        "people.png",
    ]


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
    line = find(text, "[Fast Human Pose Estimation](fpd.md)")
    assert line[1] == "teacher not run<br>student 80.0 ± 14.1<br>distilled 95.0 ± 7.1"
    assert line[2:] == ["`mini`", "lsp, synthetic", "0, 1", "0123abc", "a CPU"]
    assert "* [FPD on real images](published/small/fpd.md) – small" in text


def test_missing_and_incomplete_runs_are_refused(tree):
    with pytest.raises(InputError, match="no trained run"):
        load_results(tree / "models/fpd", ["lsp_teacher"])
    (tree / "models/fpd/lsp_fpd/seed1/predictions.npz").unlink()
    with pytest.raises(InputError, match=r"predictions\.npz not found"):
        load_results(tree / "models/fpd", ["lsp_fpd"])


def test_figures_stay_small(tmp_path):
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (300, 300, 3), np.uint8)  # the hardest to compress
    panel = Panel("a", generator.uniform(0, 300, (14, 2)), np.ones(14, bool))
    people([noise] * 2, [[panel] * 3] * 2, [(0, 1)], JOINTS, tmp_path / "people.png")
    example = Example("c", noise[:64, :64], None, np.zeros(2), np.zeros((16, 16)), generator.random((16, 16)))
    transfer([example], tmp_path / "transfer.png")
    curves({"a": [{"threshold": "0", "pck": "0"}, {"threshold": "1", "pck": "9"}]}, tmp_path / "c.png")
    histories({"a": [[{"epoch": "1", "val_mean": "9"}]]}, tmp_path / "h.png")
    for path in tmp_path.iterdir():
        assert 1000 < path.stat().st_size <= BYTES
        assert Image.open(path).size[0] > 300


def test_person_panels_count_joints_and_move_with_the_frame(tree):
    annotations = coco(10)
    truth = np.array([person["keypoints"] for person in annotations["annotations"]]).reshape(-1, 14, 3)[..., :2]
    off = truth.copy()
    off[:, 13] += [0, 21]  # torso 100 px
    predictions = {name: {"ids": np.arange(10), "keypoints": points} for name, points in (("a", truth), ("b", off))}
    images, panels = person_panels(annotations, predictions, Path("data/raw/lsp"), people=2)
    assert [panel.title for panel in panels[0]] == ["ground truth", "a: 14 of 14", "b: 13 of 14"]
    # bbox 10, 10, 40, 101: the frame has its centre at (30, 60.5), reaches 70.7 px and is cut at the image's border.
    assert images[0].shape == (131, 101, 3)
    np.testing.assert_array_equal(panels[0][0].keypoints, truth[0] - [0, 0])
    np.testing.assert_array_equal(panels[1][2].keypoints[13], truth[5, 13] + [0, 21])


def test_transfer_examples_follow_their_rules(tmp_path):
    torch.manual_seed(0)
    generator = np.random.default_rng(0)
    model = {"name": "hourglass", "stacks": 1, "channels": 8, "stem": "pytorch-pose", "joints": 14}
    save_weights(tmp_path / "weights.safetensors", build_model(model), model)
    visible = np.ones((9, 14), bool)
    visible[4, 13] = False
    crops = Crops(
        images=generator.integers(0, 256, (9, 96, 96, 3), np.uint8),
        keypoints=generator.uniform(20, 76, (9, 14, 2)).astype(np.float32),
        visible=visible,
        to_image=np.tile([[1.0, 0, 0], [0, 1, 0]], (9, 1, 1)),
        ids=np.arange(9),
        joints=tuple(JOINTS),
        flip_pairs=(),
        input=(64, 64),
        margin=1.5,
    )
    spec = {"input": [64, 64], "heatmap": {"sigma": 1.0, "scaling": "density"}}
    examples = {
        example.caption[:3]: example for example in transfer_examples(crops, tmp_path / "weights.safetensors", spec)
    }
    missing, apart = examples["(C)"], examples["(A)"]
    assert missing.caption.endswith("head top")
    assert missing.label is None and not missing.label_map.any()
    # The shown crop is the centre of the packed one, the margin cut off, its grey levels as stored.
    np.testing.assert_array_equal(missing.image, crops.images[4, 16:80, 16:80])
    assert np.linalg.norm(apart.label - apart.teacher) > 8
    row, column = np.unravel_index(apart.label_map.argmax(), apart.label_map.shape)
    assert np.abs((np.array([column, row]) + 0.5) * 4 - 0.5 - apart.label).max() <= 2
    everything = replace(crops, visible=np.ones_like(visible))
    assert "(C)" not in {e.caption[:3] for e in transfer_examples(everything, tmp_path / "weights.safetensors", spec)}
