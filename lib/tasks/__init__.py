"""Tasks: what is optimised, one file per method."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.params import TrainSpec


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

    @abstractmethod
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Return named, already weighted losses: scalars, means over the batch; their sum is minimised."""

    @abstractmethod
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        """Return keypoints (B, K, 2), input px, and scores (B, K) of images (B, 3, H, W).

        With `flip_test` the network also sees the mirrored image and both outputs are averaged.
        """


def build_task(
    spec: TrainSpec, student: nn.Module, flip_pairs: Sequence[tuple[int, int]], teacher: nn.Module | None = None
) -> Task:
    """Build the task of a training: its method around a student and, where one is fixed beforehand, a teacher."""
    from lib.models.multibranch import build_branches
    from lib.tasks.cdkd import CrossDomainDistillation
    from lib.tasks.fpd import FastPoseDistillation
    from lib.tasks.okdhp import OnlineDistillation

    base = supervised_task(spec, student, flip_pairs)
    if spec.distillation is None:
        return base
    settings = spec.distillation.model_dump()
    method = settings.pop("method")
    if method == "fpd":
        return FastPoseDistillation(student, base.codec, flip_pairs, teacher, **settings)
    if method == "cdkd":
        sizes = {"student_input": spec.input, "teacher_input": spec.teacher_input}
        return CrossDomainDistillation(base, teacher, **sizes, **settings)
    others = [{**branch, "joints": student.joints} for branch in settings.pop("branches")]
    network = build_branches(student, others, settings.pop("shared"), settings.pop("aggregation"), settings["variant"])
    return OnlineDistillation(network, base.codec, flip_pairs, **settings)


def supervised_task(spec: TrainSpec, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> Task:
    """Build the task that learns from labels alone, by the kind of the student's output."""
    from lib.codecs.heatmap import HeatmapCodec
    from lib.codecs.simcc import SimccCodec
    from lib.tasks.simcc import SimccSupervised
    from lib.tasks.supervised import Supervised

    if student.output == "simcc":
        target = spec.simcc.model_dump(exclude={"target"})
        return SimccSupervised(student, SimccCodec(spec.input, split=spec.model.split, **target), flip_pairs)
    codec = HeatmapCodec(spec.input, **spec.heatmap.model_dump(), refinement=spec.decoding.refinement)
    return Supervised(student, codec, flip_pairs)
