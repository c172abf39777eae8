"""Tasks: what is optimised, one file per method, found by name."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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

    def learn_from(self, teacher: nn.Module) -> None:
        """Keep a teacher as it comes, in evaluation mode and untrained."""
        self._frozen = (teacher.eval().requires_grad_(False),)  # a tuple, or nn.Module would make it a submodule

    @property
    def teacher(self) -> nn.Module:
        """The fixed network; it stays on the device and in the mode it came with."""
        return self._frozen[0]

    @contextmanager
    def teaching(self, batch: Batch) -> Iterator[Tensor]:
        """The teacher's images of a batch, its own view or else the student's, while it is asked.

        It computes in the type of its weights, whatever the student's precision is.
        """
        images = batch.images.get("teacher", batch.images["student"])
        with torch.no_grad(), torch.autocast(images.device.type, enabled=False):
            yield images.to(next(self.teacher.parameters()).dtype)

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


class LabelsTask(Task):
    """A task that learns from labels alone, or adds to one that does; all others learn from labels through one."""

    @abstractmethod
    def errors(self, outputs: Any, batch: Batch) -> Tensor:
        """Distance of the network's outputs from the labels for each person (B,), NaN where there are none.

        Means over labelled joints.
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


def labels_task(run: Run, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> LabelsTask:
    """Build the task that learns from labels alone, by the kind of the student's output; every run predicts by it."""
    return find("lib.tasks", student.output, f"the output of {run.label}").build(run, student, flip_pairs)
