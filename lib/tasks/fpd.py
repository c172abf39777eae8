"""Fast Pose Distillation: a small network learns a big fixed one's confidence maps (Zhang, Zhu, Ye; CVPR 2019)."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks.heatmap import Supervised, mse, released_mse

EPSILON = (
    1e-6  # added to every pixel before l1 normalisation: an empty map becomes uniform, log and quotient stay finite
)


def cross_entropy(maps: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy -sum t log s of l1-normalised confidence maps, averaged over joints and batch (FPD Table 7).

    maps (student), target (teacher): (B, K, H, W). The paper does not say how negative outputs are normalised: here
    they count as 0 on both sides.
    """

    def normalised(x: Tensor) -> Tensor:
        x = x.float().flatten(2).clamp(min=0) + EPSILON
        return x / x.sum(2, keepdim=True)

    return -(normalised(target) * normalised(maps).log()).sum(2).mean()


class FastPoseDistillation(Supervised):
    """alpha * L_pd + (1 - alpha) * L_mse (FPD Eq. 5) on every stack of the student, summed over the stacks.

    L_pd compares with the last stack of the teacher (Eq. 4) over all joints: the teacher also stands in for missing
    labels (Fig. 3, row C). `loss` selects its form, Eq. 4 or Table 7's cross-entropy. With variant "released" both mean
    squared errors follow the authors' public code, which masks joints in both that are unlabelled or off the map. The
    teacher sees the view "teacher" where the batch has one, else the student's.
    """

    def __init__(
        self,
        student: nn.Module,
        codec: HeatmapCodec,
        flip_pairs: Sequence[tuple[int, int]],
        teacher: nn.Module,
        alpha: float,
        loss: str = "mse",
        variant: str = "paper",
    ):
        super().__init__(student, codec, flip_pairs)
        self.learn_from(teacher)
        self.alpha = alpha
        self.loss = loss
        self.variant = variant

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        target, visible = self.codec.encode(batch.keypoints), batch.visible
        if self.variant == "released":
            visible = visible & self.codec.reaches(batch.keypoints)
        with self.teaching(batch) as images:
            mimicked = self.teacher(images)[-1].float()
        outputs = self.student(batch.images["student"])
        supervised = sum(self.error(maps, target, visible) for maps in outputs)
        distilled = sum(self.mimicry(maps, mimicked, visible) for maps in outputs)
        return {"mse": (1 - self.alpha) * supervised, "distillation": self.alpha * distilled}

    def error(self, maps: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        """Distance of one stack's maps to the labels'."""
        return (released_mse if self.variant == "released" else mse)(maps, target, visible)

    def mimicry(self, maps: Tensor, target: Tensor, visible: Tensor) -> Tensor:
        """Distance of one stack's maps to the teacher's."""
        if self.loss == "cross_entropy":
            return cross_entropy(maps, target)
        return released_mse(maps, target, visible) if self.variant == "released" else mse(maps, target)


def build(run: Run, labels: Supervised, teacher: nn.Module, prior: Path | None) -> FastPoseDistillation:
    """The task of a run with this method."""
    return FastPoseDistillation(labels.student, labels.codec, labels.flip_pairs, teacher, **run.settings)
