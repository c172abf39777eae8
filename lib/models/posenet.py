"""What HRNet and SimpleBaseline share: joints' maps at a quarter of the image, heatmaps or for SimCC's classes."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from lib.errors import InputError

STRIDE = 32  # input px per pixel of the coarsest features
MAP_STRIDE = 4  # input px per pixel of the joints' maps
HEADS = ("heatmap", "simcc")


def check_counts(model: str, **counts: int) -> None:
    """Raise InputError unless these settings of a network are positive whole numbers."""
    for key, count in counts.items():
        if not isinstance(count, int) or count < 1:
            raise InputError(f"model {model}: {key} is {count!r}, expected a positive whole number")


def check_list(model: str, key: str, counts: Sequence[int], length: int) -> None:
    """Raise InputError unless a setting of a network is a list of so many positive whole numbers."""
    fits = isinstance(counts, list | tuple) and len(counts) == length
    if not fits or any(not isinstance(count, int) or count < 1 for count in counts):
        raise InputError(f"model {model}: {key} is {counts!r}, expected a list of {length} positive whole numbers")


def check_size(height: int, width: int) -> None:
    """Raise InputError unless an image can be halved five times."""
    if height % STRIDE or width % STRIDE:
        raise InputError(f"network input is {height}x{width} px, expected multiples of {STRIDE}; change its size")


def in_rows(maps: Tensor) -> Tensor:
    """Each map's pixels in a row: (B, C, H, W) -> (B, C, H W), whose memory is in that order, too.

    A linear layer of channels-last maps would copy its weights once for each person.
    """
    return maps.flatten(2).contiguous()


class PoseNetwork(nn.Module, ABC):
    """Maps of joints from a backbone's features: heatmaps, or the input of SimCC's two classifiers.

    head: "heatmap", or "simcc" (Li et al., ECCV 2022): two linear layers, shared by the joints, take all pixels of a
    joint's map to classes of columns and of rows; `split` is the number of classes per input pixel, so there are
    round(W split) and round(H split). They have one size of input, `input_size`, (height, width) in px; without them
    the network takes any and ignores it.
    forward: images (B, 3, H, W), H and W multiples of 32 -> list of one (B, joints, H/4, W/4) ("heatmap") or the logits
    of x (B, joints, W split) and of y (B, joints, H split) ("simcc"). At 32 px the coarsest features are one pixel, so
    training batches need two images or more for their normalisation.
    Subclasses have their `backbone`, and in `published` the name of the published backbone of the same size, None where
    there is none.
    Raises InputError for impossible settings and for images of another size.
    """

    backbone: nn.Module
    published: str | None

    def __init__(
        self, name: str, joints: int, channels: int, head: str, split: float, input_size: Sequence[int] | None
    ):
        super().__init__()
        check_counts(name, joints=joints)
        if head not in HEADS:
            raise InputError(f"model {name}: head is {head!r}, expected one of: {', '.join(HEADS)}")
        self.joints, self.output = joints, head
        self.input_size = None
        self.head = nn.Conv2d(channels, joints, 1)
        if head == "simcc":
            if input_size is None:
                raise InputError(f"model {name}: a simcc head needs input_size, the height and width of its images")
            check_list(name, "input_size", input_size, 2)
            check_size(*input_size)
            self.input_size = height, width = tuple(input_size)
            if not isinstance(split, int | float) or round(min(height, width) * split) < 2:
                raise InputError(f"model {name}: split is {split!r}, expected two classes or more per axis; raise it")
            pixels = height * width // MAP_STRIDE**2
            self.columns = nn.Linear(pixels, round(width * split))
            self.rows = nn.Linear(pixels, round(height * split))

    @abstractmethod
    def features(self, images: Tensor) -> Tensor:
        """The features (B, channels, H/4, W/4) that the joints' maps are made of."""

    def maps(self, images: Tensor) -> Tensor:
        """The joints' maps (B, joints, H/4, W/4) of images (B, 3, H, W)."""
        height, width = images.shape[-2:]
        if self.input_size not in (None, (height, width)):
            expected = "x".join(map(str, self.input_size))
            raise InputError(f"network input is {height}x{width} px, its simcc head was built for {expected}")
        check_size(height, width)
        return self.head(self.features(images))

    def classify(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        """SimCC's logits of columns and rows, (B, joints, W split) and (B, joints, H split), of the joints' maps."""
        pixels = in_rows(maps)
        return self.columns(pixels), self.rows(pixels)

    def outputs(self, maps: Tensor) -> list[Tensor] | tuple[Tensor, Tensor]:
        """What the network tells, of the joints' maps."""
        return self.classify(maps) if self.output == "simcc" else [maps]

    def forward(self, images: Tensor) -> list[Tensor] | tuple[Tensor, Tensor]:
        return self.outputs(self.maps(images))
