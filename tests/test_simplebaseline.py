"""Layers, size, both heads and gradients of SimpleBaseline."""

import pytest
import torch
import torch.nn.functional as F
from torchvision import models

from lib.errors import InputError
from lib.models import build_model

NARROW = {"name": "simplebaseline", "joints": 3, "blocks": [1, 2, 1, 1], "width": 4, "channels": 8}
SHALLOW = {"name": "simplebaseline", "joints": 3, "blocks": [1, 1, 1, 1]}  # of the published width
SIMCC = {"head": "simcc", "input_size": [64, 64]}


def noisy(spec: dict, seed: int = 0) -> torch.nn.Module:
    """A network in evaluation whose running statistics are not the initial ones."""
    torch.manual_seed(seed)
    model = build_model(spec).train()
    with torch.no_grad():
        for _ in range(3):
            model.maps(torch.randn(4, 3, 64, 64))
    return model.eval()


@pytest.mark.parametrize("size", [(32, 32), (64, 64), (96, 64)])
def test_one_heatmap_per_joint_at_a_quarter(size):
    model = build_model(NARROW).eval()
    with torch.no_grad():
        outputs = model(torch.randn(2, 3, *size))
    assert (model.output, model.joints) == ("heatmap", 3)
    assert [tuple(output.shape) for output in outputs] == [(2, 3, size[0] // 4, size[1] // 4)]


@pytest.mark.parametrize("size, split, columns, rows", [((32, 32), 2.0, 64, 64), ((64, 96), 0.3, 29, 19)])
def test_classes_of_columns_and_of_rows(size, split, columns, rows):
    model = build_model(NARROW | {"head": "simcc", "input_size": size, "split": split}).eval()
    with torch.no_grad():
        images = torch.randn(2, 3, *size)
        x, y = model(images)
        assert all(torch.equal(a, b) for a, b in zip(model.classify(model.maps(images)), (x, y), strict=True))
    assert model.output == "simcc"
    assert (tuple(x.shape), tuple(y.shape)) == ((2, 3, columns), (2, 3, rows))


@pytest.mark.parametrize("blocks", [[1, 1, 1, 1], [2, 1, 2, 1]])
@pytest.mark.parametrize("training", [True, False])
def test_the_backbone_is_torchvisions_resnet_before_its_pooling(blocks, training):
    torch.manual_seed(0)
    classifier = models.ResNet(models.resnet.Bottleneck, blocks)
    model = build_model(SHALLOW | {"blocks": blocks})
    weights = classifier.state_dict()
    del weights["fc.weight"], weights["fc.bias"]
    model.backbone.load_state_dict(weights)
    images, features = torch.randn(2, 3, 64, 96), []
    classifier.layer4.register_forward_hook(lambda layer, inputs, output: features.append(output))
    with torch.no_grad():
        classifier.train(training)(images)
        torch.testing.assert_close(model.train(training).backbone(images), features[0])
    assert features[0].shape == (2, 2048, 2, 3)


@pytest.mark.parametrize(
    "name, blocks, params",
    [("ResNet-50", [3, 4, 6, 3], 25_557_032), ("ResNet-152", [3, 8, 36, 3], 60_192_808)],
)
def test_published_backbones(name, blocks, params):
    with torch.device("meta"):
        model = build_model({"name": "simplebaseline", "joints": 16, "blocks": blocks})
        narrowed = build_model({"name": "simplebaseline", "joints": 16, "blocks": blocks, "width": 32})
        shallow = build_model({"name": "simplebaseline", "joints": 16, "blocks": [3, 4, 5, 3]})
        classifier = getattr(models, name.lower().replace("-", ""))()
    assert sum(parameter.numel() for parameter in classifier.parameters()) == params
    shapes = {name: tensor.shape for name, tensor in classifier.state_dict().items() if not name.startswith("fc.")}
    assert {name: tensor.shape for name, tensor in model.backbone.state_dict().items()} == shapes
    assert (model.published, narrowed.published, shallow.published) == (name, None, None)
    # 2048 x 1000 weights and 1000 biases of the classifier; three deconvolutions, their normalisation and the head.
    upsampling = 16 * (2048 + 256 + 256) * 256 + 3 * 2 * 256 + 256 * 16 + 16
    assert sum(parameter.numel() for parameter in model.parameters()) == params - 2_049_000 + upsampling


def test_resnet_weights_start_as_torchvisions():
    torch.manual_seed(0)
    model = build_model(SHALLOW)
    for layer in (model.backbone.conv1, model.backbone.layer3[0].conv2, model.backbone.layer4[0].conv3):
        kernel = layer.kernel_size[0] * layer.kernel_size[1]
        assert layer.weight.std().item() == pytest.approx((2 / (kernel * layer.out_channels)) ** 0.5, rel=0.03)


def test_maps_are_those_of_three_deconvolutions_and_a_head():
    model, images = noisy(NARROW), torch.randn(2, 3, 64, 96)
    with torch.no_grad():
        x = model.backbone(images)
        for i in (0, 3, 6):
            deconvolution, norm = model.deconvolutions[i], model.deconvolutions[i + 1]
            assert deconvolution.bias is None and deconvolution.weight.shape[2:] == (4, 4)
            x = F.conv_transpose2d(x, deconvolution.weight, stride=2, padding=1)
            x = F.batch_norm(x, norm.running_mean, norm.running_var, norm.weight, norm.bias)
            x = F.relu(x)
        expected = F.conv2d(x, model.head.weight, model.head.bias)
        torch.testing.assert_close(model.maps(images), expected)
        torch.testing.assert_close(model(images)[0], expected)


@pytest.mark.parametrize("head", [{}, SIMCC])
def test_gradients_reach_every_parameter(head):
    torch.manual_seed(0)
    model = build_model(NARROW | head)
    sum(output.square().sum() for output in model(torch.randn(4, 3, 64, 64))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("head", [{}, SIMCC])
def test_evaluation_does_not_mix_images(head):
    model, images = noisy(NARROW | head), torch.randn(3, 3, 64, 64)
    with torch.no_grad():
        alone = zip(*(model(image[None]) for image in images), strict=True)
        for output, parts in zip(model(images), alone, strict=True):
            torch.testing.assert_close(output, torch.cat(parts), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"joints": 0}, "model simplebaseline: joints is 0, expected a positive whole number"),
        ({"blocks": [3, 4, 6]}, r"model simplebaseline: blocks is \[3, 4, 6\], expected a list of 4"),
        ({"blocks": [3, 4, 0, 3]}, r"blocks is \[3, 4, 0, 3\], expected a list of 4 positive whole numbers"),
        ({"width": 0}, "model simplebaseline: width is 0"),
        ({"channels": 0}, "model simplebaseline: channels is 0"),
        ({"head": "simcc"}, "model simplebaseline: a simcc head needs input_size"),
        ({"head": "cls"}, "model simplebaseline: head is 'cls', expected one of: heatmap, simcc"),
    ],
)
def test_impossible_specs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        build_model(NARROW | change)


def test_sizes_that_cannot_be_halved_are_refused():
    with pytest.raises(InputError, match="input is 48x64 px, expected multiples of 32"):
        build_model(NARROW)(torch.zeros(1, 3, 48, 64))
