"""A project after its trainings: what evaluation and report read, in a few kilobytes."""

import json
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

import numpy as np
from PIL import Image

from lib.params import load_params
from lib.records import write_record
from lib.runs import Run, as_json
from stages import specs

JOINTS = [
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle"),
    *("right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
]
MPII_JOINTS = [
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "thorax"),
    *("upper_neck", "head_top", "right_wrist", "right_elbow", "right_shoulder", "left_shoulder", "left_elbow"),
    "left_wrist",
]
COCO_JOINTS = [
    *("nose", "left_eye", "right_eye", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow"),
    *("right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle"),
    "right_ankle",
]
COST = {"params_m": 3.33, "gflops": 9.38, "gsummary": 0.593, "gimacs": 14.3} | {
    f"{name}_b{size}": 1.0 for name in ("latency_ms", "throughput", "speedup") for size in (1, 32)
}

RUNS = {  # of FPD, persons out of ten that each seed misses
    "lsp_student": {0: 1, 1: 3},
    "lsp_fpd": {0: 0, 1: 1},
    "mpii_s4_c128": {0: 4, 1: 5},
    "mpii_fpd": {0: 2, 1: 2},
    "mpii_alpha_01": {0: 3, 1: 3},
}
OKDHP = {  # of OKDHP
    "mpii_hg4_base": {0: 5},
    "mpii_hg4": {0: 2},
    "mpii_hg4_unbalanced": {0: 1},
    "coco_hg4_base": {0: 10},
    "coco_hg4": {0: 0},
    "lsp_hg4_base": {0: 4},
    "lsp_hg4": {0: 3},
}


def coco(persons: int, dataset: str = "lsp") -> dict:
    """Persons 1, 2, ... whose joints lie on a line, torso (LSP's joints 2 and 9) exactly 100 px, head size 50 px."""
    joints = {"lsp": JOINTS, "mpii": MPII_JOINTS, "coco": COCO_JOINTS}[dataset]
    points = np.array([[10.0 + 2 * joint, 20 + 5 * joint] for joint in range(len(joints))])
    if dataset == "lsp":
        points[2], points[9] = [10, 10], [10, 110]
    person = {"bbox": [10, 10, 40, 101], "keypoints": [round(x) for x, y in points for x in (x, y, 2)]}
    person |= {"head_size": 50.0, "num_keypoints": len(joints), "area": 5000.0, "iscrowd": 0, "category_id": 1}
    numbers = range(1, persons + 1)
    images = [{"id": number, "file_name": f"{number}.png", "width": 120, "height": 150} for number in numbers]
    category = {"id": 1, "keypoints": joints, "skeleton": [[1, 2], [2, 3], [13, 14]], "flip_pairs": [[0, 5]]}
    return {
        "info": {"dataset": dataset, "source": "synthetic" if dataset == "lsp" else "official", "note": "figures"},
        "images": images,
        "annotations": [deepcopy({"id": number, "image_id": number} | person) for number in numbers],
        "categories": [category],
    }


def truth_of(annotations: dict) -> np.ndarray:
    """True keypoints (N, K, 2)."""
    labels = np.array([person["keypoints"] for person in annotations["annotations"]], np.float64)
    return labels.reshape(len(labels), -1, 3)[..., :2]


def write_run(run: Run, annotations: dict, wrong: dict[int, int]) -> None:
    """A trained run whose seeds miss the given numbers of persons by far and hit the others exactly."""
    folder, headline = Path("models") / run.label, "ap" if run.dataset == "coco" else "mean"
    for seed, missed in wrong.items():
        write_predictions(folder / f"seed{seed}", annotations, missed)
        (folder / f"seed{seed}" / "history.csv").write_text(f"epoch,loss,val_{headline}\n1,0.5,\n2,0.25,40.0\n")
    write_spec(run, wrong)


def write_spec(run: Run, seeds: Iterable[int]) -> None:
    """What a run was trained with, and the record of where."""
    (Path("models") / run.label / "spec.json").write_text(json.dumps(as_json(run)))
    machine = {"revision": "0123abc", "hardware": "a CPU", "torch": "2.0"}
    write_record(run.label, {f"seed{seed}": machine for seed in seeds})


def write_predictions(folder: Path, annotations: dict, missed: int) -> None:
    """Predictions that miss the first persons by far; the ids of COCO are those of detections."""
    found = truth_of(annotations)
    found[:missed] += 1000
    images = np.arange(1, len(found) + 1)
    folder.mkdir(parents=True)
    np.savez(
        folder / "predictions.npz",
        ids=images + 5000 * (annotations["info"]["dataset"] == "coco"),
        **{"keypoints": found, "scores": np.ones(found.shape[:2]), "box_scores": np.ones(len(found))},
        **{"areas": np.full(len(found), 8000.0), "image_ids": images, "images": images},
    )


def write_benchmark(annotations: dict, crops: str, people: int) -> None:
    """Annotations and pictures of a benchmark, and the crops of a name."""
    name = annotations["info"]["dataset"]
    folder, images = (Path("data") / kind / name for kind in ("annotations", "raw"))
    for path in (folder, images):
        path.mkdir(parents=True)
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(annotations))
    write_crops(Path("data/crops") / crops, annotations["categories"][0]["keypoints"], train=people, val=10)
    for image in annotations["images"]:
        Image.new("RGB", (120, 150), (90, 120, 90)).save(images / image["file_name"])


