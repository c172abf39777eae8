"""SimpleBaseline (Xiao et al., Simple Baselines for Human Pose Estimation and Tracking, ECCV 2018)."""

from collections.abc import Sequence

from torch import Tensor, nn

from lib.models.posenet import PoseNetwork, check_counts, check_list
from lib.models.resnet import resnet

PUBLISHED = {(3, 4, 6, 3): "ResNet-50", (3, 8, 36, 3): "ResNet-152"}  # with a width of 64


def upsampling(inputs: int, outputs: int) -> tuple[nn.Module, ...]:
    """The layers that double height and width."""
    deconvolution = nn.ConvTranspose2d(inputs, outputs, 4, stride=2, padding=1, bias=False)
    return deconvolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)


class SimpleBaseline(PoseNetwork):
    """A ResNet down to 1/32 of the image, then three deconvolutions up to a quarter.

    blocks: of the four stages, [3, 4, 6, 3] in ResNet-50 and [3, 8, 36, 3] in ResNet-152. width: planes of the first
    stage, doubled from one stage to the next; 64 is the published one. channels: of the deconvolutions.
    Initialisation is torchvision's for the ResNet (He et al., fan-out) and PyTorch's default for the rest.
    head, split, input_size and shapes: see PoseNetwork, which raises InputError, too.
    """

    def __init__(
        self,
        joints: int,
        blocks: Sequence[int],
        width: int = 64,
        channels: int = 256,
        head: str = "heatmap",
        split: float = 2.0,
        input_size: Sequence[int] | None = None,
    ):
        check_list("simplebaseline", "blocks", blocks, 4)
        check_counts("simplebaseline", width=width, channels=channels)
        super().__init__("simplebaseline", joints, channels, head, split, input_size)
        self.backbone = resnet("bottleneck", blocks, width)
        self.published = PUBLISHED.get(tuple(blocks)) if width == 64 else None
        deepest = 8 * width * 4  # planes double three times, and a block's output has four times as many channels
        self.deconvolutions = nn.Sequential(
            *upsampling(deepest, channels), *upsampling(channels, channels), *upsampling(channels, channels)
        )

    def features(self, images: Tensor) -> Tensor:
        return self.deconvolutions(self.backbone(images))


build = SimpleBaseline  # for build_model
