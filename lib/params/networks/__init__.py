"""Networks as params.yaml describes them: a module per architecture, named as in lib/models, with a class Network."""

from abc import ABC, abstractmethod
from typing import Any, Self

from lib.params.scales import Scale
from lib.params.sections import Section, Size


class Network(Section, ABC):
    """One architecture's settings.

    unit: a side of the input is a multiple of so many px. output: the codec of what comes out.
    """

    name: str

    @property
    def unit(self) -> int:
        return 32

    @property
    def output(self) -> str:
        return "heatmap"

    @property
    def published(self) -> bool:
        """Whether there are ImageNet weights for its backbone where it has the published size."""
        return False

    @abstractmethod
    def scaled(self, scale: Scale, share: float) -> Self:
        """The network at a profile's scale, each part at least the least that it can have; share: of the input."""

    def spec(self, size: Size) -> dict[str, Any]:
        """What build_model takes, but for the joints; size: of the input, height and width in px."""
        return self.model_dump(mode="json")

    def codec(self) -> dict[str, Any]:
        """What the codec of the output has to know of the network."""
        return {}

    def branches(self, auxiliary: tuple[int, ...], shared: int) -> tuple["Network", ...]:
        """The networks of OKDHP's further branches. Raises ValueError where this one has none of the kind."""
        raise ValueError(
            f"a network named {self.name} has no branches; expected an hourglass, a pyranet or a mobilepose"
        )
