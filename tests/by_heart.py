"""A dozen drawn people that a network learns by heart, and what every such network has to show."""

from dataclasses import replace
from itertools import islice, repeat

import cv2
import numpy as np
import torch
from torch import nn

from lib.data.batches import MEAN, STD, Batch
from lib.data.people import picture
from lib.metrics.pck import pck, torso
from lib.tasks import Task

JOINTS = 14  # those of LSP, in its order
PEOPLE = 12
FLIP_PAIRS = ((0, 5), (1, 4), (2, 3), (6, 11), (7, 10), (8, 9))


def foreshortened(joints: np.ndarray) -> bool:
    """Say whether the torso of joints (14, 2) is less than a quarter of their extent."""
    extent = (joints.max(0) - joints.min(0)).max()
    return bool(torso(joints[None], np.ones((1, JOINTS), bool))[0] < 0.25 * extent)


def people(side: int, *larger: int, count: int = PEOPLE) -> Batch:
    """Drawn people in square views: "student" of `side` px, and "teacher" of a larger one; all joints are labelled.

    Nobody whose torso, which PCK is measured by, is foreshortened to less than a quarter of the body's extent.
    """
    rng = np.random.default_rng(5)
    drawn = map(picture, repeat(rng))
    figures = list(islice((figure for figure in drawn if not foreshortened(figure.points[:JOINTS])), count))
    views, keypoints = {}, None
    for name, size in zip(("student", "teacher"), (side, *larger), strict=False):
        images, points = [], []
        for figure in figures:
            joints = figure.points[:JOINTS]
            low, high = joints.min(0), joints.max(0)
            scale = size / (1.25 * (high - low).max())
            # A view's pixel x shows the image at (x + 0.5 - size / 2) / scale + centre.
            shift = (low + high) / 2 + (0.5 - size / 2) / scale
            matrix = np.column_stack((np.eye(2) / scale, shift))
            image = cv2.warpAffine(figure.image, matrix, (size, size), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            images.append((image - MEAN) / STD)
            points.append((joints - shift) * scale)
        views[name] = torch.tensor(np.stack(images), dtype=torch.float32).permute(0, 3, 1, 2).contiguous()
        keypoints = torch.tensor(np.stack(points), dtype=torch.float32) if keypoints is None else keypoints
    return Batch(views, keypoints, torch.ones(count, JOINTS, dtype=torch.bool), np.arange(count))


def train(task: Task, batch: Batch, steps: int, lr: float, blur: float = 0.0) -> list[dict[str, float]]:
    """Minimise the sum of the task's losses with Adam, the rate falling to nothing; return the losses.

    blur: the standard deviation in px of what is added to the labels, other numbers in each step.
    """
    generator = torch.Generator().manual_seed(0)
    parameters = [parameter for parameter in task.parameters() if parameter.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    history = []
    task.train()
    for _ in range(steps):
        noise = blur * torch.randn(batch.keypoints.shape, generator=generator)
        losses = task(replace(batch, keypoints=batch.keypoints + noise))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        schedule.step()
        history.append({name: loss.item() for name, loss in losses.items()})
    task.eval()
    return history


def score(task: Task, batch: Batch, flip_test: bool = False) -> float:
    """PCK@0.2 of the torso, mean over the joints."""
    task.eval()
    found = task.predict(batch.images["student"], flip_test)[0].numpy()
    truth, visible = batch.keypoints.numpy(), batch.visible.numpy()
    return float(np.mean(pck(found, truth, visible, torso(truth, visible), 0.2)))


def taught(task: Task, batch: Batch, *names: str) -> set[str]:
    """Which parameters of a task these losses reach with a gradient other than zeros."""
    losses = task(batch)
    task.zero_grad()
    sum(losses[name] for name in names).backward()
    return {name for name, p in task.named_parameters() if p.grad is not None and p.grad.any()}


def names(task: nn.Module, *parts: str) -> set[str]:
    """The parameters of a task whose name contains any of these."""
    return {name for name, _ in task.named_parameters() if any(part in name for part in parts)}
