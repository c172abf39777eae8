"""A pose problem small enough to train on in a test: coloured discs on grey, one per joint of LSP."""

import json
import os
from pathlib import Path

import cv2
import numpy as np

import stages
from lib.data.packing import pack
from lib.runs import Run, as_json
from lib.training import loop
from stages.train import main

JOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow"),
    *("right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
)
FLIP_PAIRS = ((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9))
UPPER_BODY = tuple(range(6, 14))
SIDE = 64
HOURGLASS = {"name": "hourglass", "stacks": 1, "channels": 8, "stem": "pytorch-pose"}
ADAM = {"name": "adam", "lr": 1e-3, "weight_decay": 0.0, "milestones": [], "gamma": 0.1}


def write_dataset(root: Path, train: int, val: int) -> None:
    """Write data/annotations/lsp and data/crops/lsp below `root`; joint 0 of every other person has no label."""
    rng = np.random.default_rng(0)
    colours = rng.integers(0, 256, (len(JOINTS), 3))
    images, annotations = root / "data/raw/lsp", root / "data/annotations/lsp"
    images.mkdir(parents=True)
    annotations.mkdir(parents=True)
    category = {"id": 1, "name": "person", "keypoints": JOINTS, "skeleton": [], "flip_pairs": FLIP_PAIRS}
    category["upper_body"] = UPPER_BODY
    for split, count in (("train", train), ("val", val)):
        people = []
        for number in range(1, count + 1):
            points = rng.integers(8, SIDE - 8, (len(JOINTS), 2))
            image = np.full((SIDE, SIDE, 3), 128, np.uint8)
            for point, colour in zip(points, colours, strict=True):
                cv2.circle(image, point.tolist(), 4, colour.tolist(), -1)
            cv2.imwrite(str(images / f"{split}{number}.png"), image)
            labels = np.column_stack((points, np.full(len(JOINTS), 2)))
            labels[0] *= number % 2
            people.append(
                {"id": number, "image_id": number, "category_id": 1, "iscrowd": 0, "bbox": [0, 0, SIDE, SIDE]}
                | {
                    "area": SIDE**2,
                    "keypoints": labels.ravel().tolist(),
                    "num_keypoints": int((labels[:, 2] > 0).sum()),
                }
            )
        document = {
            "info": {"dataset": "lsp", "source": "synthetic", "note": "discs"},
            "images": [
                {"id": number, "file_name": f"{split}{number}.png", "width": SIDE, "height": SIDE}
                for number in range(1, count + 1)
            ],
            "annotations": people,
            "categories": [category],
        }
        (annotations / f"{split}.json").write_text(json.dumps(document))
    pack(annotations, images, root / "data/crops/lsp", input=(SIDE, SIDE), padding=1.0, margin=1.5)


def run(**changes) -> Run:
    """A training of one stack of eight channels from labels alone; `changes` replace its settings."""
    settings = {
        **{"paper": "fpd", "name": "student", "dataset": "lsp", "crops": "lsp", "synthetic": None},
        **{"input": (SIDE, SIDE), "modality": "rgb", "output": "heatmap", "model": HOURGLASS},
        "codec": {"sigma": 1.0, "scaling": "peak", "centre": "subpixel", "refinement": "quarter"},
        "augmentation": {"flip": True, "scale": [0.75, 1.25], "rotation": 30.0, "half_body": 0.0},
        "optimizer": ADAM,
        **{"epochs": 2, "batch_size": 4, "train_samples": None, "val_samples": None},
        **{"validation": "test", "validations": 1},
        **{"flip_test": True, "antialias": False, "threads": None, "precision": "float32", "compile": False},
        **{"scales": (1.0,), "pretrained": False, "settings": {}, "teacher": None, "init": None, "prior": None},
    }
    settings |= changes
    taught = settings["teacher"] is not None
    partners = {"teacher_input": settings["input"] if taught else None, "teacher_modality": "rgb" if taught else None}
    rest = {"exports": (settings["model"],), "method": settings["output"], **partners}
    return Run(**rest | settings)


def train(one: Run, *seeds: int, code: str = "") -> None:
    """Train a run in the working folder as the stage does; code: stands for the digest of all code."""
    spec = Path("data/specs") / f"{one.label}.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    spec.write_text(json.dumps({"seeds": seeds, "code": {"lib": code}, "run": as_json(one)}))
    main(one.label)


def train_in(folder: str, changes: str) -> None:
    """Train in a folder, looking at the losses and writing the state after every step; changes: JSON."""
    os.chdir(folder)
    loop.CHECK_STEPS, loop.CHECKPOINT_SECONDS = 1, 0.0
    train(run(**json.loads(changes)), 0)


if __name__ == "__main__":
    stages.run(train_in)
