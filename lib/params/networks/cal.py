"""HRNet with a second last stage for offsets (lib/models/cal.py)."""

from typing import Literal

from lib.params.networks.hrnet import Backbone


class Network(Backbone):
    """CAL's network."""

    name: Literal["cal"]

    @property
    def output(self) -> str:
        return "offset"
