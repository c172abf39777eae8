"""Reports: printed numbers are the paper's, our numbers are the predictions', and what was not run says so."""

import json
import shutil
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data.crops import Crops
from lib.errors import InputError
from lib.files import read_csv
from lib.models import build_model
from lib.params import load_params
from lib.reporting import load_results
from lib.reporting.examples import person_panels, transfer_examples
from lib.reporting.figures import BYTES, Example, Panel, curves, histories, people, transfer
from lib.reporting.tables import NOT_RUN
from lib.training.checkpoint import save_weights
from stages import evaluate, report, summary
from tests.markdown import cells, find, section

ROOT = Path(__file__).resolve().parents[1]
JOINTS = [
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
]
MPII_JOINTS = [
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax"),
    *("upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow"),
    "left_wrist",
]
COST = {"params_m": 3.33, "gflops": 9.38} | {
    f"{name}_b{size}": 1.0 for name in ("latency_ms", "throughput", "speedup") for size in (1, 32)
}


def coco(persons: int, dataset: str = "lsp") -> dict:
    """Persons whose joints lie on a line, torso (LSP's joints 2 and 9) exactly 100 px, head size (MPII) 50 px."""
    joints = {"lsp": JOINTS, "mpii": MPII_JOINTS}[dataset]
    points = np.array([[10.0 + 2 * joint, 20 + 5 * joint] for joint in range(len(joints))])
    if dataset == "lsp":
        points[2], points[9] = [10, 10], [10, 110]
    person = {"bbox": [10, 10, 40, 101], "keypoints": [round(x) for x, y in points for x in (x, y, 2)]}
    person |= {"head_size": 50.0} if dataset == "mpii" else {}
    images = [{"id": number, "file_name": f"{number}.png", "width": 120, "height": 150} for number in range(persons)]
    category = {"id": 1, "keypoints": joints, "skeleton": [[1, 2], [2, 3], [13, 14]], "flip_pairs": [[0, 5]]}
    return {
        "info": {"dataset": dataset, "source": {"lsp": "synthetic", "mpii": "official"}[dataset], "note": "figures"},
        "images": images,
        "annotations": [deepcopy({"id": number, "image_id": number} | person) for number in range(persons)],
        "categories": [category],
    }


def truth_of(annotations: dict) -> np.ndarray:
    """True keypoints (N, K, 2)."""
    labels = np.array([person["keypoints"] for person in annotations["annotations"]], np.float64)
    return labels.reshape(len(labels), -1, 3)[..., :2]


def write_run(folder: Path, spec: dict, annotations: dict, wrong: dict[int, int]) -> None:
    """A trained run whose seeds miss the given numbers of persons by far and hit the others exactly."""
    for seed, missed in wrong.items():
        found = truth_of(annotations)
        found[:missed] += 1000
        (folder / f"seed{seed}").mkdir(parents=True)
        ids = np.arange(len(found))
        np.savez(folder / f"seed{seed}" / "predictions.npz", ids=ids, keypoints=found, image_ids=ids, images=ids)
        (folder / f"seed{seed}" / "history.csv").write_text("epoch,loss,val_mean\n1,0.5,\n2,0.25,40.0\n")
    (folder / "spec.json").write_text(json.dumps(spec))
    environment = {"revision": "0123abc", "hardware": "a CPU", "torch": "2.0"}
    environment["dataset_source"] = annotations["info"]["source"]
    (folder / "environment.json").write_text(json.dumps(environment))


def write_benchmark(annotations: dict, people: int) -> None:
    """Annotations, pictures and training crops of a benchmark."""
    name, joints = annotations["info"]["dataset"], annotations["categories"][0]["keypoints"]
    folder, crops, images = (Path("data") / kind / name for kind in ("annotations", "crops", "raw"))
    for path in (folder, crops / "train", images):
        path.mkdir(parents=True)
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(annotations))
    arrays = {
        "images": np.zeros((people, 6, 6, 3), np.uint8),
        "keypoints": np.zeros((people, len(joints), 2), np.float32),
        "visible": np.ones((people, len(joints)), bool),
        "to_image": np.zeros((people, 2, 3)),
        "ids": np.arange(people),
        "image_ids": np.arange(people),
        "box_scores": np.ones(people, np.float32),
    }
    for array, values in arrays.items():
        np.save(crops / "train" / f"{array}.npy", values)
    meta = {"joints": joints, "flip_pairs": [[0, 5]], "upper_body": [8, 9], "input": [4, 4]}
    (crops / "meta.json").write_text(json.dumps(meta))
    for image in annotations["images"]:
        Image.new("RGB", (120, 150), (90, 120, 90)).save(images / image["file_name"])


