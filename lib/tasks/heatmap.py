"""Heatmap regression from labels alone."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks import LabelsTask


def mse(maps: Tensor, target: Tensor, visible: Tensor | None = None) -> Tensor:
    """Squared error of confidence maps: summed over pixels, averaged over joints and batch (FPD Eq. 3).

    maps: (B, K, H, W); target: the same, float32; visible: (B, K) bool. A joint that is not visible has no label and
    contributes nothing, but the divisor stays B * K: the loss of a batch is the exact mean of those of its equal parts,
    on any number of processes.
    """
    errors = (maps - target).square().sum((2, 3))
    return (errors if visible is None else errors * visible).mean()


def released_mse(maps: Tensor, target: Tensor, visible: Tensor) -> Tensor:
    """Half the squared error averaged over batch, pixels and joints, invisible joints as 0, as in the authors' code.

    maps, target: (B, K, H, W); visible: (B, K) bool. FPD's and OKDHP's public codes have the same loss.
    """
    return 0.5 * mse(maps, target, visible) / maps[0, 0].numel()


class Supervised(LabelsTask):
    """FPD Eq. 3 on every stack of an hourglass, summed over the stacks; other codecs have losses of their own."""

    def __init__(self, student: nn.Module, codec: HeatmapCodec | SimccCodec, flip_pairs: Sequence[tuple[int, int]]):
        super().__init__()
        self.student = student
        self.codec = codec
        self.flip_pairs = flip_pairs

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        return self.losses(self.student(batch.images["student"]), batch)

    def losses(self, outputs: list[Tensor], batch: Batch) -> dict[str, Tensor]:
        """The losses of the student's outputs on a batch."""
        target = self.codec.encode(batch.keypoints)
        return {"mse": sum(mse(maps, target, batch.visible) for maps in outputs)}

    def errors(self, outputs: list[Tensor], batch: Batch) -> Tensor:
        """Squared error of the last stack's maps, summed over pixels."""
        squares = (outputs[-1].float() - self.codec.encode(batch.keypoints)).square().sum((2, 3))
        return labelled_mean(squares, batch.visible)

    @torch.no_grad()
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        return self.codec.decode(self.tested(images, flip_test))

    @torch.no_grad()
    def search(self, views: Mapping[float, Tensor], flip_test: bool) -> tuple[Tensor, Tensor]:
        """As `predict`, of the mean of the maps of views, by how large they show the same people; heatmaps alone.

        The mean is taken on the map of the people at size 1, px of whose view the keypoints are.
        """
        maps = [unzoomed(self.tested(images, flip_test), zoom) for zoom, images in views.items()]
        return self.codec.decode(torch.stack(maps).mean(0))

    def tested(self, images: Tensor, flip_test: bool) -> Tensor:
        """The last stack's maps (B, K, h, w), with `flip_test` the mean with those of the mirrored image."""
        maps = self.student(images)[-1]
        if flip_test:
            mirrored = self.student(images.flip(3))[-1].flip(3)
            maps = (maps + mirrored[:, swapped(maps.shape[1], self.flip_pairs)]) / 2
        return maps


def unzoomed(maps: Tensor, zoom: float) -> Tensor:
    """Maps (B, K, h, w), float32, of a view at a zoom, sampled bilinearly at the pixels of the map of zoom 1.

    Both are about the same middle. What the view does not show is 0, as in PyraNet's public code.
    """
    maps = maps.float()
    matrix = zoom * torch.eye(2, 3, device=maps.device)
    grid = F.affine_grid(matrix.expand(len(maps), 2, 3), maps.shape, align_corners=False)
    return F.grid_sample(maps, grid, align_corners=False)


def labelled_mean(values: Tensor, labelled: Tensor) -> Tensor:
    """Mean of values (B, K) over the labelled joints of each person, (B,); NaN without any."""
    return torch.where(labelled, values, torch.nan).nanmean(1)


def swapped(joints: int, flip_pairs: Sequence[tuple[int, int]]) -> list[int]:
    """Joint indices after a mirror has exchanged left and right."""
    order = list(range(joints))
    for left, right in flip_pairs:
        order[left], order[right] = right, left
    return order


def build(run: Run, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> Supervised:
    """The task of a run whose network ends in heatmaps."""
    return Supervised(student, HeatmapCodec(run.input, **run.codec), flip_pairs)
