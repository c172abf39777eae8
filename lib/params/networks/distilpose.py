"""DistilPose (lib/models/distilpose.py)."""

from typing import Literal

from lib.params.networks.tokenpose import TokenNetwork


class Network(TokenNetwork):
    """TokenPose's tokens, which tell coordinates."""

    name: Literal["distilpose"]

    @property
    def output(self) -> str:
        return "coordinates"

    @property
    def learns_from(self) -> str:
        return "heatmap"
