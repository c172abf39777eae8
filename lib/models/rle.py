"""The network of RLE (Li et al., Human Pose Regression with Residual Log-likelihood Estimation, ICCV 2021)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.errors import InputError
from lib.models.hrnet import build_backbone, check_hrnet, published_name
from lib.models.posenet import MAP_STRIDE, check_counts, check_list, check_size

GAIN = 0.01  # of the layers' first weights


class RLE(nn.Module):
    """A linear layer that tells all joints' coordinates, and one that tells how far off each may be.

    They take HRNet's finest maps as they are, pixel by pixel: that fits the parameters and the G of CDKD's Table II at
    64 px; the published network averages over the pixels first, and its HRNet has another head, with which CDKD's row
    would have 39.4 M. The coordinates' layer sees them divided by their length. width, blocks, modules,
    stem: as of HRNet. There is one size of input, input_size, (height, width) in px.
    forward: images (B, 3, H, W) -> fractions of the view (B, joints, 2), deviations (B, joints, 2) in the same unit,
    and scores (B, joints), 1 less the mean deviation.
    Raises InputError for impossible settings and for images of another size.
    """

    output = "coordinates"

    def __init__(
        self,
        joints: int,
        input_size: Sequence[int],
        width: int,
        blocks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        stem: int = 64,
    ):
        super().__init__()
        check_hrnet("rle", width, blocks, modules, stem)
        check_counts("rle", joints=joints)
        check_list("rle", "input_size", input_size, 2)
        check_size(*input_size)
        self.joints, self.input_size = joints, tuple(input_size)
        self.backbone = build_backbone(width, blocks, modules, stem)
        self.published = published_name(width, blocks, modules, stem)
        features = width * math.prod(input_size) // MAP_STRIDE**2
        self.coordinates, self.deviations = nn.Linear(features, 2 * joints), nn.Linear(features, 2 * joints)
        for layer in (self.coordinates, self.deviations):
            nn.init.xavier_uniform_(layer.weight, gain=GAIN)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if images.shape[-2:] != self.input_size:
            given, expected = ("x".join(map(str, size)) for size in (images.shape[-2:], self.input_size))
            raise InputError(f"network input is {given} px, it was built for {expected}")
        features = self.backbone(images)[0].flatten(1)
        length = torch.linalg.vector_norm(features, dim=1, keepdim=True)
        shares = self.coordinates(features / length) + 0.5  # from the middle of the view
        deviations = self.deviations(features).sigmoid().unflatten(1, (self.joints, 2))
        return shares.unflatten(1, (self.joints, 2)), deviations, 1 - deviations.mean(2)


build = RLE  # for build_model
