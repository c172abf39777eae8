"""An image classifier's encoder with a light decoder (lib/models/mobilepose.py)."""

from typing import Annotated, Literal, Self

from pydantic import Field

from lib.params import networks
from lib.params.scales import Scale


class Network(networks.Network):
    """channels: of the decoder."""

    name: Literal["mobilepose"]
    encoder: Literal["resnet18", "mobilenet_v2", "shufflenet_v2"]
    channels: Annotated[int, Field(ge=8, le=4096, multiple_of=8)]

    def scaled(self, scale: Scale, share: float) -> Self:
        """Only the decoder shrinks: the encoder is a published one."""
        return self.model_copy(update={"channels": scale.wide(self.channels, 8)})

    def branches(self, auxiliary: tuple[int, ...], shared: int) -> tuple["Network", ...]:
        """auxiliary: 1 for each."""
        if shared or set(auxiliary) != {1}:
            raise ValueError(
                f"shared is {shared} and auxiliary {list(auxiliary)}; branches of a MobilePose share the encoder and "
                "have one decoder each: shared 0 and a 1 for each further branch"
            )
        return (self,) * len(auxiliary)
