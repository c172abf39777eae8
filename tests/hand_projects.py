"""A project with hands after its trainings: what evaluation and report of CMKG read, in a few kilobytes."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from safetensors.numpy import save_file

from lib.data.crops import open_crops
from lib.data.packing import pack
from lib.hands.joints import BONES, JOINTS, projected
from lib.params import load_params
from lib.runs import Run
from stages import specs
from tests.projects import write_spec, write_weights

SIDE = 128  # px of an image
CAMERA = np.array([[160.0, 0, 63.5], [0, 150, 60], [0, 0, 1]])
SUBSETS = {"rhd": [None], "stb": ["BB_left", "BB_right"], "freihand": ["g", "h", "s", "a"], "mano": [None]}


def hand(generator: np.random.Generator) -> np.ndarray:
    """Joints (21, 3) in mm of an open right hand in front of the camera, bent and turned at random."""
    directions = np.array([[-0.9, -0.5], [-0.35, -1], [0, -1], [0.3, -1], [0.6, -0.9]])
    lengths = np.array([[40, 30, 25, 20], [85, 40, 25, 20], [85, 45, 28, 20], [80, 40, 25, 20], [75, 32, 20, 18]])
    xyz = np.zeros((21, 3))
    for finger, (direction, bones) in enumerate(zip(directions, lengths, strict=True)):
        reach = np.cumsum(bones)
        xyz[1 + 4 * finger : 5 + 4 * finger, :2] = reach[:, None] * direction / np.linalg.norm(direction)
        xyz[1 + 4 * finger : 5 + 4 * finger, 2] = generator.uniform(-0.004, 0.001) * reach**2
    angle = generator.uniform(-0.6, 0.6)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    return xyz @ turn.T + [*generator.uniform(-20, 20, 2), generator.uniform(550, 700)]


def annotations(dataset: str, hands: int, seed: int) -> dict:
    """Hands 1, 2, ..., each in an image of every subset; every other one is a left hand."""
    generator = np.random.default_rng(seed)
    truth = np.array([hand(generator) for _ in range(hands)])
    truth[1::2] = np.stack([-truth[1::2, :, 0], truth[1::2, :, 1], truth[1::2, :, 2]], axis=-1)
    images, entries = [], []
    for part, subset in enumerate(SUBSETS[dataset]):
        for number, xyz in enumerate(truth, start=1 + part * hands):
            points = projected(xyz, CAMERA)
            (left, top), (right, bottom) = points.min(0), points.max(0)
            name = f"{dataset}_{seed}_{number}.png"
            images.append({"id": number, "file_name": name, "width": SIDE, "height": SIDE, "camera": CAMERA.tolist()})
            images[-1] |= {"subset": subset} if subset else {}
            entries.append({"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "num_keypoints": 21})
            entries[-1]["keypoints"] = np.c_[points, np.full(21, 2)].ravel().tolist()
            entries[-1]["bbox"] = [left, top, right - left + 1, bottom - top + 1]
            entries[-1] |= {"side": "left" if number % 2 == 0 else "right", "xyz": xyz.tolist()}
    category = {"id": 1, "keypoints": list(JOINTS), "skeleton": [[a + 1, b + 1] for a, b in BONES]}
    return {
        "info": {"dataset": dataset, "source": "synthetic", "note": f"hands of bones for {dataset}"},
        "images": images,
        "annotations": entries,
        "categories": [category | {"flip_pairs": [], "upper_body": []}],
    }


def write_benchmark(dataset: str, crops: Mapping[str, str | None], hands: int, side: tuple[int, int]) -> dict:
    """Annotations, images and crops of a benchmark; crops: their names and subsets. Returns the annotations of val."""
    splits = {"train": annotations(dataset, hands, seed=1), "val": annotations(dataset, 10, seed=2)}
    folder, raw = Path("data/annotations") / dataset, Path("data/raw") / dataset
    for path in (folder, raw):
        path.mkdir(parents=True)
    for split, document in splits.items():
        (folder / f"{split}.json").write_text(json.dumps(document))
        for image, entry in zip(document["images"], document["annotations"], strict=True):
            picture = Image.new("RGB", (SIDE, SIDE), (40, 60, 40))
            points = np.array(entry["keypoints"]).reshape(-1, 3)[:, :2]
            for a, b in BONES:
                ImageDraw.Draw(picture).line([tuple(points[a]), tuple(points[b])], (190, 160, 140), 5)
            picture.save(raw / image["file_name"])
    for name, subset in crops.items():
        pack(folder, raw, Path("data/crops") / name, input=side, padding=1.4, margin=1, subset=subset)
    return splits["val"]


def write_predictions(folder: Path, crops: str, val: dict, error: float, seed: int) -> None:
    """A seed's predictions of all hands of the crops: every joint but the wrist off by `error` mm, wherever to."""
    ids = open_crops(Path("data/crops") / crops, "val").ids
    truth = {entry["id"]: entry["xyz"] for entry in val["annotations"]}
    found = np.array([truth[number] for number in ids.tolist()])
    offsets = np.random.default_rng(seed).normal(size=found.shape)
    offsets *= error / np.linalg.norm(offsets, axis=-1, keepdims=True)
    offsets[:, 0] = 0
    folder.mkdir(parents=True)
    np.savez(folder / "predictions.npz", ids=ids, keypoints=(found + offsets).astype(np.float32), images=ids)
    (folder / "history.csv").write_text("epoch,loss,val_epe\n1,5000,\n2,3000,25.5\n")


def write_project(errors: Mapping[str, Mapping[int, float]], weights: Sequence[str] = ()) -> None:
    """Everything that CMKG's report reads; errors: of each run's joints in mm, by seed. weights: runs that have theirs.

    Runs that learn a regulariser have one of alternating signs.
    """
    specs.main()
    params = load_params()
    runs = {name: params.run(f"cmkg/{name}") for name in errors}
    crops: dict[str, dict[str, str | None]] = {}
    for run in runs.values():
        crops.setdefault(run.dataset, {})[run.crops] = params.common.crops[run.crops].subset
    documents = {dataset: write_benchmark(dataset, own, 20, (64, 64)) for dataset, own in crops.items()}
    write_benchmark("mano", {"mano": None}, 6, (64, 64))
    for name, run in runs.items():
        write_run(run, documents[run.dataset], errors[name])
    for name in weights:
        folder = Path("models/cmkg") / name
        write_weights(runs[name], len(JOINTS))
        for seed in [*errors[name]][1:]:
            shutil.copy(folder / "seed0/weights.safetensors", folder / f"seed{seed}")
    Path("reports/metrics").mkdir(parents=True)
    Path("reports/metrics/complexity.json").write_text("{}")


def write_run(run: Run, val: dict, errors: Mapping[int, float]) -> None:
    """A trained run without weights."""
    folder = Path("models") / run.label
    for seed, error in errors.items():
        write_predictions(folder / f"seed{seed}", run.crops, val, error, seed)
        if run.method == "cmkg":
            phi = {
                "fc.weight": np.array([[-2e-6, 4e-6], [-6e-6, 8e-6]], np.float32),
                "fc.bias": np.zeros(1, np.float32),
            }
            save_file(phi, folder / f"seed{seed}" / "prior.safetensors")
    write_spec(run, errors)
