"""Size and cost of a network: parameters, multiply-accumulates and the G columns of the papers."""

import copy

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def count(model: nn.Module, input_size: tuple[int, int]) -> dict[str, int]:
    """Count parameters, and the work of all convolution and linear layers on one image of (height, width) px.

    "params": parameters, frozen ones included, without the running statistics of normalisation layers; "macs":
    multiply-accumulates; "bias_adds": additions of a bias; "summary_macs": what the model summary in HRNet's public
    code takes for multiply-accumulates, and CDKD prints (Tables I and II). It is wrong in two places: a transposed
    convolution's weights count at every output pixel, stride^2 times too often, and each output of a linear layer with
    the size of its input's second dimension, which is that of the channels only if there are no others.
    A layer called several times counts each time. The model is left as it is: a copy runs on the meta device, which
    knows shapes only.
    """
    counts = {"params": sum(parameter.numel() for parameter in model.parameters())}
    counts |= {"macs": 0, "bias_adds": 0, "summary_macs": 0}

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Each input (transposed) or output element meets every weight of its channel once.
        if isinstance(layer, TRANSPOSED):
            macs = inputs[0].numel() * layer.weight.numel() // layer.in_channels
            summary = layer.weight.numel() * output[0, 0].numel()
        else:
            macs = summary = output.numel() * layer.weight.numel() // layer.weight.shape[0]
        if isinstance(layer, nn.Linear):
            summary = output.numel() * inputs[0].shape[1]
        counts["macs"] += macs
        counts["summary_macs"] += summary
        if layer.bias is not None:
            counts["bias_adds"] += output.numel()

    model = copy.deepcopy(model).to("meta").eval()
    for layer in model.modules():
        if isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
            layer.register_forward_hook(add)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.forward = lambda images: images  # the same shape, which the meta device is slow to find
    with torch.no_grad():
        model(torch.empty(1, 3, *input_size, device="meta"))
    return counts


def cost(counts: dict[str, int]) -> dict[str, float]:
    """The counts in the units of the papers' columns: FPD's gflops, OKDHP's gimacs, CDKD's gsummary; gmacs in 10^9."""
    return {
        "params_m": counts["params"] / 1e6,
        "gflops": round(fpd_gflops(counts), 4),
        "gmacs": round(counts["macs"] / 1e9, 4),
        "gimacs": round(counts["macs"] / 2**30, 4),
        "gsummary": round(counts["summary_macs"] / 2**30, 4),
    }


def fpd_gflops(counts: dict[str, int]) -> float:
    """Return FPD's "#FLOPs" in units of 10^9: two per multiply-accumulate and two per bias.

    The paper does not state its rule; without the biases two cells of its Table 5 would print another number.
    """
    return 2 * (counts["macs"] + counts["bias_adds"]) / 1e9
