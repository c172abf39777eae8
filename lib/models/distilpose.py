"""DistilPose (Ye et al., Tokenized Pose Regression with Heatmap Distillation, CVPR 2023)."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.tokens import TokenNetwork


class DistilPose(TokenNetwork):
    """TokenPose's tokens, each of which tells its joint's coordinates instead of drawing its heatmap.

    From the last layer's token of a joint one linear layer gives x and y as fractions of the view, a score, and the
    standard deviations of a Gaussian that stands for the joint, in pixels of the heatmap. CDKD's parameters and G
    (Table II) are those of all four stages of HRNet-W32, depth 12, and patches that leave 16 tokens: 2 x 2 at 32 px
    and 4 x 4 at 64 px. patch, channels, width, blocks, modules, stem, input_size: see TokenNetwork, which raises
    InputError, too.
    forward: images (B, 3, H, W) -> fractions (B, joints, 2), deviations (B, joints, 2) and scores (B, joints).
    """

    output = "coordinates"

    def __init__(
        self,
        joints: int,
        input_size: Sequence[int],
        depth: int,
        width: int,
        patch: Sequence[int] = (4, 4),
        channels: int = 192,
        blocks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        stem: int = 64,
    ):
        super().__init__("distilpose", joints, input_size, patch, channels, depth, 1, width, blocks, modules, stem)
        self.head = nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, 5))
        self.initialise()

    def read(self, tokens: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Fractions, deviations and scores of the tokens after the layers."""
        numbers = self.head(tokens[-1][0]).float()
        return numbers[..., :2].sigmoid(), F.softplus(numbers[..., 3:]), numbers[..., 2]

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.read(self.tokens(images))


build = DistilPose  # for build_model
