"""Cross-Domain Knowledge Distillation: a network of small images learns from one of large images (Gu et al., 2024)."""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.errors import InputError
from lib.models.posenet import MAP_STRIDE
from lib.models.projectors import Size, build_class_layers, build_projectors
from lib.runs import Run
from lib.tasks import Task
from lib.tasks.heatmap import Supervised

TAU_RANGE = (1.0, 21.0)  # of a learned temperature: that of CTKD (Li et al., AAAI 2023), which the strategy follows
# The authors' public code: weight of the task's loss and of CCA, and the temperature, which is never trained.
RELEASED_TASK, RELEASED_LOGITS, RELEASED_TAU = 1000, 0.4, 1 + 20 / (1 + math.exp(-1))


def cosine_distance(features: Tensor, target: Tensor) -> Tensor:
    """1 - cosine of two features (B, ...), over all channels and pixels of a person; mean over the batch (Eq. 5)."""
    return 1 - F.cosine_similarity(features.float().flatten(1), target.float().flatten(1)).mean()


def merged(log_probabilities: Tensor, m: int) -> Tensor:
    """Add the probabilities of every m adjacent bins, as logarithms (Eq. 6): (..., m n) -> (..., n)."""
    return log_probabilities.unflatten(-1, (-1, m)).logsumexp(-1)


def cross_class_kl(logits: Tensor, target: Tensor, tau: Tensor | float) -> Tensor:
    """tau^2 KL(teacher || student) of one axis, summed over bins, averaged over joints and batch (Eq. 7).

    logits (student): (B, K, n); target (teacher): (B, K, m n), merged after the softmax, which is of both over tau.
    """
    log_student, log_teacher = ((x.float() / tau).log_softmax(2) for x in (logits, target))
    log_teacher = merged(log_teacher, target.shape[2] // logits.shape[2])
    return tau**2 * F.kl_div(log_student, log_teacher, reduction="none", log_target=True).sum(2).mean()


def reversal(progress: Tensor) -> Tensor:
    """xi (Eq. 12), by CTKD's cosine: 0 at the start of the training, 1 at its end."""
    return (1 - torch.cos(math.pi * progress)) / 2


def reversed_gradient(x: Tensor, xi: Tensor | float) -> Tensor:
    """The same value; its gradient is -xi times the one that arrives (Eq. 11)."""
    return x.detach() - xi * (x - x.detach())


class Hyperparameter(nn.Module):
    """A number learned between two bounds: low + (high - low) sigmoid(theta). InputError for a start outside them."""

    def __init__(self, name: str, start: float, low: float, high: float):
        super().__init__()
        if not low < start < high:
            raise InputError(f"{name} is learned from {start:g}: expected a start between {low:g} and {high:g}")
        self.low, self.high = low, high
        self.theta = nn.Parameter(torch.tensor(math.log((start - low) / (high - start))))

    def forward(self) -> Tensor:
        return self.low + (self.high - self.low) * self.theta.sigmoid()


class CrossDomainDistillation(Task):
    """L_ori + alpha L_fea + beta L_logit (Eq. 8) around a task that learns from labels, `base`.

    L_fea (Eq. 5) compares each joint's map before the classifier as `features` says, L_logit (Eq. 7) the classes as
    `logits` says: "cca", "same" (as many of them) or "fully_connected" (a layer per axis on the teacher's); "none"
    leaves a term out. All joints count, labelled or not. Those of tau, alpha and beta that `learned` names are trained
    against the losses they stand in, ever more (ETHT, Eqs. 9-12). student_input, teacher_input: (height, width) px;
    batch_size: over all processes. InputError where maps or classes are no whole multiple m of the student's.
    variant "released" follows the authors' public code: projectors and temperature never change, L_fea does not reach
    the student, L_ori and L_logit are means over bins (views are square there), L_logit sums over joints and batch.
    """

    def __init__(
        self,
        base: Supervised,
        teacher: nn.Module,
        *,
        student_input: Size,
        teacher_input: Size,
        batch_size: int,
        alpha: float,
        beta: float,
        features: str,
        projectors: int,
        kernels: Sequence[int],
        logits: str,
        tau: float,
        learned: Sequence[str],
        variant: str = "paper",
    ):
        super().__init__()
        self.base, self.student = base, base.student
        self.learn_from(teacher)
        self.released, self.batch_size = variant == "released", batch_size
        large, small = (tuple(side // MAP_STRIDE for side in size) for size in (teacher_input, student_input))
        self.projectors = self.classes = None
        if features != "none":
            self.projectors = build_projectors(features, self.student.joints, small, large, projectors, kernels)
            self.projectors.requires_grad_(not self.released)
        if logits != "none":
            self.classes = build_class_layers(logits, teacher, self.student)
        self.start = {"alpha": alpha, "beta": beta, "tau": RELEASED_TAU if self.released else tau}
        bounds = {"alpha": (0.0, 2 * alpha), "beta": (0.0, 2 * beta), "tau": TAU_RANGE}
        used = {} if self.released else {"alpha": self.projectors, "beta": self.classes, "tau": self.classes}
        names = [name for name in learned if used.get(name)]
        self.learned = nn.ModuleDict({name: Hyperparameter(name, self.start[name], *bounds[name]) for name in names})

    def value(self, name: str) -> Tensor | float:
        """alpha, beta or tau as they stand."""
        if name not in self.learned:
            return self.start[name]
        return reversed_gradient(self.learned[name](), reversal(self.progress))

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        with self.teaching(batch) as images:
            teacher_maps = self.teacher.maps(images)
            targets = [axis.float() for axis in self.teacher.classify(teacher_maps)] if self.classes else ()
            teacher_maps = teacher_maps.float()
        maps = self.student.maps(batch.images["student"])
        outputs = self.student.outputs(maps)
        losses = self.base.losses(outputs, batch)
        bins = outputs[0][0, 0].numel()
        if self.released:
            losses = {name: RELEASED_TASK * loss / bins for name, loss in losses.items()}
        if self.projectors:
            own, theirs = (part[:, : self.student.joints] for part in (maps, teacher_maps))  # CAL's offsets come after
            pair = self.projectors(own.detach() if self.released else own, theirs)
            losses["features"] = self.value("alpha") * cosine_distance(*pair)
        if self.classes:
            tau, axes = self.value("tau"), zip(outputs, self.classes, targets, strict=True)
            divergence = sum(cross_class_kl(own, layer(target), tau) for own, layer, target in axes)
            weight = RELEASED_LOGITS * self.batch_size * self.student.joints / bins if self.released else 1
            losses["logits"] = self.value("beta") * weight * divergence
        return losses

    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        return self.base.predict(images, flip_test)


def build(run: Run, labels: Supervised, teacher: nn.Module, prior: Path | None) -> CrossDomainDistillation:
    """The task of a run with this method."""
    sizes = {"student_input": run.input, "teacher_input": run.teacher_input, "batch_size": run.batch_size}
    return CrossDomainDistillation(labels, teacher, **sizes, **run.settings)
