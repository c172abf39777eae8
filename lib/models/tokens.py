"""What TokenPose and DistilPose share: a transformer over patches of HRNet's maps and one learned token per joint."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.errors import InputError
from lib.models.hrnet import build_backbone, check_hrnet, published_name
from lib.models.posenet import MAP_STRIDE, check_counts, check_list, check_size

HEADS = 8
EXPANSION = 3  # of the channels inside a layer's feed-forward network
TEMPERATURE = 10000


def sine_positions(height: int, width: int, channels: int) -> Tensor:
    """Sines and cosines of each pixel's row and column, (height * width, channels); channels a multiple of four.

    Half the channels tell the row, half the column: the share of the way, times 2 pi, over falling frequencies, a sine
    and a cosine of each (as in DETR, Carion et al., ECCV 2020).
    """
    half = channels // 2
    frequencies = TEMPERATURE ** -(2 * torch.arange(half // 2) / half)

    def waves(length: int) -> Tensor:
        angles = 2 * math.pi * torch.arange(1, length + 1)[:, None] / length * frequencies
        return torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)

    rows, columns = waves(height)[:, None], waves(width)[None]
    grid = (rows.expand(-1, width, -1), columns.expand(height, -1, -1))
    return torch.cat(grid, dim=-1).flatten(0, 1)


class Layer(nn.Module):
    """Self-attention and a feed-forward network, each after a normalisation and added to its input: (B, N, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.before_attention, self.before_feed = nn.LayerNorm(channels), nn.LayerNorm(channels)
        self.project = nn.Linear(channels, 3 * channels, bias=False)
        self.merge = nn.Linear(channels, channels)
        self.feed = nn.Sequential(
            nn.Linear(channels, EXPANSION * channels), nn.GELU(), nn.Linear(EXPANSION * channels, channels)
        )

    def forward(self, tokens: Tensor) -> Tensor:
        projected = self.project(self.before_attention(tokens)).unflatten(2, (3, HEADS, -1))
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.merge(mixed)
        return tokens + self.feed(self.before_feed(tokens))


class TokenNetwork(nn.Module):
    """HRNet's finest maps cut into patches, a token each, and a token per joint, in transformer layers.

    depth: of the layers, in so many `groups` of equal length. patch: height and width of a patch in pixels of the maps.
    channels: of the tokens, a multiple of eight. Sine positions are added to the patches before the first layer and
    again before every other that does not begin a group ("sine-full" in TokenPose's public code). width, blocks,
    modules, stem: as of HRNet. There is one size of input, input_size, (height, width) in px. Linear layers start from
    a normal distribution of deviation 0.02, cut at 2, and joints' tokens, too, as in TokenPose's public code.
    Raises InputError for impossible settings and for images of another size.
    """

    def __init__(
        self,
        name: str,
        joints: int,
        input_size: Sequence[int],
        patch: Sequence[int],
        channels: int,
        depth: int,
        groups: int,
        width: int,
        blocks: int,
        modules: Sequence[int],
        stem: int,
    ):
        super().__init__()
        check_hrnet(name, width, blocks, modules, stem)
        check_counts(name, joints=joints, channels=channels)
        check_list(name, "input_size", input_size, 2)
        check_list(name, "patch", patch, 2)
        check_size(*input_size)
        if not isinstance(depth, int) or depth < 1 or depth % groups:
            raise InputError(f"model {name}: depth is {depth!r}, expected a positive multiple of {groups}")
        if channels % HEADS:
            raise InputError(f"model {name}: channels is {channels}, expected a multiple of {HEADS}")
        sides = [side // MAP_STRIDE for side in input_size]
        if any(side % part for side, part in zip(sides, patch, strict=True)):
            maps, wanted = ("x".join(map(str, numbers)) for numbers in (sides, patch))
            raise InputError(f"model {name}: patches of {wanted} do not fill maps of {maps} px; choose divisors")
        self.joints, self.input_size, self.patch, self.map_size = joints, tuple(input_size), tuple(patch), tuple(sides)
        self.backbone = build_backbone(width, blocks, modules, stem)
        self.published = published_name(width, blocks, modules, stem)
        rows, columns = (side // part for side, part in zip(sides, patch, strict=True))
        self.register_buffer("positions", sine_positions(rows, columns, channels))
        self.joint_tokens = nn.Parameter(torch.empty(joints, channels))
        self.embed = nn.Linear(patch[0] * patch[1] * width, channels)
        self.groups = nn.ModuleList(
            nn.ModuleList(Layer(channels) for _ in range(depth // groups)) for _ in range(groups)
        )

    def initialise(self) -> None:
        """Draw the first weights of all linear layers and of the joints' tokens."""
        nn.init.trunc_normal_(self.joint_tokens, std=0.02)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=0.02)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def tokens(self, images: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The tokens of the joints (B, joints, C) and of the patches (B, N, C) after each group of layers."""
        if images.shape[-2:] != self.input_size:
            given, expected = ("x".join(map(str, size)) for size in (images.shape[-2:], self.input_size))
            raise InputError(f"network input is {given} px, it was built for {expected}")
        (height, width), maps = self.patch, self.backbone(images)[0]
        patches = maps.unflatten(3, (-1, width)).unflatten(2, (-1, height))  # (B, C, rows, h, columns, w)
        patches = patches.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)
        joints = self.joint_tokens.expand(images.shape[0], -1, -1)  # `len` would make exports have one size of batch
        tokens = torch.cat((joints, self.embed(patches) + self.positions), dim=1)
        after = []
        for group in self.groups:
            for number, layer in enumerate(group):
                if number > 0:
                    tokens = torch.cat((tokens[:, : self.joints], tokens[:, self.joints :] + self.positions), dim=1)
                tokens = layer(tokens)
            after.append((tokens[:, : self.joints], tokens[:, self.joints :]))
        return after
