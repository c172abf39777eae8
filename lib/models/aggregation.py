"""How branches become one teacher: the weights with which their heatmaps are summed (OKDHP Sect. 3.2.2)."""

import torch
from torch import Tensor, nn

from lib.errors import InputError

KERNELS = (3, 5, 7)  # of the FAU's parallel paths
REDUCTION = 4  # width of the vector between the FAU's fully connected layers, relative to its paths'


def convolution(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """The paper's conv block (Fig. 3): convolution, batch normalisation, ReLU."""
    padding = kernel // 2
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, kernel, padding=padding), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def average(x: Tensor) -> Tensor:
    """Global average pooling, (B, C, h, w) -> (B, C)."""
    return x.mean((2, 3))


class Mean(nn.Module):
    """The plain mean of the branches (Table 10); (B, C, h, w) -> (B, T, joints) of 1 / T."""

    def __init__(self, inputs: int, branches: int, joints: int):
        super().__init__()
        self.branches, self.joints = branches, joints

    def forward(self, x: Tensor) -> Tensor:
        return torch.full((len(x), self.branches, self.joints), 1 / self.branches, device=x.device)


class Gate(nn.Module):
    """The gate of ONE (Lan et al., NeurIPS 2018) on heatmaps (Table 10); (B, C, h, w) -> (B, T, joints).

    Averaged features, a fully connected layer, batch normalisation, ReLU and a softmax over the branches, as there:
    one weight per image and branch, the same for all joints.
    """

    def __init__(self, inputs: int, branches: int, joints: int):
        super().__init__()
        self.joints = joints
        self.scores = convolution(inputs, branches, 1)  # a fully connected layer, on maps of one pixel

    def forward(self, x: Tensor) -> Tensor:
        weights = self.scores(average(x)[..., None, None]).softmax(1)
        return weights[..., 0].expand(-1, -1, self.joints)


class FeatureAggregationUnit(nn.Module):
    """The FAU: a weight per joint and branch from several receptive fields (Eqs. 4, 5); (B, C, h, w) -> (B, T, joints).

    Paths of kernel 3, 5 and 7, each followed by a 1x1 convolution and averaged over the map, and the averaged input
    (Eq. 4); a fully connected layer that fuses them, and one per branch; a softmax over the branches. The widths are
    not stated: with all paths as wide as the stem (`width`), a quarter of it between the layers, and a 1x1 convolution
    that keeps the width, the parameters of Table 7 and the operations of Table 8 come out as printed.
    """

    def __init__(self, inputs: int, branches: int, joints: int, width: int):
        super().__init__()
        self.branches = branches
        self.paths = nn.ModuleList(
            nn.Sequential(convolution(inputs, width, kernel), convolution(width, width, 1)) for kernel in KERNELS
        )
        self.fuse = nn.Linear(inputs + len(KERNELS) * width, width // REDUCTION)
        self.scores = nn.Linear(width // REDUCTION, branches * joints)

    def forward(self, x: Tensor) -> Tensor:
        vector = torch.cat([average(x), *(average(path(x)) for path in self.paths)], dim=1)
        return self.scores(self.fuse(vector)).unflatten(1, (self.branches, -1)).softmax(1)


class ReleasedFeatureAggregationUnit(nn.Module):
    """The FAU of the authors' public code: the paths are summed, without 1x1 convolutions and averaged input."""

    def __init__(self, inputs: int, branches: int, joints: int, width: int):
        super().__init__()
        self.branches = branches
        self.paths = nn.ModuleList(convolution(inputs, width, kernel) for kernel in KERNELS)
        self.fuse = nn.Linear(width, width // REDUCTION)
        self.scores = nn.Linear(width // REDUCTION, branches * joints)

    def forward(self, x: Tensor) -> Tensor:
        vector = average(sum(path(x) for path in self.paths))
        return self.scores(self.fuse(vector)).unflatten(1, (self.branches, -1)).softmax(1)


def build_aggregation(
    name: str, inputs: int, branches: int, joints: int, width: int, variant: str = "paper"
) -> nn.Module:
    """Build "mean", "gate" or "fau" for maps of `inputs` channels.

    width, variant ("paper" | "released"): of the FAU. Raises InputError for another name.
    """
    if name == "fau":
        unit = ReleasedFeatureAggregationUnit if variant == "released" else FeatureAggregationUnit
        return unit(inputs, branches, joints, width)
    simple = {"mean": Mean, "gate": Gate}
    if name not in simple:
        raise InputError(f"aggregation is {name!r}, expected one of: {', '.join([*simple, 'fau'])}")
    return simple[name](inputs, branches, joints)
