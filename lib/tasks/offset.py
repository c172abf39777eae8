"""Confidence-aware learning of heatmaps and offsets (CAL, Wang et al., Pattern Recognition 2022) from labels alone.

The authors' public code and its configuration for 64 x 48 px decide what the text leaves open.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.codecs.offset import OffsetCodec
from lib.data.batches import Batch
from lib.runs import Run
from lib.tasks.heatmap import Supervised, labelled_mean, swapped
from lib.training.distributed import mean_over_processes

OFFSET_WEIGHT = 0.7
REACH = 3  # heatmap pixels around a joint, along both axes, in which offsets are learned
REGULARISER = 1e-6  # of the covariance, whose determinant is 0 once all predictions are right


def error_distribution(error: Tensor, labelled: Tensor) -> tuple[Tensor, Tensor]:
    """Mean (2,) and covariance (2, 2), float64, of the errors (B, K, 2) of labelled (B, K) joints on all processes."""
    error = error.double() * labelled[..., None]
    square = torch.einsum("bki,bkj->ij", error, error)
    total = mean_over_processes(torch.cat((error.sum((0, 1)), square.flatten(), labelled.sum()[None])))
    mean, square = (total[:-1] / total[-1].clamp_min(1e-9)).split((2, 4))
    return mean, square.view(2, 2) - mean.outer(mean) + REGULARISER * torch.eye(2, dtype=mean.dtype, device=mean.device)


def confidence(heatmaps: Tensor, pixels: Tensor, labelled: Tensor) -> Tensor:
    """How much the offset of each pixel matters, (B, K, h, w): how often the maximum of a heatmap comes to be there.

    heatmaps: (B, K, h, w); pixels: the joints' true ones, (B, K, 2); labelled: (B, K) bool. The errors of the batch's
    maxima make a normal distribution. Its density around the true pixel, no further than REACH, is the weight; the
    greatest on the map is 1.
    """
    height, width = heatmaps.shape[-2:]
    place = heatmaps.flatten(-2).argmax(-1)
    mean, covariance = error_distribution(torch.stack((place % width, place // width), -1) - pixels, labelled)
    rows, columns = (torch.arange(n, device=heatmaps.device) for n in (height, width))
    grid = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)  # (h, w, 2)
    away = grid - pixels[:, :, None, None]
    beside = away.double() - mean
    exponent = -0.5 * torch.einsum("...i,ij,...j->...", beside, torch.linalg.inv(covariance), beside)
    exponent = exponent.masked_fill((away.abs() > REACH).any(-1), -torch.inf)
    return (exponent - exponent.amax((-2, -1), keepdim=True)).exp().float()


class ConfidenceAware(Supervised):
    """Half the squared error of the heatmaps and OFFSET_WEIGHT times the absolute error of the offsets, weighted.

    Both are means over pixels, joints and batch. The weights of the offsets, `confidence`, follow the batch's own
    mistakes, without a gradient: offsets are learned where they will be read. Joints outside the view have no loss.
    """

    codec: OffsetCodec

    def losses(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> dict[str, Tensor]:
        heatmaps, offsets = (maps.float() for maps in outputs)
        true_heatmaps, true_offsets = self.codec.encode(batch.keypoints)
        labelled = batch.visible & self.codec.inside(batch.keypoints)
        with torch.no_grad():
            pixels = torch.where(labelled[..., None], self.codec.pixels(batch.keypoints), 0)
            weights = confidence(heatmaps, pixels, labelled)
        squares = (heatmaps - true_heatmaps).square().mean((-2, -1))
        distances = (weights[:, :, None] * (offsets - true_offsets).abs()).mean((-3, -2, -1))
        return {
            "heatmap": 0.5 * (squares * labelled).mean(),
            "offset": OFFSET_WEIGHT * torch.where(labelled, distances, 0).mean(),
        }

    def errors(self, outputs: tuple[Tensor, Tensor], batch: Batch) -> Tensor:
        """Squared error of the heatmaps, summed over pixels, of joints inside the view."""
        squares = (outputs[0].float() - self.codec.encode(batch.keypoints)[0]).square().sum((2, 3))
        return labelled_mean(squares, batch.visible & self.codec.inside(batch.keypoints))

    @torch.no_grad()
    def predict(self, images: Tensor, flip_test: bool = False) -> tuple[Tensor, Tensor]:
        heatmaps, offsets = self.student(images)
        if flip_test:
            order = swapped(heatmaps.shape[1], self.flip_pairs)
            mirrored, their_offsets = (maps.flip(-1)[:, order] for maps in self.student(images.flip(3)))
            their_offsets = their_offsets * their_offsets.new_tensor([-1, 1])[:, None, None]
            heatmaps, offsets = (heatmaps + mirrored) / 2, (offsets + their_offsets) / 2
        return self.codec.decode(heatmaps, offsets)


def build(run: Run, student: nn.Module, flip_pairs: Sequence[tuple[int, int]]) -> ConfidenceAware:
    """The task of a run whose network ends in heatmaps and offsets."""
    return ConfidenceAware(student, OffsetCodec(run.input, **run.codec), flip_pairs)
