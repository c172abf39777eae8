"""Stacked hourglass network (Newell et al., ECCV 2016)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import InputError

HALVINGS = 4  # inside a published hourglass, whose coarsest map has 4 x 4 pixels at 256 px
STRIDE = 4  # input px per heatmap px


class Residual(nn.Module):
    """Pre-activation bottleneck; the shortcut is a bare 1x1 convolution where the width changes."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        middle = outputs // 2
        self.branch = nn.Sequential(
            *(nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), nn.Conv2d(inputs, middle, 1)),
            *(nn.BatchNorm2d(middle), nn.ReLU(inplace=True), nn.Conv2d(middle, middle, 3, padding=1)),
            *(nn.BatchNorm2d(middle), nn.ReLU(inplace=True), nn.Conv2d(middle, outputs, 1)),
        )
        self.shortcut = nn.Identity() if inputs == outputs else nn.Conv2d(inputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.branch(x)
        y += self.shortcut(x)  # in place: a new tensor of this size would cost as much as the addition
        return y


def plain_residual(channels: int, level: int, last: bool = False) -> nn.Module:
    """Build the residual of Newell's hourglass, the same at every place of it."""
    return Residual(channels, channels)


class Hourglass(nn.Module):
    """Residuals at `halvings` + 1 resolutions, each coarser result upsampled and added to the finer one.

    residual(channels, level, last) builds the one on maps 2^level times as large as the coarsest; `last` where its
    result is upsampled and added.
    """

    def __init__(self, halvings: int, channels: int, residual: Callable[..., nn.Module] = plain_residual):
        super().__init__()
        self.upper = residual(channels, halvings)
        self.lower = nn.Sequential(
            nn.MaxPool2d(2),
            residual(channels, halvings - 1),
            Hourglass(halvings - 1, channels, residual) if halvings > 1 else residual(channels, 0),
            residual(channels, halvings - 1, last=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        y = self.upper(x)
        y += F.interpolate(self.lower(x), scale_factor=2, mode="nearest")
        return y


class Stack(nn.Module):
    """One hourglass with its heatmap head; returns the features (B, C, h, w) and the heatmaps (B, K, h, w).

    `body` is the hourglass and what stands between it and the last 1x1 convolution of the features.
    """

    def __init__(self, *body: nn.Module, channels: int, joints: int):
        super().__init__()
        self.features = nn.Sequential(
            *body, nn.Conv2d(channels, channels, 1), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)
        )
        self.head = nn.Conv2d(channels, joints, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        features = self.features(x)
        return features, self.head(features)


class Merge(nn.Module):
    """Between two stacks: the next one's input is this one's input plus remapped features and heatmaps."""

    def __init__(self, channels: int, joints: int):
        super().__init__()
        self.features = nn.Conv2d(channels, channels, 1)
        self.heatmaps = nn.Conv2d(joints, channels, 1)

    def forward(self, x: Tensor, features: Tensor, heatmaps: Tensor) -> Tensor:
        y = self.features(features)
        y += self.heatmaps(heatmaps)
        y += x
        return y


def stem_widths(name: str, channels: int) -> tuple[int, int, int]:
    """Widths between the layers that take an image to maps of `channels` at a quarter of its size.

    "newell" keeps those of the Torch release whatever `channels` is, which is what FPD's parameter and FLOP columns
    count; "pytorch-pose" scales them, which is what OKDHP's count.
    """
    widths = {"newell": (64, 128, 128), "pytorch-pose": (channels // 4, channels // 2, channels)}
    if name not in widths:
        raise InputError(f"model: stem is {name!r}, expected one of: {', '.join(widths)}")
    return widths[name]


def build_stem(name: str, channels: int) -> nn.Sequential:
    """Build the layers that take an image (B, 3, H, W) to (B, channels, H / 4, W / 4)."""
    first, second, third = stem_widths(name, channels)
    return nn.Sequential(
        *(nn.Conv2d(3, first, 7, stride=2, padding=3), nn.BatchNorm2d(first), nn.ReLU(inplace=True)),
        *(Residual(first, second), nn.MaxPool2d(2), Residual(second, third), Residual(third, channels)),
    )


def check_settings(model: str, joints: int, stacks: int, channels: int, halvings: int) -> None:
    """Raise InputError unless the sizes of a stacked network are possible ones."""
    sizes = ("joints", joints, 1), ("stacks", stacks, 1), ("channels", channels, 4), ("halvings", halvings, 1)
    for key, value, unit in sizes:
        if not isinstance(value, int) or value < unit or value % unit:
            raise InputError(f"model {model}: {key} is {value!r}, expected a positive multiple of {unit}")


class StackedNetwork(nn.Module):
    """A stem and stacks of hourglasses, each with heatmaps of its own and merged into the next one's input.

    forward: images (B, 3, H, W), H and W multiples of 4 (the stride) times 2^halvings -> list of (B, joints, H/4, W/4).
    Where the coarsest map is one pixel, training batches need two images or more for their normalisation, and in
    evaluation it knows too little of what it normalises: rather halve less often.
    As a branch of a bigger network (lib/models/multibranch.py) it runs in two parts, `trunk` and `branch`.
    Raises InputError for images of another size.
    """

    output = "heatmap"

    def __init__(self, stem: nn.Module, stacks: list[Stack], channels: int, joints: int, halvings: int):
        super().__init__()
        self.stem_channels, self.width, self.joints, self.halvings = channels, channels, joints, halvings
        self.stem = stem
        self.stacks = nn.ModuleList(stacks)
        self.merges = nn.ModuleList(Merge(channels, joints) for _ in stacks[1:])

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        unit = STRIDE * 2**self.halvings
        if height % unit or width % unit:
            raise InputError(f"network input is {height}x{width} px, expected multiples of {unit}; change its size")
        return self.branch(self.stem(images), 0)

    def trunk(self, x: Tensor, shared: int) -> tuple[Tensor, list[Tensor]]:
        """Take the stem's output through the first stacks: the next one's input, and their heatmaps."""
        return self.advance(x, range(shared))

    def branch(self, x: Tensor, shared: int) -> list[Tensor]:
        """The heatmaps of all stacks after the first ones, whose result is x."""
        return self.advance(x, range(shared, len(self.stacks)))[1]

    def advance(self, x: Tensor, places: range) -> tuple[Tensor, list[Tensor]]:
        """Run the stacks of these places: what a further one would take in, and their heatmaps."""
        outputs = []
        for place in places:
            features, heatmaps = self.stacks[place](x)
            outputs.append(heatmaps)
            if place < len(self.merges):
                x = self.merges[place](x, features, heatmaps)
        return x, outputs

    def share(self, other: "StackedNetwork", shared: int) -> None:
        """Take over another network's stem and its first stacks, as the same modules."""
        self.stem = other.stem
        self.stacks = nn.ModuleList([*other.stacks[:shared], *self.stacks[shared:]])
        self.merges = nn.ModuleList([*other.merges[:shared], *self.merges[shared:]])


class StackedHourglass(StackedNetwork):
    """Stem and `stacks` hourglasses with one residual per location; one list entry of heatmaps per stack.

    Initialisation is PyTorch's default: for convolutions the same uniform +-1/sqrt(fan-in) as Torch's, for the scales
    of batch normalisation 1 where Torch drew from [0, 1].
    Raises InputError for impossible settings.
    """

    def __init__(self, joints: int, stacks: int, channels: int = 256, stem: str = "newell", halvings: int = HALVINGS):
        check_settings("hourglass", joints, stacks, channels, halvings)

        def stack() -> Stack:
            body = Hourglass(halvings, channels), Residual(channels, channels)
            return Stack(*body, channels=channels, joints=joints)

        super().__init__(build_stem(stem, channels), [stack() for _ in range(stacks)], channels, joints, halvings)


build = StackedHourglass  # for build_model
