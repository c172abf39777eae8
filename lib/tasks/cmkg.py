"""Cross-Modal Knowledge Generalization: knowledge as a prior on a network's weights (CMKG, CVPR 2020, Sect. 4)."""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks import Task
from lib.tasks.cmkd import CrossModalDistillation
from lib.tasks.pose import PoseRegression
from lib.tasks.regulariser import save_prior
from lib.training.distributed import mean_gradients

SLOPES = {"l1": torch.sign, "l2": lambda x: 2 * x}  # the derivative of |x|^p


def inner_step(
    theta: Sequence[Tensor], gradient: Sequence[Tensor], phi: Sequence[Tensor], norm: str, rate: float
) -> list[Tensor]:
    """Weights after one step of gradient descent on F = L_REG + R (Eq. 9; Algorithm 1, line 6), a function of phi.

    gradient: of L_REG at theta. What comes back is differentiable with respect to phi, and to theta and gradient where
    these depend on it.
    """
    return [
        weights - rate * (own + weight * SLOPES[norm](weights))
        for weights, own, weight in zip(theta, gradient, phi, strict=True)
    ]


class MetaTraining(Task):
    """Algorithm 1: CMKD of the student, and a prior phi under which F alone has the effect of the distillation.

    The losses of theta_k (Eq. 8) train the student, which phi never touches. The loss "prior", G after `inner_steps`
    steps of F at the rate `inner_lr` on the same batch, has a gradient with respect to phi alone. The first of these
    steps starts from constants, so that it needs no second derivatives: with one step, the paper's choice, none are
    computed, and autograd's result is the closed form -inner_lr d|theta|^p/dtheta dG/dtheta. phi has one number per
    trainable number of the student, starts at 0 and is trained by SGD of the rate `meta_lr` (Sect. 5.1).
    norm: "l1" or "l2". On several processes an inner step follows the mean gradient of all.
    """

    def __init__(
        self,
        student: nn.Module,
        teacher: nn.Module,
        activation: float,
        attention: float,
        norm: str,
        inner_steps: int,
        inner_lr: float,
        meta_lr: float,
    ):
        super().__init__()
        self.base, self.student = CrossModalDistillation(student, teacher, activation, attention), student
        self.norm, self.inner_steps, self.inner_lr, self.meta_lr = norm, inner_steps, inner_lr, meta_lr
        self.phi = nn.ParameterList(torch.zeros_like(theta) for theta in student.parameters())

    @torch.compiler.disable  # gradients inside a forward pass are beyond the compiler
    def forward(self, batch: Batch) -> dict[str, Tensor]:
        targets = self.base.targets(batch)
        losses = self.base(batch, targets)
        gradient = torch.autograd.grad(losses["regression"], list(self.student.parameters()), retain_graph=True)
        theta = [parameter.detach() for parameter in self.student.parameters()]
        for step in range(self.inner_steps):
            if step > 0:
                loss = self.losses_at(theta, batch, targets)["regression"]
                gradient = torch.autograd.grad(loss, theta, create_graph=True)
            theta = inner_step(theta, mean_gradients(gradient), self.phi, self.norm, self.inner_lr)
        return losses | {"prior": sum(self.losses_at(theta, batch, targets).values())}

    def losses_at(self, theta: Sequence[Tensor], batch: Batch, targets: list[Tensor]) -> dict[str, Tensor]:
        """The losses of other weights than the student's, whose running statistics stay as they are."""
        names = (name for name, _ in self.base.named_parameters())
        statistics = {name: buffer.clone() for name, buffer in self.base.named_buffers()}
        return functional_call(self.base, dict(zip(names, theta, strict=True)) | statistics, (batch, targets))

    def own_optimizers(self) -> list[torch.optim.Optimizer]:
        return [torch.optim.SGD(self.phi, lr=self.meta_lr)]

    def save(self, folder: Path) -> None:
        save_prior(folder / "prior.safetensors", self.student, self.phi)

    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, None]:
        return self.base.predict(images, flip_test)


def build(run: Run, labels: PoseRegression, teacher: nn.Module, prior: Path | None) -> MetaTraining:
    """The task of a run with this method."""
    return MetaTraining(labels.student, teacher, **run.settings)
