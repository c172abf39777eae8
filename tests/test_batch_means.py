"""Every loss of every method is a mean over the batch: two halves, as of two processes, teach what the whole does."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.models import build_model
from lib.models.multibranch import build_branches
from lib.tasks import Task
from lib.tasks.cdkd import CrossDomainDistillation
from lib.tasks.cmkd import CrossModalDistillation
from lib.tasks.cmkg import MetaTraining
from lib.tasks.fpd import FastPoseDistillation
from lib.tasks.heatmap import Supervised
from lib.tasks.okdhp import OnlineDistillation
from lib.tasks.pose import PoseRegression
from lib.tasks.regulariser import Regulariser
from lib.tasks.simcc import SimccSupervised
from tests.toy import FLIP_PAIRS

PEOPLE, JOINTS, SIDE, LARGE = 4, 14, 32, 64
HOURGLASS = {"name": "hourglass", "joints": JOINTS, "stacks": 2, "channels": 8, "stem": "pytorch-pose", "halvings": 2}
HRNET = {"name": "hrnet", "joints": JOINTS, "width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8}
RESNET = {"name": "resnet", "joints": JOINTS, "block": "basic", "blocks": [1, 1, 1, 1], "width": 4}
CODEC = HeatmapCodec((SIDE, SIDE), sigma=1.0, scaling="peak")


def network(spec: dict, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(spec)


def classifier(side: int, seed: int = 0) -> nn.Module:
    return network(HRNET | {"head": "simcc", "split": 2.0, "input_size": [side, side]}, seed)


def labels(classes: bool = False) -> Task:
    if classes:
        return SimccSupervised(classifier(SIDE), SimccCodec((SIDE, SIDE), split=2.0, smoothing=0.2), FLIP_PAIRS)
    return Supervised(network(HOURGLASS), CODEC, FLIP_PAIRS)


def fpd(loss: str, variant: str) -> Task:
    return FastPoseDistillation(network(HOURGLASS), CODEC, FLIP_PAIRS, network(HOURGLASS, 1), 0.5, loss, variant)


def okdhp(loss: str, variant: str, aggregation: str = "fau") -> Task:
    branches = build_branches(network(HOURGLASS), [HOURGLASS], 1, aggregation, variant)
    task = OnlineDistillation(branches, CODEC, FLIP_PAIRS, alpha=1.0, beta=2.0, loss=loss, variant=variant)
    task.progress.fill_(0.3)
    return task


def cdkd(variant: str = "paper", features: str = "sape", logits: str = "cca") -> Task:
    task = CrossDomainDistillation(
        *(labels(classes=True), classifier(LARGE, 1)),
        **{"student_input": (SIDE, SIDE), "teacher_input": (LARGE, LARGE), "batch_size": PEOPLE},
        **{"alpha": 1.0, "beta": 0.5, "features": features, "projectors": 2, "kernels": (3,), "logits": logits},
        **{"tau": 4.0, "learned": ("tau", "alpha"), "variant": variant},
    )
    task.progress.fill_(0.5)
    return task


def hands(method: str) -> Task:
    student, teacher = network(RESNET), network(RESNET, 1)
    if method == "cmkd":
        return CrossModalDistillation(student, teacher, 1.0, 100.0)
    if method == "cmkg":
        return MetaTraining(student, teacher, 1.0, 100.0, "l2", inner_steps=1, inner_lr=1e-3, meta_lr=1e-3)
    return PoseRegression(student, Regulariser(student.parameters(), "l1", 1e-4))


TASKS: dict[str, Callable[[], Task]] = {
    "heatmap": labels,
    "simcc": lambda: labels(classes=True),
    **{
        f"fpd {one} {two}": lambda one=one, two=two: fpd(one, two)
        for one, two in (
            ("mse", "paper"),
            ("cross_entropy", "paper"),
            ("mse", "released"),
            ("cross_entropy", "released"),
        )
    },
    **{
        f"okdhp {one} {two}": lambda one=one, two=two: okdhp(one, two)
        for one, two in (("kl", "paper"), ("mse", "paper"), ("kl", "released"), ("mse", "released"))
    },
    "okdhp gate": lambda: okdhp("kl", "paper", "gate"),
    "okdhp mean": lambda: okdhp("kl", "paper", "mean"),
    "cdkd": cdkd,
    "cdkd released": lambda: cdkd("released"),
    "cdkd layers": lambda: cdkd(features="convolution", logits="fully_connected"),
    "cdkd fully connected": lambda: cdkd(features="fully_connected", logits="none"),
    "pose and regulariser": lambda: hands("pose"),
    "cmkd": lambda: hands("cmkd"),
    "cmkg": lambda: hands("cmkg"),
}


def batch(pose: bool) -> Batch:
    """Four people; labels are spread unevenly over the halves, and some joints are off the map."""
    generator = torch.Generator().manual_seed(7)
    images = {
        view: torch.randn(PEOPLE, 3, side, side, generator=generator)
        for view, side in (("student", SIDE), ("teacher", LARGE))
    }
    keypoints = 2 * SIDE * torch.rand(PEOPLE, JOINTS, 2, generator=generator) - SIDE / 2
    if pose:
        keypoints = torch.randn(PEOPLE, JOINTS, 3, generator=generator)
    visible = torch.rand(PEOPLE, JOINTS, generator=generator) < torch.tensor([0.9, 0.9, 0.2, 0.0])[:, None]
    return Batch(images, keypoints, visible, np.arange(PEOPLE))


def half(data: Batch, rows: slice) -> Batch:
    images = {name: view[rows] for name, view in data.images.items()}
    return Batch(images, data.keypoints[rows], data.visible[rows], data.rows[rows])


def gradient(task: Task, losses: list[Tensor]) -> Tensor:
    """All gradients of a sum in a row."""
    task.zero_grad()
    sum(losses).backward()
    return torch.cat([p.grad.flatten() for p in task.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", TASKS)
def test_the_whole_is_the_mean_of_its_halves(name):
    task = TASKS[name]().eval()  # where normalisation knows no batch; in training it spans all processes
    data = batch(pose=task.student.output == "pose")
    if task.student.output != "simcc":
        data.images["teacher"] = data.images["student"]
    whole, halves = task(data), [task(half(data, rows)) for rows in (slice(0, 2), slice(2, 4))]
    # The prior is judged after a step along the mean gradient of all processes: tests/test_cmkg_distributed.py.
    names = whole.keys() - {"prior"}
    for loss in names:
        assert whole[loss].isfinite() and whole[loss] > 0
        torch.testing.assert_close(whole[loss], (halves[0][loss] + halves[1][loss]) / 2, rtol=1e-4, atol=1e-6)
    found = gradient(task, [whole[loss] for loss in names])
    parts = [gradient(task, [part[loss] for loss in names]) for part in halves]
    scale = found.abs().max()
    torch.testing.assert_close(found / scale, (parts[0] + parts[1]) / 2 / scale, rtol=1e-3, atol=1e-5)
