"""Every loss of every method is a mean over the batch: two halves, as of two processes, teach what the whole does."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib.codecs.coordinates import CoordinatesCodec
from lib.codecs.heatmap import HeatmapCodec
from lib.codecs.offset import OffsetCodec
from lib.codecs.queries import QueriesCodec
from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.models import build_model
from lib.models.multibranch import build_branches
from lib.tasks import Task, offset
from lib.tasks.cdkd import CrossDomainDistillation
from lib.tasks.cmkd import CrossModalDistillation
from lib.tasks.cmkg import MetaTraining
from lib.tasks.coordinates import CoordinatesSupervised
from lib.tasks.distilpose import TokenDistillation
from lib.tasks.fpd import FastPoseDistillation
from lib.tasks.heatmap import Supervised
from lib.tasks.okdhp import OnlineDistillation
from lib.tasks.pose import PoseRegression
from lib.tasks.queries import QueriesSupervised
from lib.tasks.regulariser import Regulariser
from lib.tasks.rle import ResidualLogLikelihood
from lib.tasks.simcc import SimccSupervised
from tests.toy import FLIP_PAIRS

PEOPLE, JOINTS, SIDE, LARGE = 4, 14, 32, 64
HOURGLASS = {"name": "hourglass", "joints": JOINTS, "stacks": 2, "channels": 8, "stem": "pytorch-pose", "halvings": 2}
BACKBONE = {"joints": JOINTS, "width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8}
HRNET = {"name": "hrnet", **BACKBONE}
TOKENS = {**BACKBONE, "input_size": [SIDE, SIDE], "patch": [2, 2], "channels": 16, "depth": 2}
PRTR = {"name": "prtr", **BACKBONE, "queries": 20, "depth": 2, "channels": 16, "hidden": 32, "features": 64}
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


def rival(method: str) -> Task:
    """The methods that CDKD is compared with."""
    size = (SIDE, SIDE)
    if method == "offset":
        return offset.ConfidenceAware(network({"name": "cal", **BACKBONE}), OffsetCodec(size), FLIP_PAIRS)
    if method == "queries":
        return QueriesSupervised(network(PRTR), QueriesCodec(size), FLIP_PAIRS)
    if method == "distilpose":
        pair = network({"name": "distilpose", **TOKENS}), network({"name": "tokenpose", "kind": "base", **TOKENS}, 1)
        return TokenDistillation(pair[0], CoordinatesCodec(size), FLIP_PAIRS, pair[1])
    student = network({"name": "rle", **BACKBONE, "input_size": [SIDE, SIDE]})
    kind = ResidualLogLikelihood if method == "rle" else CoordinatesSupervised
    return kind(student, CoordinatesCodec(size), FLIP_PAIRS)


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
    **{name: lambda name=name: rival(name) for name in ("offset", "queries", "coordinates", "rle", "distilpose")},
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


def in_two(task: Task, data: Batch, monkeypatch) -> list[dict[str, Tensor]]:
    """The losses of both halves, as two processes have them that tell each other what they average."""
    told: list[Tensor] = []
    parts = [half(data, rows) for rows in (slice(0, 2), slice(2, 4))]
    monkeypatch.setattr(offset, "mean_over_processes", lambda values: told.append(values.clone()) or values)
    losses = [task(part) for part in parts]
    if not told:
        return losses
    mean = sum(told) / 2
    monkeypatch.setattr(offset, "mean_over_processes", lambda values: mean)
    return [task(part) for part in parts]


@pytest.mark.parametrize("name", TASKS)
def test_the_whole_is_the_mean_of_its_halves(name, monkeypatch):
    task = TASKS[name]().eval()  # where normalisation knows no batch; in training it spans all processes
    data = batch(pose=task.student.output == "pose")
    if task.student.output != "simcc":
        data.images["teacher"] = data.images["student"]
    whole, halves = task(data), in_two(task, data, monkeypatch)
    # The prior is judged after a step along the mean gradient of all processes: tests/test_cmkg_distributed.py.
    names = whole.keys() - {"prior"}
    for loss in names:
        assert whole[loss].isfinite() and (whole[loss] > 0 or name == "rle")  # a density has any logarithm
        torch.testing.assert_close(whole[loss], (halves[0][loss] + halves[1][loss]) / 2, rtol=1e-4, atol=1e-6)
    found = gradient(task, [whole[loss] for loss in names])
    parts = [gradient(task, [part[loss] for loss in names]) for part in halves]
    scale = found.abs().max()
    torch.testing.assert_close(found / scale, (parts[0] + parts[1]) / 2 / scale, rtol=1e-3, atol=1e-5)
