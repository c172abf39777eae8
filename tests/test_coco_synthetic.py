"""Synthetic COCO: all kinds of people that the real one has, labelled as they are drawn, and a plausible detector."""

import contextlib
import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO

from lib.data.formats import coco, coco_synthetic


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("coco") / "raw"
    coco.write_synthetic(raw, train=2, val=120, seed=3)
    return raw


def test_synthetic_data_have_cocos_kinds_of_people(synthetic: Path, tmp_path: Path):
    counts = coco.convert(synthetic, tmp_path)
    assert counts["unusable"] == 0
    val = json.loads((tmp_path / "val.json").read_text())
    annotations = val["annotations"]
    labelled = [a for a in annotations if a["num_keypoints"]]
    area = np.array([a["area"] for a in labelled])
    assert 0.4 < ((area > 32**2) & (area < 96**2)).mean() < 0.9 and (area > 96**2).mean() > 0.08
    bbox = np.array([a["bbox"] for a in annotations])
    assert (np.array([a["area"] for a in annotations]) < bbox[:, 2] * bbox[:, 3]).all()
    people = np.bincount([a["image_id"] - 500_001 for a in annotations if not a["iscrowd"]], minlength=120)
    assert set(people) == {0, 1, 2, 3, 4}
    assert sum(a["iscrowd"] for a in annotations) >= 2
    assert sum(not a["num_keypoints"] and not a["iscrowd"] for a in annotations) >= 5
    size = {image["id"]: (image["width"], image["height"]) for image in val["images"]}
    assert all(200 <= side <= 320 for sides in size.values() for side in sides)
    for a in annotations:
        x, y, v = np.reshape(a["keypoints"], (17, 3)).T
        width, height = size[a["image_id"]]
        assert a["num_keypoints"] == (v > 0).sum() and not x[v == 0].any() and not y[v == 0].any()
        assert (x >= -0.5).all() and (y >= -0.5).all() and (x < width).all() and (y < height).all()
    v = np.concatenate([a["keypoints"][2::3] for a in labelled])
    assert 0.02 < (v == 0).mean() < 0.2 and 0.15 < (v == 1).mean() < 0.5  # cut off by the border; hidden


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of pycocotools
def test_synthetic_outlines_hold_the_seen_joints(synthetic: Path):
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(synthetic / "annotations/person_keypoints_val2017.json"))
    inside = []
    for annotation in truth.anns.values():
        mask = truth.annToMask(annotation)
        image = truth.imgs[annotation["image_id"]]
        assert mask.shape == (image["height"], image["width"])
        if annotation["iscrowd"]:
            assert mask.sum() == annotation["area"]
            x, y, w, h = map(int, annotation["bbox"])
            assert mask[y : y + h, x : x + w].sum() == mask.sum() and mask[y].any() and mask[:, x + w - 1].any()
        elif annotation["num_keypoints"]:
            x, y, v = np.reshape(annotation["keypoints"], (17, 3)).T
            column, row = np.rint((x, y)).astype(int)
            inside += cv2.dilate(mask, np.ones((3, 3)))[row[v == 2], column[v == 2]].tolist()
    assert len(inside) > 1000 and np.mean(inside) > 0.98


def test_run_lengths_go_down_the_columns():
    mask = np.array([[1, 0, 0], [1, 1, 0]], bool)
    assert coco_synthetic._runs(mask) == {"counts": [0, 2, 1, 1, 2], "size": [2, 3]}
    assert coco_synthetic._runs(~mask) == {"counts": [2, 1, 1, 2], "size": [2, 3]}


def overlap(a: list[float], b: list[float]) -> float:
    """Intersection over union of two boxes x, y, w, h."""
    sides = [min(a[k] + a[k + 2], b[k] + b[k + 2]) - max(a[k], b[k]) for k in (0, 1)]
    both = max(0, sides[0]) * max(0, sides[1])
    return both / (a[2] * a[3] + b[2] * b[3] - both)


def test_synthetic_detector_is_good_but_not_perfect(synthetic: Path, tmp_path: Path):
    coco.convert(synthetic, tmp_path)
    val, detected = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("val", "detections"))
    people = [a for a in val["annotations"] if a["num_keypoints"]]
    best = np.zeros(len(people))
    rows = {"true": [], "false": []}
    for detection in detected["annotations"]:
        overlaps = [overlap(a["bbox"], detection["bbox"]) * (a["image_id"] == detection["image_id"]) for a in people]
        best = np.maximum(best, overlaps)
        rows["true" if max(overlaps) > 0.5 else "false"].append(detection["score"])
    assert 0.85 < (best > 0.6).mean() < 1
    assert np.median(rows["true"]) > 0.8 and np.median(rows["false"]) < 0.3
    assert len(rows["true"]) > (best > 0.5).sum()  # some are found twice
    size = {image["id"]: (image["width"], image["height"]) for image in val["images"]}
    for detection in detected["annotations"]:
        x, y, w, h = detection["bbox"]
        width, height = size[detection["image_id"]]
        assert min(x, y) >= 0 and min(w, h) > 1 and x + w <= width + 0.01 and y + h <= height + 0.01


def test_synthetic_pictures_depend_on_seed_and_number_only(tmp_path: Path):
    for name, (train, val, seed) in {"a": (2, 3, 0), "b": (4, 1, 0), "c": (2, 3, 1), "again": (2, 3, 0)}.items():
        coco.write_synthetic(tmp_path / name, train=train, val=val, seed=seed)
    files = {
        folder.name: {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        for folder in tmp_path.iterdir()
    }
    assert files["a"] == files["again"]
    common = {name for name in files["a"].keys() & files["b"].keys() if name.endswith("jpg")}
    assert common == {f"train2017/{1:012d}.jpg", f"train2017/{2:012d}.jpg", f"val2017/{500_001:012d}.jpg"}
    assert all(files["a"][name] == files["b"][name] != files["c"][name] for name in common)
