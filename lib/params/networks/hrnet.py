"""HRNet with a head of one map per joint (lib/models/hrnet.py)."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field

from lib.params import networks
from lib.params.scales import Scale
from lib.params.sections import Parts, Positive, Size


class HeadNetwork(networks.Network):
    """A network with a head for heatmaps or for SimCC's classes; split: classes per input px."""

    head: Literal["heatmap", "simcc"]
    split: Positive = 2.0

    @property
    def output(self) -> str:
        return self.head

    @property
    def published(self) -> bool:
        return True

    def scaled_split(self, share: float) -> dict[str, float]:
        """SimCC's classes stay as many as the paper's where its input shrinks."""
        return {"split": self.split / share}

    def spec(self, size: Size) -> dict[str, Any]:
        """A SimCC head has one size of input."""
        return super().spec(size) | ({"input_size": list(size)} if self.head == "simcc" else {})

    def codec(self) -> dict[str, Any]:
        return {"split": self.split} if self.head == "simcc" else {}


class Network(HeadNetwork):
    """By default with the depth of all published ones.

    blocks: of each branch of a module; modules: of stages 2 to 4; stem: channels of the first convolution and planes of
    the first stage.
    """

    name: Literal["hrnet"]
    width: Annotated[int, Field(ge=4, le=4096, multiple_of=4)]
    blocks: Parts = 4
    modules: tuple[Parts, Parts, Parts] = (1, 4, 3)
    stem: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 64

    def scaled(self, scale: Scale, share: float) -> Self:
        depth = {"blocks": scale.deep(self.blocks), "modules": tuple(map(scale.deep, self.modules))}
        width = {"width": scale.wide(self.width, 4), "stem": scale.wide(self.stem, 8)}
        return self.model_copy(update=depth | width | self.scaled_split(share))
