"""A pose problem small enough to train on in a test: coloured discs on grey, one per joint of LSP."""

import json
import os
import sys
from pathlib import Path

import cv2
import numpy as np

from lib.data.crops import pack
from lib.params import TrainSpec

JOINTS = (
    *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow"),
    *("right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "neck", "head_top"),
)
FLIP_PAIRS = ((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9))
UPPER_BODY = tuple(range(6, 14))
SIDE = 64


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


def spec(**changes) -> TrainSpec:
    """A supervised training of one stack of eight channels; `changes` replace its settings."""
    settings = {
        **{"paper": "fpd", "run": "student", "dataset": "lsp", "crops": "lsp", "input": (SIDE, SIDE)},
        "model": {"name": "hourglass", "stacks": 1, "channels": 8, "stem": "pytorch-pose"},
        "heatmap": {"sigma": 1.0, "scaling": "peak", "centre": "subpixel"},
        "simcc": {"target": "one_hot", "smoothing": 0.1},
        "augmentation": {"flip": True, "scale": (0.75, 1.25), "rotation": 30.0, "half_body": 0.0},
        "optimizer": {"name": "adam", "lr": 1e-3, "weight_decay": 0.0, "milestones": (), "gamma": 0.1},
        **{"epochs": 2, "batch_size": 4, "train_samples": None, "val_samples": None, "precision": "float32"},
        **{"compile": False, "validations": 1, "decoding": {"flip_test": True, "refinement": "quarter"}},
        **{"antialias": False, "pretrained": False, "threads": None, "teacher": None},
        **{"init": None, "distillation": None, "prior": None, "synthetic": None, "modality": "rgb"},
    }
    settings |= changes
    settings.setdefault("teacher_input", settings["teacher"] and settings["input"])
    settings.setdefault("teacher_modality", settings["teacher"] and "rgb")
    return TrainSpec(**{"exports": (settings["model"],), **settings})


def train(folder: Path, **changes) -> None:
    """Train in `folder` as the stage does, looking at the losses and writing the state after every step."""
    import stages.train
    from lib.training import loop

    os.chdir(folder)
    loop.CHECK_STEPS, loop.CHECKPOINT_SECONDS = 1, 0.0
    stages.train.train(spec(**changes), (0,))


if __name__ == "__main__":
    train(Path(sys.argv[1]), **json.loads(sys.argv[2]))
