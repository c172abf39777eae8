"""RLE's network (lib/models/rle.py)."""

from typing import Any, Literal

from lib.params.networks.hrnet import Backbone
from lib.params.sections import Size


class Network(Backbone):
    """HRNet whose maps are regressed to coordinates; it has one size of input."""

    name: Literal["rle"]

    @property
    def output(self) -> str:
        return "coordinates"

    def spec(self, size: Size) -> dict[str, Any]:
        return super().spec(size) | {"input_size": list(size)}
