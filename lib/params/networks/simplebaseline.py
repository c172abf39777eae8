"""A ResNet of bottleneck blocks with three deconvolutions (lib/models/simplebaseline.py)."""

from typing import Annotated, Literal, Self

from pydantic import Field

from lib.params.networks.hrnet import HeadNetwork
from lib.params.scales import Scale
from lib.params.sections import Parts


class Network(HeadNetwork):
    """blocks: of the four stages; width: planes of the first stage; channels: of the deconvolutions."""

    name: Literal["simplebaseline"]
    blocks: tuple[Parts, Parts, Parts, Parts]
    width: Annotated[int, Field(ge=4, le=4096, multiple_of=4)] = 64
    channels: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 256

    def scaled(self, scale: Scale, share: float) -> Self:
        width = {"width": scale.wide(self.width, 4), "channels": scale.wide(self.channels, 8)}
        depth = {"blocks": tuple(map(scale.deep, self.blocks))}
        return self.model_copy(update=depth | width | self.scaled_split(share))
