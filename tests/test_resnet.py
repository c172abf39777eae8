"""The ResNet of poses is torchvision's, with maps to look at and a last layer of its own."""

import math

import pytest
import torch
from torch import nn
from torchvision import models

from lib.errors import InputError
from lib.models import build_model

RESNET18 = {"name": "resnet", "joints": 21, "block": "basic", "blocks": [2, 2, 2, 2]}
RESNET50 = {"name": "resnet", "joints": 21, "block": "bottleneck", "blocks": [3, 4, 6, 3]}
NARROW = {"name": "resnet", "joints": 5, "block": "basic", "blocks": [1, 2, 1, 1], "width": 4}
NARROW_BOTTLENECK = NARROW | {"block": "bottleneck"}


def published(name: str) -> nn.Module:
    """Torchvision's network of random weights with 63 outputs."""
    torch.manual_seed(0)
    return getattr(models, name)(num_classes=63)


@pytest.mark.parametrize("name, spec", [("resnet18", RESNET18), ("resnet50", RESNET50)])
def test_names_shapes_and_outputs_are_torchvisions(name, spec):
    expected, model = published(name), build_model(spec)
    shapes = {name: tensor.shape for name, tensor in expected.state_dict().items()}
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == shapes
    model.load_state_dict(expected.state_dict())
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        for training in (True, False):  # the second with the running statistics of the first
            pose = model.train(training)(images)
            assert pose.shape == (2, 21, 3)
            torch.testing.assert_close(pose.flatten(1), expected.train(training)(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("spec, params", [(RESNET18, 11_689_512 - 513_000), (RESNET50, 25_557_032 - 2_049_000)])
def test_published_sizes(spec, params):
    # torchvision's documented numbers, less a classifier of 1000 classes, more one of 63
    with torch.device("meta"):
        model = build_model(spec)
    assert sum(parameter.numel() for parameter in model.parameters()) == params + 63 * (model.channels + 1)


def test_weights_start_as_torchvisions():
    torch.manual_seed(0)
    model = build_model(RESNET18)
    for layer in (model.conv1, model.layer2[0].conv1, model.layer3[0].downsample[0], model.layer4[1].conv2):
        fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels
        assert layer.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
    assert all((layer.weight == 1).all() for layer in model.modules() if isinstance(layer, nn.BatchNorm2d))
    # PyTorch's linear layer is uniform within 1 / sqrt(inputs).
    for values in (model.fc.weight, model.fc.bias):
        assert 0.9 < values.abs().max().item() * math.sqrt(512) <= 1


@pytest.mark.parametrize("spec, expansion", [(NARROW, 1), (NARROW_BOTTLENECK, 4)])
def test_activations_are_the_outputs_of_the_four_stages(spec, expansion):
    torch.manual_seed(0)
    model = build_model(spec).eval()
    outputs = []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        stage.register_forward_hook(lambda layer, inputs, output: outputs.append(output.clone()))
    images = torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        pose, maps = model.activations(images)
        assert torch.equal(model(images), pose)
    sizes = [(4, 16, 24), (8, 8, 12), (16, 4, 6), (32, 2, 3)]
    assert [tuple(x.shape[1:]) for x in maps] == [(expansion * channels, h, w) for channels, h, w in sizes]
    assert all(torch.equal(x, output) for x, output in zip(maps, outputs, strict=False))  # no later layer changed them
    assert all((x >= 0).all() for x in maps)
    torch.testing.assert_close(pose.flatten(1), model.fc(maps[-1].flatten(2).mean(2)))
    assert (model.output, model.joints, model.channels) == ("pose", 5, 32 * expansion)


@pytest.mark.parametrize("spec", [NARROW, NARROW_BOTTLENECK])
def test_gradients_reach_every_parameter(spec):
    torch.manual_seed(0)
    model = build_model(spec)
    model(torch.randn(4, 3, 64, 64)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("spec", [NARROW, NARROW_BOTTLENECK])
def test_evaluation_does_not_mix_images(spec):
    torch.manual_seed(0)
    model, images = build_model(spec), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        model(images)
        alone = torch.cat([model.eval()(image[None]) for image in images])
        torch.testing.assert_close(model(images), alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"joints": 0}, "model resnet: joints is 0, expected a positive whole number"),
        ({"width": 0}, "model resnet: width is 0"),
        ({"blocks": [3, 4, 6]}, r"model resnet: blocks is \[3, 4, 6\], expected a list of 4"),
        ({"block": "wide"}, "model resnet: block is 'wide', expected one of: basic, bottleneck"),
    ],
)
def test_impossible_specs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        build_model(NARROW | change)
