"""A ResNet that tells the joints' positions in space (lib/models/resnet.py)."""

from typing import Annotated, Literal, Self

from pydantic import Field

from lib.params import networks
from lib.params.scales import Scale
from lib.params.sections import Parts


class Network(networks.Network):
    """blocks: of the four stages, [2, 2, 2, 2] basic ones in ResNet-18, [3, 4, 6, 3] bottlenecks in ResNet-50.

    width: planes of the first stage.
    """

    name: Literal["resnet"]
    block: Literal["basic", "bottleneck"]
    blocks: tuple[Parts, Parts, Parts, Parts]
    width: Annotated[int, Field(ge=4, le=4096, multiple_of=4)] = 64

    @property
    def output(self) -> str:
        return "pose"

    def scaled(self, scale: Scale, share: float) -> Self:
        sizes = {"blocks": tuple(map(scale.deep, self.blocks)), "width": scale.wide(self.width, 4)}
        return self.model_copy(update=sizes)
