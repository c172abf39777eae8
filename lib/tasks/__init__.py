"""Tasks: what is optimised, one file per method, found by name."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.named import find
from lib.runs import Run


class Task(nn.Module, ABC):
    """A student and the losses that train it; the loop never knows which method it trains.

    `student` is what is saved, exported and deployed. Losses that have weights of their own keep them as submodules of
    the task: they are trained with the student. A frozen teacher is no submodule, so that neither the optimiser nor the
    saved state nor train() reaches it. `progress` is the share of the training's epochs that are done, for losses that
    change over it; the loop sets it.
    """

    student: nn.Module
    progress: Tensor

    def __init__(self):
        super().__init__()
        self.register_buffer("progress", torch.zeros(()), persistent=False)

    @property
    def networks(self) -> list[nn.Module]:
        """All networks that this training can deploy, the student first."""
        return [self.student]

    def own_optimizers(self) -> list[torch.optim.Optimizer]:
        """Build the optimisers of parameters that the run's own does not train; the loop steps them with it."""
        return []

    def save(self, folder: Path) -> None:
        """Write what this training has learned besides its networks."""
        return

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return named, already weighted losses: scalars, means over the batch; their sum is minimised."""

    @abstractmethod
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor | None]:
        """Return keypoints (B, K, 2), input px, and scores (B, K) of images (B, 3, H, W).

        With `flip_test` the network also sees the mirrored image and both outputs are averaged. Hands: poses (B, K, 3)
        as in a Batch, and None.
        """


def build_task(
    run: Run,
    student: nn.Module,
    flip_pairs: Sequence[tuple[int, int]],
    teacher: nn.Module | None = None,
    prior: Path | None = None,
) -> Task:
    """Build the task of a training: its method around the one of labels alone, which the student's output names.

    teacher: a network that is fixed beforehand; prior: the file of a learned regulariser. A method is the module of its
    name in this package: `build` there takes the run, the task of labels alone, the teacher and the prior.
    """
    labels = labels_task(run, student, flip_pairs)
    if run.method == student.output:
        return labels
    return find("lib.tasks", run.method, f"the method of {run.label}").build(run, labels, teacher, prior)


def labels_task(run: Run, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> Task:
    """Build the task that learns from labels alone, by the kind of the student's output; every run predicts by it."""
    return find("lib.tasks", student.output, f"the output of {run.label}").build(run, student, flip_pairs)
