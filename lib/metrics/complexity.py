"""Size and cost of a network: parameters, multiply-accumulates and the G columns of the papers."""

import copy

import torch
from torch import Tensor, nn

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def count(model: nn.Module, input_size: tuple[int, int]) -> dict[str, int]:
    """Count parameters, and the work of all convolution and linear layers on one image of (height, width) px.

    "params": parameters, frozen ones included, without the running statistics of normalisation layers; "macs":
    multiply-accumulates; "bias_adds": additions of a bias. A layer called several times counts each time. The model is
    left as it is: a copy runs on the meta device, which knows shapes only.
    """
    counts = {"params": sum(parameter.numel() for parameter in model.parameters()), "macs": 0, "bias_adds": 0}

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # Each input (transposed) or output element meets every weight of its channel once.
        if isinstance(layer, TRANSPOSED):
            counts["macs"] += inputs[0].numel() * layer.weight.numel() // layer.in_channels
        else:
            counts["macs"] += output.numel() * layer.weight.numel() // layer.weight.shape[0]
        if layer.bias is not None:
            counts["bias_adds"] += output.numel()

    model = copy.deepcopy(model).to("meta").eval()
    for layer in model.modules():
        if isinstance(layer, (*CONVOLUTIONS, *TRANSPOSED, nn.Linear)):
            layer.register_forward_hook(add)
    with torch.no_grad():
        model(torch.empty(1, 3, *input_size, device="meta"))
    return counts


def cost(counts: dict[str, int]) -> dict[str, float]:
    """The counts in the units of the papers' columns: FPD's gflops, OKDHP's gimacs, and gmacs in 10^9."""
    return {
        "params_m": counts["params"] / 1e6,
        "gflops": round(fpd_gflops(counts), 4),
        "gmacs": round(counts["macs"] / 1e9, 4),
        "gimacs": round(counts["macs"] / 2**30, 4),
    }


def fpd_gflops(counts: dict[str, int]) -> float:
    """Return FPD's "#FLOPs" in units of 10^9: two per multiply-accumulate and two per bias.

    The paper does not state its rule; without the biases two cells of its Table 5 would print another number.
    """
    return 2 * (counts["macs"] + counts["bias_adds"]) / 1e9
