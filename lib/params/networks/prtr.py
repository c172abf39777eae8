"""PRTR (lib/models/prtr.py)."""

from typing import Annotated, Literal, Self

from pydantic import Field

from lib.params.networks.hrnet import Backbone
from lib.params.scales import Scale
from lib.params.sections import Parts


class Network(Backbone):
    """queries: of which each joint gets one; depth: encoder layers, and as many decoder layers; channels: of tokens.

    hidden: channels inside the feed-forward networks; features: those of HRNet's classifiers.
    """

    name: Literal["prtr"]
    queries: Annotated[int, Field(ge=21, le=1000)] = 100  # as many as the joints of any benchmark
    depth: Parts = 6
    channels: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 256
    hidden: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 2048
    features: Annotated[int, Field(ge=64, le=4096, multiple_of=64)] = 2048

    @property
    def output(self) -> str:
        return "queries"

    def scaled(self, scale: Scale, share: float) -> Self:
        wide = {name: scale.wide(getattr(self, name), unit) for name, unit in UNITS.items()}
        return super().scaled(scale, share).model_copy(update=wide | {"depth": scale.deep(self.depth)})


UNITS = {"channels": 8, "hidden": 8, "features": 64}  # what each is a multiple of
