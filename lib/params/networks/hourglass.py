"""A stack of hourglasses of plain residuals (lib/models/hourglass.py)."""

from math import log2
from typing import Annotated, Literal, Self

from pydantic import Field

from lib.params import networks
from lib.params.scales import Scale
from lib.params.sections import Parts


class Network(networks.Network):
    """stem: "newell" (the Torch one), or "pytorch-pose", whose width follows the channels.

    halvings: of the maps inside an hourglass.
    """

    name: Literal["hourglass"]
    stacks: Parts
    channels: Annotated[int, Field(ge=4, le=4096, multiple_of=4)]
    stem: Literal["newell", "pytorch-pose"]
    halvings: Parts = 4

    @property
    def unit(self) -> int:
        return 4 * 2**self.halvings

    def scaled(self, scale: Scale, share: float) -> Self:
        """Smaller maps are halved less often, so that the coarsest keeps its size.

        On maps of a pixel batch normalisation learns from as many numbers as a batch has people, and in evaluation what
        it lets through grows a hundredfold on crops that are darker than most.
        """
        sizes = {"stacks": scale.deep(self.stacks), "channels": scale.wide(self.channels, 4)}
        sizes |= {"halvings": max(1, self.halvings + round(log2(share)))}
        return self.model_copy(update=sizes | {"stem": scale.stem or self.stem})

    def branches(self, auxiliary: tuple[int, ...], shared: int) -> tuple["Network", ...]:
        """auxiliary: stacks of each, the shared ones included."""
        if shared >= min(self.stacks, *auxiliary):
            raise ValueError(
                f"shared is {shared}, but branches have {[self.stacks, *auxiliary]} stacks, the shared ones included: "
                "each needs one of its own"
            )
        return tuple(self.model_copy(update={"stacks": stacks}) for stacks in auxiliary)
