"""Networks: one file per architecture, found by name; `build` in it makes the network from its settings."""

import inspect

from torch import nn

from lib.errors import InputError
from lib.named import find


def build_model(spec: dict) -> nn.Module:
    """Build the network that `spec` describes: `name`, `joints` and the architecture's own keys.

    hourglass, pyranet: stacks, channels (256), stem ("newell" | "pytorch-pose"), halvings (4).
    mobilepose: encoder ("resnet18" | "mobilenet_v2" | "shufflenet_v2"), channels (256).
    hrnet: width, blocks (4), modules ([1, 4, 3]), stem (64).
    simplebaseline: blocks, width (64), channels (256). Of these two also head ("heatmap" | "simcc"), split (2.0) and,
    for simcc, input_size: [height, width]. resnet: block ("basic" | "bottleneck"), blocks, width (64). A network's
    `output` names its codec.
    On HRNet, with its keys, too: cal. rle: input_size. tokenpose: input_size, kind ("base" | "large"), depth, patch
    ([4, 4]), channels (192); distilpose: the same but for kind. prtr: queries (100), depth (6), channels (256), hidden
    (2048), features (2048).
    Raises InputError for unknown names, unknown or missing keys and impossible values.
    """
    settings = dict(spec)
    name = settings.pop("name", None)
    build = getattr(find("lib.models", name, "model name", listed="lib.params.networks"), "build", None)
    if build is None:
        raise InputError(f"model name is {name!r}, which is a part of networks and no network")
    keys = inspect.signature(build).parameters
    for key in settings:
        if key not in keys:
            raise InputError(f"model {name}: unknown key {key!r}, allowed are: name, {', '.join(keys)}")
    for key, parameter in keys.items():
        if parameter.default is parameter.empty and key not in settings:
            raise InputError(f"model {name}: key {key!r} is missing, allowed are: name, {', '.join(keys)}")
    return build(**settings)
