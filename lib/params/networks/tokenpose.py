"""TokenPose (lib/models/tokenpose.py)."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from lib.params.networks.hrnet import Backbone
from lib.params.scales import Scale
from lib.params.sections import Parts, Size


class TokenNetwork(Backbone):
    """Tokens of joints and of patches; it has one size of input.

    patch: height and width of a patch, in px of maps at a quarter of the input; depth: transformer layers; channels: of
    tokens.
    """

    patch: tuple[Parts, Parts] = (4, 4)
    depth: Parts
    channels: Annotated[int, Field(ge=8, le=4096, multiple_of=8)] = 192

    def spec(self, size: Size) -> dict[str, Any]:
        return super().spec(size) | {"input_size": list(size)}

    def scaled(self, scale: Scale, share: float) -> Self:
        tokens = {"depth": scale.deep(self.depth), "channels": scale.wide(self.channels, 8)}
        return super().scaled(scale, share).model_copy(update=tokens)


class Network(TokenNetwork):
    """kind: "base", or "large", whose layers are in three groups."""

    name: Literal["tokenpose"]
    kind: Literal["base", "large"]

    @model_validator(mode="after")
    def whole_groups(self) -> Self:
        if self.kind == "large" and self.depth % 3:
            raise ValueError(f"depth is {self.depth}; a large TokenPose has a multiple of 3")
        return self

    def scaled(self, scale: Scale, share: float) -> Self:
        groups = 3 if self.kind == "large" else 1
        depth = groups * scale.deep(self.depth // groups)
        return super().scaled(scale, share).model_copy(update={"depth": depth})
