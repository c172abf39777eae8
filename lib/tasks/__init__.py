"""Tasks: what is optimised, one file per method."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

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
    spec: TrainSpec,
    student: nn.Module,
    flip_pairs: Sequence[tuple[int, int]],
    teacher: nn.Module | None = None,
    prior: Sequence[Tensor] = (),
) -> Task:
    """Build the task of a training: its method around a student and, where one is fixed beforehand, a teacher.

    prior: the learned weights of a regulariser.
    """
    from lib.models.multibranch import build_branches
    from lib.tasks.cdkd import CrossDomainDistillation
    from lib.tasks.fpd import FastPoseDistillation
    from lib.tasks.okdhp import OnlineDistillation

    if student.output == "pose":
        return hand_task(spec, student, teacher, prior)
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


def hand_task(spec: TrainSpec, student: nn.Module, teacher: nn.Module | None, prior: Sequence[Tensor]) -> Task:
    """Build the task of a network that tells the joints of a hand in space."""
    from lib.tasks.cmkd import CrossModalDistillation
    from lib.tasks.cmkg import MetaTraining, Regulariser
    from lib.tasks.regression import PoseRegression

    if spec.distillation is None:
        return PoseRegression(student)
    settings = spec.distillation.model_dump()
    match settings.pop("method"):
        case "cmkd":
            return CrossModalDistillation(student, teacher, **settings)
        case "cmkg":
            return MetaTraining(student, teacher, **settings)
    sigma = settings.pop("sigma")
    return PoseRegression(student, Regulariser(student.parameters(), phi=prior if sigma is None else sigma, **settings))


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
