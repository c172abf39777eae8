"""A GPU gives what the CPU gives, within rounding: `python -m pytest -m cuda -n 0`, on a machine that has one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from lib import launch
from lib.data.batches import Augmentation
from tests import toy
from tests.test_batches import ALL, batches, make_crops

GPUS = torch.cuda.device_count()
pytestmark = [pytest.mark.cuda, pytest.mark.skipif(not GPUS, reason="no GPU that PyTorch can use")]
ROOT = Path(__file__).resolve().parents[1]
HALF = Augmentation(flip=True, scale=(0.75, 1.25), rotation=30, half_body=1.0)
# Few and small steps: rounding grows with each of Adam's, which have the size of the rate however small a gradient is.
SLOW = {"epochs": 3, "optimizer": {**toy.ADAM, "lr": 1e-6}}


@pytest.mark.parametrize("augmentation", [ALL, HALF, None], ids=["all", "half bodies", "none"])
@pytest.mark.parametrize("antialias", [False, True])
def test_batches_are_those_of_the_cpu(augmentation, antialias):
    crops = make_crops(people=8, input=(64, 48), blur=3.0)
    sizes = {"student": (32, 24), "teacher": (64, 48)}
    common = {"augmentation": augmentation, "antialias": antialias}
    gpu = batches(crops, sizes, device="cuda", **common)
    same, other = (batches(crops, sizes, path=path, **common) for path in ("grid_sample", "cv2"))
    for ours, exact, rounded in zip(gpu.epoch(1), same.epoch(1), other.epoch(1), strict=True):
        for view, images in ours.images.items():
            assert images.device.type == "cuda"
            torch.testing.assert_close(images.cpu(), exact.images[view], rtol=0, atol=1e-3)
            torch.testing.assert_close(images.cpu(), rounded.images[view], rtol=0, atol=0.05)  # two of 255 levels
        torch.testing.assert_close(ours.keypoints.cpu(), exact.keypoints)
        assert torch.equal(ours.visible.cpu(), exact.visible)


def losses(folder: Path, device: str, **changes) -> np.ndarray:
    """Train in a process that sees the GPU or does not; the losses of the epochs."""
    folder.mkdir()
    toy.write_dataset(folder, train=8, val=3)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment |= {"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {}
    command = [sys.executable, "-m", "tests.toy", str(folder), json.dumps(changes)]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return np.genfromtxt(folder / "models/fpd/student/seed0/history.csv", delimiter=",", names=True)["mse"]


@pytest.mark.parametrize(
    "changes, tolerance",
    [({}, 5e-3), ({"precision": "bfloat16"}, 5e-2), ({"compile": True}, 5e-3)],
    ids=["float32", "bfloat16", "compiled"],
)
def test_a_training_has_the_losses_of_the_cpu(tmp_path, changes, tolerance):
    expected = losses(tmp_path / "cpu", "cpu", **SLOW)
    np.testing.assert_allclose(losses(tmp_path / "cuda", "cuda", **SLOW, **changes), expected, rtol=tolerance)


def test_predictions_are_those_of_the_cpu(tmp_path):
    """The networks of both have the same weights within rounding, and find the joints at the same places."""
    for device in ("cpu", "cuda"):
        losses(tmp_path / device, device, **SLOW)
    found = [np.load(tmp_path / device / "models/fpd/student/seed0/predictions.npz") for device in ("cpu", "cuda")]
    np.testing.assert_array_equal(found[0]["ids"], found[1]["ids"])
    np.testing.assert_allclose(found[0]["scores"], found[1]["scores"], rtol=1e-2, atol=1e-3)
    distance = np.linalg.norm(found[0]["keypoints"] - found[1]["keypoints"], axis=-1)
    assert np.median(distance) < 0.1  # px; a maximum of an untrained map may jump


def test_a_forked_training_has_the_gpu_that_it_is_given_and_no_other(tmp_path, monkeypatch):
    """The process that it is forked from has PyTorch, but has not touched a GPU."""
    (tmp_path / "lib").symlink_to(ROOT / "lib")
    (tmp_path / "show.py").write_text(
        "import torch; print(torch.cuda.device_count(), torch.ones(2).cuda().sum().item())"
    )
    monkeypatch.chdir(tmp_path)
    for device in range(GPUS):
        with (tmp_path / "log").open("wb") as log:
            environment = {**os.environ, "CUDA_VISIBLE_DEVICES": str(device)}
            assert launch.start(["-m", "show"], environment, log.fileno()).wait() == 0
        assert (tmp_path / "log").read_text() == "1 2.0\n"


@pytest.mark.skipif(GPUS < 2, reason="needs two GPUs")
def test_two_gpus_give_the_losses_of_one(tmp_path):
    expected = losses(tmp_path / "one", "cuda", **SLOW)
    folder = tmp_path / "two"
    folder.mkdir()
    toy.write_dataset(folder, train=8, val=3)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "tests.toy"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([*command, str(folder), json.dumps(SLOW)], cwd=ROOT, env=environment, check=True)
    rows = np.genfromtxt(folder / "models/fpd/student/seed0/history.csv", delimiter=",", names=True)
    np.testing.assert_allclose(rows["mse"], expected, rtol=5e-3)
