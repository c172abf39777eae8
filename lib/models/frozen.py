"""Networks that only teach: never trained again, so that what evaluation does not need is taken out of them."""

from itertools import pairwise

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


def frozen(network: nn.Module, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Put a network into evaluation mode for good, in place, and return it, with weights of a type.

    Every batch normalisation that follows a convolution as its next sibling becomes part of it: the same function but
    for rounding, and a pass over the maps less. bfloat16 weights spare autocast's conversions, at every step the same.
    """
    network.eval().requires_grad_(False)
    fold(network)
    return network.to(dtype=dtype, memory_format=torch.channels_last)


def fold(module: nn.Module) -> None:
    """Merge the convolutions and normalisations that are neighbours in a module and in all that it holds."""
    children = list(module.named_children())
    for (name, first), (after, second) in pairwise(children):
        if isinstance(first, CONVOLUTIONS) and isinstance(second, nn.BatchNorm2d):
            merged = fuse_conv_bn_eval(first, second, transpose=isinstance(first, nn.ConvTranspose2d))
            setattr(module, name, merged)
            setattr(module, after, nn.Identity())
    for _, child in children:
        fold(child)
