"""Networks: one file per architecture, built from a spec."""

import inspect

from torch import nn

from lib.errors import InputError
from lib.models.hourglass import StackedHourglass
from lib.models.mobilepose import MobilePose
from lib.models.pyranet import PyraNet

ARCHITECTURES = {"hourglass": StackedHourglass, "pyranet": PyraNet, "mobilepose": MobilePose}


def build_model(spec: dict) -> nn.Module:
    """Build the network that `spec` describes: `name`, `joints` and the architecture's own keys.

    hourglass, pyranet: stacks, channels (256), stem ("newell" | "pytorch-pose"). mobilepose: encoder ("resnet18" |
    "mobilenet_v2" | "shufflenet_v2"), channels (256). Its `output` names the codec.
    Raises InputError for unknown names, unknown or missing keys and impossible values.
    """
    settings = dict(spec)
    name = settings.pop("name", None)
    if name not in ARCHITECTURES:
        raise InputError(f"model name {name!r}: unknown architecture, expected one of: {', '.join(ARCHITECTURES)}")
    keys = inspect.signature(ARCHITECTURES[name]).parameters
    for key in settings:
        if key not in keys:
            raise InputError(f"model {name}: unknown key {key!r}, allowed are: name, {', '.join(keys)}")
    for key, parameter in keys.items():
        if parameter.default is parameter.empty and key not in settings:
            raise InputError(f"model {name}: key {key!r} is missing, allowed are: name, {', '.join(keys)}")
    return ARCHITECTURES[name](**settings)
