"""Networks that only teach compute what they computed before, with fewer layers."""

import copy

import pytest
import torch
from torch import nn

from lib.models import build_model
from lib.models.frozen import frozen

STACKED = {"joints": 5, "stacks": 2, "channels": 16, "stem": "pytorch-pose", "halvings": 2}
HRNET = {"name": "hrnet", "joints": 5, "width": 8, "blocks": 1, "modules": [1, 1, 1], "stem": 8}
NETWORKS = {
    "hourglass": {"name": "hourglass", **STACKED},
    "pyranet": {"name": "pyranet", **STACKED},
    "hrnet": HRNET | {"head": "heatmap"},
    "simcc": HRNET | {"head": "simcc", "input_size": [64, 64]},
    "simplebaseline": {"name": "simplebaseline", "joints": 5, "blocks": [1, 1, 1, 1], "width": 8, "head": "heatmap"},
    "resnet basic": {"name": "resnet", "joints": 5, "block": "basic", "blocks": [1, 1, 1, 1], "width": 8},
    "resnet bottleneck": {"name": "resnet", "joints": 5, "block": "bottleneck", "blocks": [1, 1, 1, 1], "width": 8},
    "mobilepose": {"name": "mobilepose", "joints": 5, "encoder": "mobilenet_v2", "channels": 16},
}


def network(name: str) -> nn.Module:
    """A network whose normalisations have seen something, each in its own way."""
    torch.manual_seed(0)
    model = build_model(NETWORKS[name])
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.5, 0.5)
            nn.init.uniform_(module.running_var, 0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return model.eval()


def outputs(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    with torch.no_grad():
        found = model(images)
    return [found] if torch.is_tensor(found) else list(found)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_function_stays(name):
    model = network(name)
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    before = outputs(model, images)
    left = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    taught = frozen(copy.deepcopy(model))
    for one, other in zip(before, outputs(taught, images), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=1e-4 * one.abs().max().item())
    assert sum(isinstance(module, nn.BatchNorm2d) for module in taught.modules()) < left
    assert not taught.training and not any(parameter.requires_grad for parameter in taught.parameters())


@pytest.mark.parametrize("name", ["hrnet", "simcc", "simplebaseline", "resnet basic", "resnet bottleneck"])
def test_no_normalisation_is_left_where_each_follows_a_convolution(name):
    assert not any(isinstance(module, nn.BatchNorm2d) for module in frozen(network(name)).modules())


def test_a_convolution_and_its_normalisation_number_by_number():
    """y = 2 x + 1, then (y - 3) / sqrt(4) * 6 + 5 is 6 x - 1; the variance is short of epsilon."""
    layers = nn.Sequential(nn.Conv2d(1, 1, 1), nn.BatchNorm2d(1), nn.ReLU())
    convolution, norm, _ = layers
    for tensor, value in zip(
        (convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.weight, norm.bias),
        (2.0, 1.0, 3.0, 4.0 - norm.eps, 6.0, 5.0),
        strict=True,
    ):
        nn.init.constant_(tensor, value)
    frozen(layers)
    assert (layers[0].weight.item(), layers[0].bias.item()) == pytest.approx((6, -1))
    assert layers(torch.tensor([[[[0.0, 1.0]]]])).flatten().tolist() == pytest.approx([0, 5])


def test_bfloat16_weights_change_little():
    images = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    exact = outputs(network("hrnet"), images)[0]
    rounded = outputs(frozen(network("hrnet"), torch.bfloat16), images.bfloat16())[0]
    assert rounded.dtype == torch.bfloat16
    assert (rounded.float() - exact).norm() < 0.05 * exact.norm()
