"""Real pieces of MPII and COCO all the way: convert, pack, a short training, predictions, evaluation."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from lib.data import formats
from lib.data.packing import pack
from lib.metrics.scores import score
from tests import samples, toy


def trained(folder: Path, dataset: str, boxes: str, **changes) -> tuple[dict, dict, list[dict]]:
    """Annotations, predictions and history of one training on data/raw/<dataset> of `folder`."""
    data = folder / "data"
    raw, annotations = data / "raw" / dataset, data / "annotations" / dataset
    formats.get(dataset).convert(raw, annotations)
    pack(annotations, raw, data / "crops" / dataset, input=(64, 64), padding=1.25, margin=1.5, boxes=boxes)
    toy.train(toy.run(dataset=dataset, crops=dataset, **changes), 0)
    run = folder / "models/fpd/student/seed0"
    with (run / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    return json.loads((annotations / "val.json").read_text()), dict(np.load(run / "predictions.npz")), history


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_mpii(shared_data, tmp_path):
    samples.link_mpii(shared_data, tmp_path / "data/raw/mpii")
    annotations, predictions, history = trained(tmp_path, "mpii", "annotations", epochs=6)
    assert float(history[-1]["loss"]) < 0.8 * float(history[0]["loss"])
    assert sorted(predictions["ids"]) == sorted(person["id"] for person in annotations["annotations"])
    assert set(predictions["images"]) == {image["id"] for image in annotations["images"]}
    found = score(annotations, predictions)
    assert found["mean"] == pytest.approx(float(history[-1]["val_mean"]), abs=15)  # that one without the flip test

    people = {person["id"]: person for person in annotations["annotations"]}
    correct = counted = 0
    for number, keypoints in zip(predictions["ids"].tolist(), predictions["keypoints"], strict=True):
        truth = np.reshape(people[number]["keypoints"], (16, 3))
        for joint in set(range(16)) - {6, 7}:
            if truth[joint, 2]:
                counted += 1
                correct += np.hypot(*(keypoints[joint] - truth[joint, :2])) <= 0.5 * people[number]["head_size"]
    assert found["mean"] == pytest.approx(100 * correct / counted)


@pytest.mark.parametrize("boxes", ["annotations", "detections"])
def test_coco(shared_data, tmp_path, boxes):
    samples.link_coco(shared_data, tmp_path / "data/raw/coco")
    annotations, predictions, history = trained(tmp_path, "coco", boxes, epochs=2)
    assert float(history[-1]["loss"]) < float(history[0]["loss"])
    people = [person for person in annotations["annotations"] if person["num_keypoints"] and not person["iscrowd"]]
    if boxes == "annotations":
        assert sorted(predictions["ids"]) == sorted(person["id"] for person in people)
    else:
        detections = json.loads((tmp_path / "data/annotations/coco/detections.json").read_text())["annotations"]
        assert len(predictions["ids"]) == len(detections) > 100
    found = score(annotations, predictions)
    assert {"ap", "ap50", "ap75", "ar"} <= set(found) and 0 <= found["ap"] <= found["ap50"] <= 100

    # The predictions are in the places where the images' people are: with the truth put in their stead, AP is 100.
    if boxes == "annotations":
        truth = {person["id"]: np.reshape(person["keypoints"], (17, 3))[:, :2] for person in people}
        perfect = predictions | {"keypoints": np.array([truth[number] for number in predictions["ids"].tolist()])}
        perfect |= {"scores": np.ones_like(predictions["scores"])}
        assert score(annotations, perfect)["ap"] == pytest.approx(100)
