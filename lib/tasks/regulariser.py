"""Regularisers of a network's weights: default ones, and the one that meta-training learned (CMKG, CVPR 2020)."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib.errors import InputError
from lib.runs import Run
from lib.tasks.pose import PoseRegression

NORMS = {"l1": torch.abs, "l2": torch.square}  # |x|^p


class Regulariser(nn.Module):
    """R (Eq. 10): the sum of phi_i |theta_i|^p over all numbers theta_i of a network's parameters.

    norm: "l1" or "l2" (p = 1 or 2). phi: tensors of the parameters' shapes, in their order, or one number for all, the
    default regulariser's sigma (Sect. 5.4, which misprints theta as phi). phi is frozen (Algorithm 2).
    """

    def __init__(self, parameters: Iterable[nn.Parameter], norm: str, phi: Sequence[Tensor] | float):
        super().__init__()
        self._theta = tuple(parameters)  # a tuple, or nn.Module would make them its own
        self.norm = NORMS[norm]
        values = [torch.tensor(phi)] * len(self._theta) if isinstance(phi, float) else phi
        # Frozen parameters rather than buffers, which DistributedDataParallel would send around at every step.
        self.phi = nn.ParameterList(nn.Parameter(value, requires_grad=False) for value in values)

    def forward(self) -> Tensor:
        return sum((phi * self.norm(theta)).sum() for phi, theta in zip(self.phi, self._theta, strict=True))


def save_prior(path: Path, student: nn.Module, phi: Sequence[Tensor]) -> None:
    """Write phi as safetensors, float32, by the names of the student's parameters."""
    names = (name for name, _ in student.named_parameters())
    tensors = {name: value.detach().float().cpu().contiguous() for name, value in zip(names, phi, strict=True)}
    save_file(tensors, path)


def load_prior(path: Path, student: nn.Module) -> list[Tensor]:
    """Read phi in the order of the student's parameters.

    Raises InputError where the file is absent, holds no tensors, or was learned for another network.
    """
    if not path.is_file():
        raise InputError(f"{path} not found: train the run that learns this prior first (dvc repro does it)")
    try:
        tensors = load_file(path)
    except SafetensorError as error:
        raise InputError(f"{path} is not a prior of this project ({error}): train its run again") from None
    expected = {name: parameter.shape for name, parameter in student.named_parameters()}
    if {name: tensor.shape for name, tensor in tensors.items()} != expected:
        raise InputError(f"{path} was learned for another network: choose a prior of a run with the same model")
    return [tensors[name] for name in expected]


def build(run: Run, labels: PoseRegression, teacher: nn.Module | None, prior: Path | None) -> PoseRegression:
    """The task of a run with labels and a regulariser: sigma times the norm, or the learned prior."""
    student, sigma = labels.student, run.settings["sigma"]
    phi = load_prior(prior, student) if sigma is None else sigma
    return PoseRegression(student, Regulariser(student.parameters(), run.settings["norm"], phi))