RUNS = {  # persons out of ten that each seed misses
    "lsp_student": {0: 1, 1: 3},
    "lsp_fpd": {0: 0, 1: 1},
    "mpii_s4_c128": {0: 4, 1: 5},
    "mpii_fpd": {0: 2, 1: 2},
    "mpii_alpha_01": {0: 3, 1: 3},
}


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """A project with two seeds of some students on each benchmark, and no teacher."""
    monkeypatch.chdir(tmp_path)
    annotations = {dataset: coco(10, dataset) for dataset in ("lsp", "mpii")}
    write_benchmark(annotations["lsp"], people=20)
    write_benchmark(annotations["mpii"], people=30)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    params = load_params()
    for name, wrong in RUNS.items():
        spec = params.train_spec("fpd", name).model_dump(mode="json")
        write_run(Path("models/fpd") / name, spec, annotations[spec["dataset"]], wrong)
    Path("reports/metrics").mkdir(parents=True)
    Path("reports/metrics/complexity.json").write_text(json.dumps(dict.fromkeys(params.complexity.networks, COST)))
    machine = {"hardware": "a CPU", "threads": 2, "torch": "2.0"}
    Path("reports/metrics/complexity.environment.json").write_text(json.dumps(machine))
    return tmp_path


def trained(run: str) -> str:
    """The name of a run as the tables show it in the `tree`."""
    model = json.loads((Path("models/fpd") / run / "spec.json").read_text())["model"]
    return f"`{run}` ({model['stacks']} × {model['channels']})"


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
        {"epoch": "1", "loss": "0.5", "val_mean": ""},
        {"epoch": "2", "loss": "0.25", "val_mean": "40.0"},
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
    assert find(text, "teacher, stacks × channels")[1:] == ["8 × 256", "not run", "8 × 256", "not run"]
    assert find(text, "git revision")[2] == "0123abc"

    table = section(text, "Table 3")
    ours = find(table, f"**ours** {trained('lsp_fpd')}")
    assert ours[1:] == ["", *["**95.0 ± 7.1**"] * 9, "**3.33M**", "**9.38G**"]
    differences = ["−2.3", "+2.7", "+8.2", "+10.8", "+3.1", "+2.8", "+4.1", "+4.2", "+30.7", "=", "="]
    assert find(table, "Δ") == ["Δ", "", *differences]
    assert find(table, f"**ours** {trained('lsp_student')}")[1:3] == ["Student alone", "**80.0 ± 14.1**"]
    assert set(find(table, "**ours** `lsp_control`")[2:11]) == {"not run"}

    test_set = section(text, "Table 2")  # its labels are not public: costs alone are compared
    assert find(test_set, "**ours**")[1:] == ["", *["not run"] * 9, "**3.33M**", "**9.38G**"]
    assert find(test_set, "Δ") == ["Δ", *[""] * 10, "=", "="]
    assert find(test_set, f"**ours** {trained('mpii_fpd')}")[9:] == ["**80.0 ± 0.0**"] * 2 + ["**3.33M**", "**9.38G**"]
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
    assert mpii[1:3] == ["MPII", "mean PCKh@0.5:<br>teacher not run<br>student 55.0 ± 7.1<br>distilled 80.0 ± 0.0"]
    assert lsp[1:3] == ["LSP", "mean PCK@0.2:<br>teacher not run<br>student 80.0 ± 14.1<br>distilled 95.0 ± 7.1"]
    assert lsp[3:] == ["`mini`", "synthetic", "0, 1", "0123abc", "a CPU"]
    assert mpii[4] == "official"
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
    curves({"a": [{"threshold": "0", "pck": "0"}, {"threshold": "1", "pck": "9"}]}, "a", "x", "y", tmp_path / "c.png")
    histories({"a": [[{"epoch": "1", "val_ap": "9"}]]}, "val_ap", "b", "y", tmp_path / "h.png")
    for path in tmp_path.iterdir():
        assert 1000 < path.stat().st_size <= BYTES
        assert Image.open(path).size[0] > 300


def test_person_panels_count_joints_and_move_with_the_frame(tree):
    annotations = coco(10)
    truth = truth_of(annotations)
    off = truth.copy()
    off[:, 13] += [0, 21]  # torso 100 px
    predictions = {name: {"ids": np.arange(10), "keypoints": points} for name, points in (("a", truth), ("b", off))}
    images, panels = person_panels(annotations, predictions, Path("data/raw/lsp"), people=2)
    assert [panel.title for panel in panels[0]] == ["ground truth", "a: 14 of 14", "b: 13 of 14"]
    # bbox 10, 10, 40, 101: the frame has its centre at (30, 60.5), reaches 70.7 px and is cut at the image's border.
    assert images[0].shape == (131, 101, 3)
    np.testing.assert_array_equal(panels[0][0].keypoints, truth[0] - [0, 0])
    np.testing.assert_array_equal(panels[1][2].keypoints[13], truth[5, 13] + [0, 21])


def test_person_panels_of_mpii_tolerate_half_a_head(tree):
    annotations = coco(2, "mpii")
    near = truth_of(annotations)
    near[:, 3] += [25, 0]  # head size 50 px
    near[:, 4] += [26, 0]
    annotations["annotations"][0]["keypoints"][2::3] = [0] * 5 + [2] * 11
    predictions = {"a": {"ids": np.arange(2), "keypoints": near}}
    _, panels = person_panels(annotations, predictions, Path("data/raw/mpii"), people=2)
    assert [row[1].title for row in panels] == ["a: 11 of 11", "a: 15 of 16"]


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
        image_ids=np.arange(9),
        box_scores=np.ones(9, np.float32),
        joints=tuple(JOINTS),
        flip_pairs=(),
        upper_body=(),
        input=(64, 64),
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
