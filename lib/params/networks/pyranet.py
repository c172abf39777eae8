"""A stack of hourglasses of pyramid residuals (lib/models/pyranet.py)."""

from typing import Literal

from lib.params.networks import hourglass


class Network(hourglass.Network):
    """Settings as of an hourglass."""

    name: Literal["pyranet"]
