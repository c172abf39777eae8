"""How far a network's outputs are from the labels, person by person: what a mean over a batch hides."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from lib.data.batches import Batch, Batches
from lib.errors import InputError
from lib.tasks import LabelsTask

TAUGHT = 512  # persons that a teacher is looked at with
STRAY = 3  # times the median: a mean beyond it is that of a few persons


@torch.no_grad()
def errors(task: LabelsTask, batches: Iterator[Batch]) -> tuple[np.ndarray, np.ndarray]:
    """Errors of a task of labels alone, and those of an output of zeros, (N,) each, of labelled persons in their order.

    The network sees the view "student" and computes in the type of its weights. The task is left in evaluation mode.
    """
    task.eval()
    kind = next(task.student.parameters()).dtype
    found = []
    for batch in batches:
        outputs = task.student(batch.images["student"].to(kind))
        found.append(torch.stack([task.errors(outputs, batch), task.errors(empty(outputs), batch)]).cpu())
    found, zeros = torch.cat(found, 1).numpy()
    return found[~np.isnan(found)], zeros[~np.isnan(zeros)]


def empty(outputs: Tensor | Sequence[Tensor]) -> Tensor | list[Tensor]:
    """The same outputs, all zero: empty heatmaps, every class alike, all joints in the root."""
    return torch.zeros_like(outputs) if torch.is_tensor(outputs) else [torch.zeros_like(one) for one in outputs]


def look_at_teacher(teacher: LabelsTask, batches: Batches, name: str) -> dict[str, float]:
    """Compare a teacher with the labels on the first training batches, as they are and as it sees them.

    teacher: the task of labels alone around it, whose codec fits its input. Returns median, mean and worst error, the
    median of an empty output's, and the share of persons above theirs. Raises InputError where the mean is beyond
    STRAY medians of a teacher that has learned something: then a few persons' outputs are of another size than all
    others', and a student learns little else. One that is worse than an empty output teaches nothing anyway.
    """
    found, zeros = errors(teacher, taught(batches))
    median, mean, zero = float(np.median(found)), float(found.mean()), float(np.median(zeros))
    if STRAY * median < mean and median < zero:
        raise InputError(
            f"the teacher {name} has errors of {median:.3g} (median) and {mean:.3g} (mean), at worst "
            f"{found.max():.3g}, on {len(found)} training persons: a few of its outputs explode and would be all that "
            "a student learns; train it on, with larger batches, or with fewer halvings"
        )
    figures = {"median": median, "mean": mean, "worst": float(found.max()), "empty": zero}
    return {key: round(value, 4) for key, value in figures.items()} | {
        "above_empty": round(float((found > zeros).mean()), 4)
    }


def taught(batches: Batches) -> Iterator[Batch]:
    """The first training batches, the teacher's view in place of the student's, with the joints where it shows them."""
    own, size = batches.sizes["student"], batches.sizes.get("teacher", batches.sizes["student"])
    ratio = torch.tensor([large / small for large, small in zip(size[::-1], own[::-1], strict=True)])
    seen = 0
    for batch in batches.epoch(1):
        keypoints = batch.keypoints
        if keypoints.shape[-1] == 2:  # px; poses in space are the same in every view
            keypoints = (keypoints + 0.5) * ratio.to(keypoints) - 0.5
        images = {"student": batch.images.get("teacher", batch.images["student"])}
        yield replace(batch, images=images, keypoints=keypoints)
        seen += len(batch.rows)
        if seen >= TAUGHT:
            return
