"""PRTR, two-stage (Li et al., Pose Recognition with Cascade Transformers, CVPR 2021)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.errors import InputError
from lib.models.hrnet import check_hrnet, configuration, published_name
from lib.models.posenet import check_counts, check_size
from lib.models.tokens import sine_positions

HEADS = 8
UNIT = 64  # channels of the features per plane of the head's first bottleneck


def build_trunk(width: int, blocks: int, modules: Sequence[int], stem: int, features: int) -> nn.Module:
    """Build timm's HRNet with what its classifiers have between the branches and the pooling, under the same names.

    A bottleneck on each branch; from one branch to the next, a convolution halves the maps and adds them; a 1x1
    convolution ends at `features` channels, 2,048 in all published ones, a multiple of 64.
    """
    from timm.models.hrnet import HighResolutionNet  # takes seconds, and every stage imports this package
    from timm.models.resnet import Bottleneck

    def convolution(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Sequential:
        layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2)
        return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))

    trunk = HighResolutionNet(configuration(width, blocks, modules, stem), head="")
    planes = [features // UNIT * 2**branch for branch in range(4)]
    trunk.incre_modules = nn.ModuleList(
        trunk._make_layer(Bottleneck, width * 2**branch, count, 1) for branch, count in enumerate(planes)
    )
    trunk.downsamp_modules = nn.ModuleList(convolution(4 * count, 8 * count, 3, 2) for count in planes[:-1])
    trunk.final_layer = convolution(4 * planes[-1], features, 1, 1)
    trunk.init_weights()
    return trunk


class Attention(nn.Module):
    """Multi-head attention and its normalisation after adding the result to the query's tokens: (B, N, C)."""

    def __init__(self, channels: int):
        super().__init__()
        self.attend, self.norm = nn.MultiheadAttention(channels, HEADS, batch_first=True), nn.LayerNorm(channels)

    def forward(self, tokens: Tensor, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        return self.norm(tokens + self.attend(query, key, value, need_weights=False)[0])


class Feed(nn.Module):
    """A feed-forward network and its normalisation after adding the result to its input: (B, N, C)."""

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))
        self.norm = nn.LayerNorm(channels)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.norm(tokens + self.layers(tokens))


class PRTR(nn.Module):
    """The features of HRNet's classifiers in a transformer whose queries each claim a joint, or none, and place it.

    The features, `features` channels at 1/32 of the image, a single pixel at 32 px, are reduced to `channels`; `depth`
    encoder layers attend to them, with sine positions on queries and keys, and `depth` decoder layers let the learned
    queries attend to each other and to them. A linear layer tells after each decoder layer which joint a query is, the
    last class being none, and three layers where it is. hidden: channels inside the feed-forward networks. width,
    blocks, modules, stem: as of HRNet. The second of PRTR's stages alone: people are cut out as for all other rows.
    The transformer starts as DETR's (Glorot's uniform distribution).
    forward: images (B, 3, H, W), H and W multiples of 32 -> logits (depth, B, queries, joints + 1) and fractions of the
    view (depth, B, queries, 2) after each decoder layer. At 32 px training batches need two images or more.
    Raises InputError for impossible settings and for images of another size.
    """

    output = "queries"

    def __init__(
        self,
        joints: int,
        width: int,
        queries: int = 100,
        depth: int = 6,
        channels: int = 256,
        hidden: int = 2048,
        features: int = 2048,
        blocks: int = 4,
        modules: Sequence[int] = (1, 4, 3),
        stem: int = 64,
    ):
        super().__init__()
        check_hrnet("prtr", width, blocks, modules, stem)
        check_counts("prtr", joints=joints, queries=queries, depth=depth, channels=channels, hidden=hidden)
        if queries < joints:
            raise InputError(f"model prtr: {queries} queries for {joints} joints, expected as many or more")
        if channels % HEADS:
            raise InputError(f"model prtr: channels is {channels}, expected a multiple of {HEADS}")
        if not isinstance(features, int) or features < UNIT or features % UNIT:
            raise InputError(f"model prtr: features is {features!r}, expected a positive multiple of {UNIT}")
        self.joints = joints
        self.backbone = build_trunk(width, blocks, modules, stem, features)
        self.published = published_name(width, blocks, modules, stem) if features == 2048 else None
        self.reduce = nn.Conv2d(features, channels, 1)
        self.encoder = nn.ModuleList(
            nn.ModuleDict({"attend": Attention(channels), "feed": Feed(channels, hidden)}) for _ in range(depth)
        )
        self.decoder = nn.ModuleList(
            nn.ModuleDict({"own": Attention(channels), "attend": Attention(channels), "feed": Feed(channels, hidden)})
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(channels)
        for parameter in (*self.encoder.parameters(), *self.decoder.parameters()):
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)
        self.queries = nn.Parameter(torch.randn(queries, channels))
        self.classify = nn.Linear(channels, joints + 1)
        layers = [layer for _ in range(2) for layer in (nn.Linear(channels, channels), nn.ReLU(inplace=True))]
        self.place = nn.Sequential(*layers, nn.Linear(channels, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        check_size(*images.shape[-2:])
        maps = self.reduce(self.backbone.forward_features(images))
        positions = sine_positions(*maps.shape[-2:], maps.shape[1]).to(maps)
        memory = maps.flatten(2).transpose(1, 2)
        for layer in self.encoder:
            placed = memory + positions
            memory = layer["feed"](layer["attend"](memory, placed, placed, memory))
        keys, tokens, after = memory + positions, torch.zeros_like(self.queries.expand(len(images), -1, -1)), []
        for layer in self.decoder:
            asked = tokens + self.queries
            tokens = layer["own"](tokens, asked, asked, tokens)
            tokens = layer["feed"](layer["attend"](tokens, tokens + self.queries, keys, memory))
            after.append(self.norm(tokens))
        states = torch.stack(after)
        return self.classify(states), self.place(states).sigmoid()


build = PRTR  # for build_model
