"""ResNet (He et al., CVPR 2016): the layers, and a network on them that tells the joints' positions in space."""

from collections import OrderedDict
from collections.abc import Sequence

from torch import Tensor, nn

from lib.errors import InputError
from lib.models.posenet import check_counts, check_list

# Of each kind of block: torchvision's name, and the channels of its output per plane.
BLOCKS = {"basic": ("BasicBlock", 1), "bottleneck": ("Bottleneck", 4)}


def resnet(block: str, blocks: Sequence[int], width: int) -> nn.Sequential:
    """Build the layers of torchvision's ResNet before its pooling, by the same names.

    block: "basic" or "bottleneck"; blocks: their number in each of the four stages. width: planes of the first stage,
    and channels of the stem; 64 in torchvision, with whose values the initialisation agrees, too.
    """
    from torchvision.models import resnet as published  # takes more than a second, and every stage imports this package

    name, expansion = BLOCKS[block]
    kind = getattr(published, name)
    layers = OrderedDict(
        conv1=nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False),
        bn1=nn.BatchNorm2d(width),
        relu=nn.ReLU(inplace=True),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
    )
    inputs = width
    for stage, count in enumerate(blocks):
        planes, stride = width * 2**stage, 1 if stage == 0 else 2
        outputs, shortcut = planes * expansion, None
        if stride > 1 or inputs != outputs:
            shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        others = (kind(outputs, planes) for _ in range(count - 1))
        layers[f"layer{stage + 1}"] = nn.Sequential(kind(inputs, planes, stride, shortcut), *others)
        inputs = outputs
    network = nn.Sequential(layers)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network


class PoseResNet(nn.Module):
    """A ResNet whose last layer gives the position of every joint (CMKG Sect. 5.1).

    block: "basic" or "bottleneck"; blocks: their number in the four stages, basic [2, 2, 2, 2] in ResNet-18, bottleneck
    [3, 4, 6, 3] in ResNet-50. width: planes of the first stage, doubled from one stage to the next; 64 is the published
    one. Names of layers and initialisation are torchvision's.
    forward: images (B, 3, H, W) -> (B, joints, 3). Raises InputError for impossible settings.
    """

    output = "pose"

    def __init__(self, joints: int, block: str, blocks: Sequence[int], width: int = 64):
        super().__init__()
        check_counts("resnet", joints=joints, width=width)
        check_list("resnet", "blocks", blocks, 4)
        if block not in BLOCKS:
            raise InputError(f"model resnet: block is {block!r}, expected one of: {', '.join(BLOCKS)}")
        for name, layer in resnet(block, blocks, width).named_children():
            self.add_module(name, layer)
        self.joints, self.channels = joints, 8 * width * BLOCKS[block][1]  # planes double three times
        self.fc = nn.Linear(self.channels, 3 * joints)

    def activations(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        """The pose (B, joints, 3) and the maps (B, C, h, w) after each of the four stages."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        maps = []
        for stage in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = stage(x)
            maps.append(x)
        return self.fc(x.mean((2, 3))).unflatten(1, (self.joints, 3)), maps

    def forward(self, images: Tensor) -> Tensor:
        return self.activations(images)[0]


build = PoseResNet  # for build_model
