"""Scales: what a profile makes of the papers' sizes."""

from typing import Literal

from pydantic import Field

from lib.params.sections import Batch, Benchmarks, Count, Name, Positive, Rate, Rows, Section, Share, Size

SIDE_UNIT = 64  # px; inputs are scaled in steps of it


class CropsScale(Section):
    """What a profile changes in the crops; synthetic: the number of rendered hands, null: as many as the paper's."""

    resolution: Share
    synthetic: Count | None


class Scale(Section):
    """What a profile changes in a paper's networks and schedule; null keeps the paper's value.

    resolution: the largest input, relative to the crops' at full size; depth: share of an hourglass network's stacks,
    of HRNet's modules and blocks and of a ResNet's blocks; width: of channels; train_samples: persons to train on;
    val_samples: images whose persons are predicted; decay: shares of the epochs after which the rate is multiplied by
    gamma; rates: what learning rates are multiplied by, by architecture; meta_lr: of CMKG; threads: null, one per core.
    """

    resolution: Share = 1
    depth: Share = 1
    width: Share = 1
    stem: Literal["newell", "pytorch-pose"] | None = None
    epochs: Share = 1
    decay: tuple[Share, ...] | None = None
    train_samples: Count | None = None
    val_samples: Count | None = None
    optimizer: Literal["rmsprop", "adam"] | None = None
    lr: Rate | None = None
    rates: dict[Name, Positive] = Field(default_factory=dict)
    batch_size: Batch | None = None
    meta_lr: Rate | None = None
    threads: Batch | None = None

    def deep(self, count: int) -> int:
        """A count of stacks, modules or blocks."""
        return scaled(count, self.depth, 1)

    def wide(self, count: int, unit: int) -> int:
        """A count of channels, a multiple of a unit."""
        return scaled(count, self.width, unit)


class Choice(Section):
    """Which rows on which benchmarks a profile trains; null: those that params.yaml asks for."""

    rows: Rows | None = None
    benchmarks: Benchmarks | None = None


FULL = Scale()


def scaled(count: int, share: float, unit: int) -> int:
    """The multiple of a unit, one at least, that is nearest to a share of a count."""
    return unit * max(1, round(count * share / unit))


def scaled_size(size: Size, share: float) -> Size:
    """A share of an input's height and width in px, in steps of SIDE_UNIT."""
    return tuple(scaled(side, share, SIDE_UNIT) for side in size)
