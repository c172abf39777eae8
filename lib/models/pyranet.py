"""Stacked hourglass with pyramid residual modules (Yang et al., Learning Feature Pyramids, ICCV 2017)."""

from functools import reduce

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.hourglass import HALVINGS, Hourglass, Residual, Stack, StackedNetwork, check_settings, stem_widths

LEVELS = 4  # "cardinality": coarser copies of a map, C in the paper
BASE_WIDTH = 9  # the pyramid works on 1/9 of a module's channels
COARSEST = 2  # pyramids stand on maps at least 2^2 times as large as an hourglass's coarsest


class Pyramid(nn.Module):
    """Sum of 3x3 convolutions, each of the map at another resolution; (B, D, h, w) -> (B, D, h, w).

    Level c = 1..C sees the map at 2^(-c/C) of its size (Sect. 3.2), rounded down, and is brought back bilinearly with
    the corners aligned, as the Torch release does. There, fractional max-pooling draws its windows at random, in
    evaluation too. Here adaptive max-pooling tiles the map evenly: deterministic, the same 2 px windows (some of 3),
    and symmetric under mirroring, so that flip tests see no shift. A map of 4 px has levels of 3, 2, 2 and 2 px.
    """

    def __init__(self, channels: int):
        super().__init__()
        self.levels = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(LEVELS))

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        maps = []
        for number, level in enumerate(self.levels, start=1):
            pooled = F.adaptive_max_pool2d(x, [int(side * 2 ** (-number / LEVELS)) for side in size])
            maps.append(F.interpolate(level(pooled), size=size, mode="bilinear", align_corners=True))
        return reduce(Tensor.add_, maps)


def activation(channels: int) -> tuple[nn.Module, nn.Module]:
    """The batch normalisation and ReLU before a convolution."""
    return nn.BatchNorm2d(channels), nn.ReLU(inplace=True)


def projection(inputs: int, outputs: int) -> nn.Sequential:
    """The shortcut where an identity would not do: the width changes, or two residual streams are about to be added."""
    return nn.Sequential(*activation(inputs), nn.Conv2d(inputs, outputs, 1))


class PyramidResidual(nn.Module):
    """Pre-activation bottleneck with a pyramid beside its 3x3 convolution: PRM-B (Sect. 3.2), one 1x1 for all levels.

    `activated`: the input comes from a ReLU, so the branches start with their convolution. `project`: the shortcut is
    a normalised 1x1 convolution even where the width stays.
    """

    def __init__(self, inputs: int, outputs: int, activated: bool = False, project: bool = False):
        super().__init__()
        middle, narrow = outputs // 2, max(1, outputs // BASE_WIDTH)
        self.plain = nn.Sequential(
            *(() if activated else activation(inputs)),
            *(nn.Conv2d(inputs, middle, 1), *activation(middle), nn.Conv2d(middle, middle, 3, padding=1)),
        )
        self.squeeze = nn.Sequential(*(() if activated else activation(inputs)), nn.Conv2d(inputs, narrow, 1))
        self.pyramid = nn.Sequential(*activation(narrow), Pyramid(narrow))
        self.expand = nn.Sequential(*activation(narrow), nn.Conv2d(narrow, middle, 1))
        self.out = nn.Sequential(*activation(middle), nn.Conv2d(middle, outputs, 1))
        self.shortcut = projection(inputs, outputs) if project or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        y = self.plain(x)
        y += self.expand(self.pyramid(self.squeeze(x)))
        y = self.out(y)
        y += self.shortcut(x)
        return y


def pyramid_residual(channels: int, level: int, last: bool = False) -> nn.Module:
    """Build the residual of one place in an hourglass: with a pyramid where the map has room for one.

    The last one before an upsampling projects its shortcut: with an identity the sum that follows would add two
    residual streams, whose variance then grows from stack to stack (Sect. 4.2).
    """
    if level >= COARSEST:
        return PyramidResidual(channels, channels, project=last)
    residual = Residual(channels, channels)
    if last:
        residual.shortcut = projection(channels, channels)
    return residual


def draw(convolution: nn.Conv2d, sums: int = 1, feeds: int = 1) -> None:
    """Draw weights for an input that is the sum of `sums` branches and an output that `feeds` branches.

    The variance is 1 / (a^2 (C_i n_i + C_o n_o)) with a = 1/2 for ReLU, C the branches and n = kernel area x channels
    on either side: the compromise between keeping the variance of responses and that of gradients (Sect. 4.1).
    """
    area = convolution.weight[0, 0].numel()
    inputs, outputs = area * convolution.in_channels, area * convolution.out_channels
    nn.init.normal_(convolution.weight, std=(4 / (sums * inputs + feeds * outputs)) ** 0.5)
    nn.init.zeros_(convolution.bias)


def initialise(module: nn.Module) -> None:
    """Initialise one module after its children (for nn.Module.apply).

    Heads keep PyTorch's default: no activation follows, and heatmaps of unit variance would start far from their
    almost empty targets.
    """
    if isinstance(module, nn.Conv2d):
        draw(module)
    elif isinstance(module, PyramidResidual):
        draw(module.squeeze[-1], feeds=LEVELS)
        draw(module.expand[-1], sums=LEVELS)
        draw(module.out[-1], sums=2)
    elif isinstance(module, Stack):
        module.head.reset_parameters()


class PyraNet(StackedNetwork):
    """PyraNet: a stacked hourglass whose residuals, but the coarsest, are pyramid residual modules.

    Layout and sizes are those of the authors' Torch release (hg-prm, base width 9, cardinality 4), whose stem is
    "newell". With it, 8 stacks, 256 channels and 16 joints there are 28.1 M parameters and a cost of 45.8 G at 256 px,
    counted as FPD counts, which prints 28M and 46G (Table 2).
    The release initialises by Torch's default unless told otherwise; here it is by the paper's own rule.
    Raises InputError for impossible settings.
    """

    def __init__(self, joints: int, stacks: int, channels: int = 256, stem: str = "newell", halvings: int = HALVINGS):
        check_settings("pyranet", joints, stacks, channels, halvings)
        first, second, third = stem_widths(stem, channels)
        layers = nn.Sequential(
            *(nn.Conv2d(3, first, 7, stride=2, padding=3), *activation(first)),
            *(PyramidResidual(first, second, activated=True), nn.MaxPool2d(2)),
            *(PyramidResidual(second, third), PyramidResidual(third, channels)),
        )

        def stack() -> Stack:
            body = Hourglass(halvings, channels, pyramid_residual), *activation(channels)
            return Stack(*body, channels=channels, joints=joints)

        super().__init__(layers, [stack() for _ in range(stacks)], channels, joints, halvings)
        self.apply(initialise)


build = PyraNet  # for build_model
