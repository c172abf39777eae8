"""CAL's network (Wang et al., Low-resolution Human Pose Estimation, Pattern Recognition 2022): heatmaps and offsets."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.models.hrnet import build_backbone, check_hrnet, published_name
from lib.models.posenet import check_counts, check_size


def blocks_and_head(width: int, outputs: int) -> tuple[nn.Module, nn.Module]:
    """Two residual blocks on the finest maps of a branch, and the convolution that reads them."""
    from torchvision.models.resnet import BasicBlock  # takes more than a second, and every stage imports this package

    return nn.Sequential(BasicBlock(width, width), BasicBlock(width, width)), nn.Conv2d(width, outputs, 1)


def transit(transition: nn.ModuleList, maps: list[Tensor]) -> list[Tensor]:
    """The inputs of HRNet's next stage: the branches as they are, and a new one from the coarsest."""
    return [maps[i] if isinstance(layer, nn.Identity) else layer(maps[-1]) for i, layer in enumerate(transition)]


class CAL(nn.Module):
    """HRNet whose last stage is there twice: one copy finds the joints' pixels, one tells where in them they are.

    Both copies see the third stage's maps; each is followed by two residual blocks and a 1x1 convolution. CDKD's
    parameters and G (Tables I and II) need all four branches in both; the authors' public configuration for 64 x 48
    px keeps three. width, blocks, modules, stem: as of HRNet.
    maps: images (B, 3, H, W) -> (B, 3 joints, H/4, W/4), the heatmaps first, then x and y of each joint's offset.
    forward: images -> heatmaps (B, joints, H/4, W/4) and offsets (B, joints, 2, H/4, W/4).
    ImageNet's weights are for the backbone, whose last stage is the heatmaps' copy, as in the authors' public code.
    """

    output = "offset"

    def __init__(self, joints: int, width: int, blocks: int = 4, modules: Sequence[int] = (1, 4, 3), stem: int = 64):
        super().__init__()
        check_hrnet("cal", width, blocks, modules, stem)
        check_counts("cal", joints=joints)
        self.joints = joints
        self.backbone = build_backbone(width, blocks, modules, stem)
        self.published = published_name(width, blocks, modules, stem)
        other = build_backbone(width, blocks, modules, stem)
        self.offset_transition, self.offset_stage = other.transition3, other.stage4
        self.blocks, self.head = blocks_and_head(width, joints)
        self.offset_blocks, self.offset_head = blocks_and_head(width, 2 * joints)

    def maps(self, images: Tensor) -> Tensor:
        """Heatmaps and offsets of images one after the other."""
        check_size(*images.shape[-2:])
        net = self.backbone
        x = net.act1(net.bn1(net.conv1(images)))
        x = net.layer1(net.act2(net.bn2(net.conv2(x))))
        x = net.stage2([layer(x) for layer in net.transition1])
        x = net.stage3(transit(net.transition2, x))
        heatmaps = self.blocks(net.stage4(transit(net.transition3, x))[0])
        offsets = self.offset_blocks(self.offset_stage(transit(self.offset_transition, x))[0])
        return torch.cat((self.head(heatmaps), self.offset_head(offsets)), dim=1)

    def outputs(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Heatmaps and offsets, apart."""
        return maps[:, : self.joints], maps[:, self.joints :].unflatten(1, (self.joints, 2))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.outputs(self.maps(images))


build = CAL  # for build_model
