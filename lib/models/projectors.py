"""How a small map is compared with a teacher's large one: SAPE and its alternatives (CDKD Sect. III-A, Table V).

All have one interface: student maps (B, C, h, w) and teacher maps (B, C, H, W) -> the two features to compare, of one
shape.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.errors import InputError
from lib.models.aggregation import average, convolution
from lib.models.posenet import in_rows

FUSED = 32  # width of the vector between the SAU's fully connected layers: not stated, that of the authors' public code
Size = tuple[int, int]


class ScaleAdaptiveUnit(nn.Module):
    """The SAU: a weight per projector and channel from several receptive fields (Eqs. 1-3); (B, C, h, w) -> (B, K, C).

    A convolution with batch normalisation and ReLU per kernel; a fully connected layer over their concatenation, which
    also sums over them; global average pooling; a fully connected layer per projector; a softmax over the projectors.
    """

    def __init__(self, channels: int, projectors: int, kernels: Sequence[int]):
        super().__init__()
        self.projectors = projectors
        self.paths = nn.ModuleList(convolution(channels, channels, kernel) for kernel in kernels)
        self.fuse = nn.Linear(len(kernels) * channels, FUSED)
        self.select = nn.Linear(FUSED, projectors * channels)

    def forward(self, maps: Tensor) -> Tensor:
        # Averaged before the fully connected layer, which is linear: the same vector for h w times less work.
        vector = torch.cat([average(path(maps)) for path in self.paths], dim=1)
        return self.select(self.fuse(vector)).unflatten(1, (self.projectors, -1)).softmax(1)


class ProjectorEnsemble(nn.Module):
    """SAPE: projectors take the student's map to the teacher's size, the SAU weighs them (Eq. 4).

    A projector is a fully connected layer from the pixels of one map to those of the other, shared by the channels, and
    a ReLU. Without `kernels` there is no SAU and the weights are equal.
    """

    def __init__(self, channels: int, small: Size, large: Size, projectors: int, kernels: Sequence[int]):
        super().__init__()
        self.large = large
        # All projectors are one layer: every output has random weights of its own, as in layers apart.
        self.project = nn.Linear(math.prod(small), projectors * math.prod(large))
        self.unit = ScaleAdaptiveUnit(channels, projectors, kernels) if kernels else None

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        projected = self.project(in_rows(student)).relu().unflatten(2, (-1, *self.large))  # (B, C, K, H, W)
        if self.unit is None:
            return projected.mean(2), teacher
        return torch.einsum("bkc,bckhw->bchw", self.unit(student), projected), teacher


class FullyConnected(nn.Module):
    """One projector without ReLU: "Fully Connected Layer" of Table V."""

    def __init__(self, channels: int, small: Size, large: Size):
        super().__init__()
        self.large = large
        self.project = nn.Linear(math.prod(small), math.prod(large))

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return self.project(in_rows(student)).unflatten(2, self.large), teacher


class StridedConvolution(nn.Module):
    """The teacher's map through one m x m convolution of stride m, H = m h: "Conv Downsample" of Table V."""

    def __init__(self, channels: int, small: Size, large: Size):
        super().__init__()
        scale = large[0] // small[0]
        self.reduce = nn.Conv2d(channels, channels, scale, stride=scale)

    def forward(self, student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return student, self.reduce(teacher)


def build_projectors(
    name: str, channels: int, small: Size, large: Size, projectors: int, kernels: Sequence[int]
) -> nn.Module:
    """Build "sape", "fully_connected" or "convolution" from student maps of `small` to teacher maps of `large`.

    small, large: (height, width), the one m times the other. projectors, kernels: of "sape".
    Raises InputError for another name and where m is no whole number.
    """
    check_scale("map px", large, small)
    if name == "sape":
        return ProjectorEnsemble(channels, small, large, projectors, kernels)
    simple = {"fully_connected": FullyConnected, "convolution": StridedConvolution}
    if name not in simple:
        raise InputError(f"features is {name!r}, expected one of: {', '.join(['sape', *simple])}")
    return simple[name](channels, small, large)


def build_class_layers(name: str, teacher: nn.Module, student: nn.Module) -> nn.ModuleList:
    """Build what the teacher's logits, x and y, go through before they are compared with the student's (Table V).

    "cca", "same": nothing, there are m times as many classes, or as many; "fully_connected": a layer from their number
    to the student's, shared by the joints.
    Raises InputError for another name, networks without classes, and where m is no whole number, or for "same" not 1.
    """
    for role, network in (("teacher", teacher), ("student", student)):
        if network.output != "simcc":
            raise InputError(f"the {role} has {network.output} output, no classes to distil: set logits to none")
    many, few = ([net.columns.out_features, net.rows.out_features] for net in (teacher, student))
    if name == "fully_connected":
        return nn.ModuleList(map(nn.Linear, many, few))
    if name not in ("cca", "same"):
        raise InputError(f"logits is {name!r}, expected one of: cca, same, fully_connected")
    check_scale("classes", many, few, same=name == "same")
    return nn.ModuleList((nn.Identity(), nn.Identity()))


def check_scale(unit: str, large: Sequence[int], small: Sequence[int], same: bool = False) -> None:
    """Refuse sizes of the teacher that are not the student's times m = 1, 2, ..., or with `same` the student's."""
    m = large[0] // small[0]
    if m < 1 or (same and m > 1) or [m * side for side in small] != list(large):
        expected = "equal numbers" if same else "a whole multiple, the same along both axes"
        sizes = " and of the student ".join(" x ".join(map(str, size)) for size in (large, small))
        raise InputError(f"{unit} of the teacher {sizes}: expected {expected}")
