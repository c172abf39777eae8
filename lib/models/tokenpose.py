"""TokenPose (Li et al., Learning Keypoint Tokens for Human Pose Estimation, ICCV 2021)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.errors import InputError
from lib.models.tokens import TokenNetwork

GROUPS = {"base": 1, "large": 3}


class TokenPose(TokenNetwork):
    """Joints' tokens beside patches of HRNet's maps in a transformer; each token then draws its joint's heatmap.

    kind: "base", whose heatmaps come from the last layer's tokens, or "large", whose layers are in three groups of
    depth / 3 and whose heatmaps come from the tokens after each group side by side. CDKD's parameters and G (Tables I
    and II) are those of all four stages of HRNet, of which TokenPose's public configurations keep three, and of large
    with depth 6 on MPII, base with depth 12 on COCO, patches of 4 x 4. patch, channels, width, blocks, modules, stem,
    input_size: see TokenNetwork, which raises InputError, too.
    forward: images (B, 3, H, W) -> list of one (B, joints, H/4, W/4).
    """

    output = "heatmap"

    def __init__(
        self,
        joints: int,
        input_size: Sequence[int],
        kind: str,
        depth: int,
        width: int,
        patch: Sequence[int] = (4, 4),
        channels: int = 192,
        blocks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        stem: int = 64,
    ):
        if kind not in GROUPS:
            raise InputError(f"model tokenpose: kind is {kind!r}, expected one of: {', '.join(GROUPS)}")
        count = GROUPS[kind]
        super().__init__("tokenpose", joints, input_size, patch, channels, depth, count, width, blocks, modules, stem)
        height, columns = self.map_size
        self.head = nn.Sequential(nn.LayerNorm(count * channels), nn.Linear(count * channels, height * columns))
        self.initialise()

    def read(self, tokens: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The heatmaps (B, joints, H/4, W/4) of the tokens after each group of layers."""
        return self.head(torch.cat([joints for joints, _ in tokens], dim=2)).unflatten(2, self.map_size)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [self.read(self.tokens(images))]


build = TokenPose  # for build_model