def write_crops(folder: Path, joints: list[str], **people: int) -> None:
    """Crops of so many people in each split, all black, their joints in a corner."""
    for split, count in people.items():
        (folder / split).mkdir(parents=True)
        for array, values in crop_arrays(count, len(joints)).items():
            np.save(folder / split / f"{array}.npy", values)
    meta = {"joints": joints, "flip_pairs": [[0, 5]], "upper_body": [8, 9], "input": [4, 4]}
    (folder / "meta.json").write_text(json.dumps(meta))


def crop_arrays(people: int, joints: int) -> dict[str, np.ndarray]:
    """The arrays of `Crops`."""
    return {
        "images": np.zeros((people, 6, 6, 3), np.uint8),
        "keypoints": np.zeros((people, joints, 2), np.float32),
        "visible": np.ones((people, joints), bool),
        "to_image": np.zeros((people, 2, 3)),
        "ids": np.arange(people),
        "image_ids": np.arange(people),
        "box_scores": np.ones(people, np.float32),
    }


def write_project(
    paper: str, runs: dict[str, dict[int, int]], people: dict[str, int], weights: Iterable[str] = ()
) -> None:
    """Everything that a report reads, with these trained runs, some with weights; people: to train on, by benchmark."""
    specs.main()
    annotations = {dataset: coco(10, dataset) for dataset in people}
    params = load_params()
    trained = {name: params.run(f"{paper}/{name}") for name in runs}
    crops = {run.dataset: run.crops for run in trained.values()}
    for dataset, count in people.items():
        write_benchmark(annotations[dataset], crops[dataset], count)
    for name, run in trained.items():
        write_run(run, annotations[run.dataset], runs[name])
    for name in weights:
        write_weights(trained[name])
    Path("reports/metrics").mkdir(parents=True)
    complexity = params.common.complexity
    networks = [*complexity.networks, *complexity.training]
    Path("reports/metrics/complexity.json").write_text(json.dumps(dict.fromkeys(networks, COST)))
    machine = {"hardware": "a CPU", "threads": 2, "torch": "2.0"}
    Path("reports/metrics/complexity.environment.json").write_text(json.dumps(machine))
    Path("reports/metrics/latency.json").write_text(json.dumps({"networks": {}}))


def write_weights(run: Run, joints: int = len(JOINTS)) -> None:
    """Untrained weights of a run's first seed."""
    from lib.models import build_model
    from lib.weights import save_weights

    network = {**run.model, "joints": joints}
    save_weights(Path("models") / run.label / "seed0/weights.safetensors", build_model(network), network)
