"""MobilePose, the encoder-decoder of OKDHP's supplement: an image classifier's features upsampled to heatmaps."""

from torch import Tensor, nn

from lib.errors import InputError

STRIDE = 32  # input px per pixel of the encoder's last features
# Number of leading layers that make the stem, its width, and the width of the last features.
ENCODERS = {"resnet18": (4, 64, 512), "mobilenet_v2": (3, 24, 1280), "shufflenet_v2": (2, 24, 1024)}


def encoder_layers(name: str) -> list[nn.Module]:
    """Build the layers of a torchvision classifier before its pooling, with random weights drawn as torchvision does.

    MobileNetV2 and ShuffleNetV2 are those of width 1.
    """
    from torchvision import models  # takes more than a second, and every stage imports this package

    if name == "resnet18":
        return list(models.resnet18().children())[:-2]
    if name == "mobilenet_v2":
        return list(models.mobilenet_v2().features)
    return list(models.shufflenet_v2_x1_0().children())[:-1]


def upsampling(inputs: int, outputs: int) -> nn.Sequential:
    """Build a DUC ("dense upsampling convolution"): every pixel's 2 x 2 finer ones come from channels of a 3x3."""
    return nn.Sequential(
        *(nn.Conv2d(inputs, 4 * outputs, 3, padding=1, bias=False), nn.BatchNorm2d(4 * outputs)),
        *(nn.ReLU(inplace=True), nn.PixelShuffle(2)),
    )


class MobilePose(nn.Module):
    """A classifier's layers down to 1/32 of the image, then three upsampling convolutions and a 1x1 head.

    encoder: "resnet18", "mobilenet_v2" or "shufflenet_v2". Its first layers, up to the one that reaches a quarter of
    the image, are the `stem`. channels: of the decoder's first layer; each upsampling leaves half as many. There are no
    skip connections. OKDHP names YuliangXiu/MobilePose-pytorch as its source: this is that network without what turns
    its heatmaps into coordinates. Initialisation is torchvision's for the encoder and PyTorch's default for the
    decoder.
    forward: images (B, 3, H, W), H and W multiples of 32 -> list of one (B, joints, H/4, W/4). At 32 px the coarsest
    map is one pixel, so training batches need two images or more for their normalisation.
    As a branch of a bigger network it runs in two parts, `trunk` and `branch`; branches share the whole encoder
    (OKDHP, supplement), so `shared`, the number of shared stacks elsewhere, is always 0.
    Raises InputError for impossible settings and for images of another size.
    """

    output = "heatmap"

    def __init__(self, joints: int, encoder: str, channels: int = 256):
        super().__init__()
        for key, value, unit in (("joints", joints, 1), ("channels", channels, 8)):
            if not isinstance(value, int) or value < unit or value % unit:
                raise InputError(f"model mobilepose: {key} is {value!r}, expected a positive multiple of {unit}")
        if encoder not in ENCODERS:
            raise InputError(f"model mobilepose: encoder is {encoder!r}, expected one of: {', '.join(ENCODERS)}")
        depth, self.stem_channels, features = ENCODERS[encoder]
        layers = encoder_layers(encoder)
        self.width, self.joints = channels, joints
        self.stem = nn.Sequential(*layers[:depth])
        self.encoder = nn.Sequential(*layers[depth:])
        self.decoder = nn.Sequential(
            nn.Conv2d(features, channels, 1, bias=False),
            *(upsampling(channels // n, channels // (2 * n)) for n in (1, 2, 4)),
            nn.Conv2d(channels // 8, joints, 1, bias=False),
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        height, width = images.shape[-2:]
        if height % STRIDE or width % STRIDE:
            raise InputError(f"network input is {height}x{width} px, expected multiples of {STRIDE}; change its size")
        return self.branch(self.trunk(self.stem(images), 0)[0], 0)

    def trunk(self, x: Tensor, shared: int) -> tuple[Tensor, list[Tensor]]:
        """Take the stem's output through the encoder: the decoder's input, and no heatmaps yet."""
        return self.encoder(x), []

    def branch(self, x: Tensor, shared: int) -> list[Tensor]:
        """The heatmaps of the encoder's features x."""
        return [self.decoder(x)]

    def share(self, other: "MobilePose", shared: int) -> None:
        """Take over another network's stem and encoder, as the same modules."""
        self.stem, self.encoder = other.stem, other.encoder


build = MobilePose  # for build_model
