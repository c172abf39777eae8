"""A stack of hourglasses of plain residuals (lib/models/hourglass.py)."""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field

from lib.params import networks
from lib.params.scales import Scale
from lib.params.sections import Count


class Network(networks.Network):
    """stem: "newell" (the Torch one), or "pytorch-pose", whose width follows the channels."""

    unit: ClassVar[int] = 64

    name: Literal["hourglass"]
    stacks: Count
    channels: Annotated[int, Field(ge=4, multiple_of=4)]
    stem: Literal["newell", "pytorch-pose"]

    def scaled(self, scale: Scale, share: float) -> Self:
        sizes = {"stacks": scale.deep(self.stacks), "channels": scale.wide(self.channels, 4)}
        return self.model_copy(update=sizes | {"stem": scale.stem or self.stem})

    def branches(self, auxiliary: tuple[int, ...], shared: int) -> tuple["Network", ...]:
        """auxiliary: stacks of each, the shared ones included."""
        if shared >= min(self.stacks, *auxiliary):
            raise ValueError(
                f"shared is {shared}, but branches have {[self.stacks, *auxiliary]} stacks, the shared ones included: "
                "each needs one of its own"
            )
        return tuple(self.model_copy(update={"stacks": stacks}) for stacks in auxiliary)
