"""The weights of the branches: what they are, and what they cost."""

import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d
from torch import nn

from lib.errors import InputError
from lib.models.aggregation import build_aggregation

INPUTS, BRANCHES, JOINTS, WIDTH = 4, 3, 5, 8
UNITS = {"mean": ("mean", "paper"), "gate": ("gate", "paper"), "fau": ("fau", "paper"), "released": ("fau", "released")}
every_unit = pytest.mark.parametrize("unit", UNITS)
every_fau = pytest.mark.parametrize("unit", ["fau", "released"])


def build(unit: str) -> nn.Module:
    """A unit in evaluation with random parameters and running statistics."""
    name, variant = UNITS[unit]
    torch.manual_seed(0)
    module = build_aggregation(name, INPUTS, BRANCHES, JOINTS, WIDTH, variant).double()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                nn.init.uniform_(values, 0.2, 1.5)
    return module.eval()


def features(people: int = 2, size: tuple[int, int] = (5, 6)) -> torch.Tensor:
    return torch.randn(people, INPUTS, *size, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def convolved(layer: nn.Conv2d, maps: np.ndarray) -> np.ndarray:
    """Correlation of maps (C, h, w) with every kernel, zeros outside."""
    kernels, biases = layer.weight.detach().numpy(), layer.bias.detach().numpy()
    return np.array(
        [
            bias + sum(correlate2d(one, part, mode="same") for one, part in zip(maps, kernel, strict=True))
            for kernel, bias in zip(kernels, biases, strict=True)
        ]
    )


def normalised(layer: nn.BatchNorm2d, maps: np.ndarray) -> np.ndarray:
    """Batch normalisation in evaluation, and ReLU."""
    values = (layer.running_mean, layer.running_var, layer.weight, layer.bias)
    mean, variance, scale, shift = (value.detach().numpy()[:, None, None] for value in values)
    return np.maximum(0, (maps - mean) / np.sqrt(variance + layer.eps) * scale + shift)


def softmax_over_branches(scores: np.ndarray) -> np.ndarray:
    return np.exp(scores) / np.exp(scores).sum(0)


def linear(layer: nn.Linear, vector: np.ndarray) -> np.ndarray:
    return layer.weight.detach().numpy() @ vector + layer.bias.detach().numpy()


def layers(module: nn.Module) -> tuple[list, list, list]:
    """Convolutions, normalisations and linear layers in the order of their definition."""
    kinds = nn.Conv2d, nn.BatchNorm2d, nn.Linear
    return tuple([layer for layer in module.modules() if isinstance(layer, kind)] for kind in kinds)


def slow_fau(module: nn.Module, maps: np.ndarray) -> np.ndarray:
    """Eqs. 4 and 5 on one image."""
    convolutions, norms, (fuse, scores) = layers(module)
    pooled = [maps.mean((1, 2))]
    for place, kernel in zip((0, 2, 4), (3, 5, 7), strict=True):
        assert convolutions[place].kernel_size == (kernel, kernel)
        x = normalised(norms[place], convolved(convolutions[place], maps))
        x = normalised(norms[place + 1], convolved(convolutions[place + 1], x))
        pooled.append(x.mean((1, 2)))
    vector = linear(fuse, np.concatenate(pooled))
    return softmax_over_branches(linear(scores, vector).reshape(BRANCHES, JOINTS))


def slow_released(module: nn.Module, maps: np.ndarray) -> np.ndarray:
    """The same of the released code: paths of one convolution, summed."""
    convolutions, norms, (fuse, scores) = layers(module)
    assert [layer.kernel_size[0] for layer in convolutions] == [3, 5, 7]
    paths = (normalised(norm, convolved(layer, maps)) for layer, norm in zip(convolutions, norms, strict=True))
    return softmax_over_branches(linear(scores, linear(fuse, sum(paths).mean((1, 2)))).reshape(BRANCHES, JOINTS))


def slow_gate(module: nn.Module, maps: np.ndarray) -> np.ndarray:
    """Averaged features, fully connected layer, normalisation, ReLU, softmax; one weight for all joints."""
    (connected,), (norm,), _ = layers(module)
    scores = normalised(norm, convolved(connected, maps.mean((1, 2), keepdims=True)))
    return softmax_over_branches(scores[..., 0]).repeat(JOINTS, axis=1)


@every_unit
@pytest.mark.parametrize("training", [True, False])
def test_weights_of_the_branches_sum_to_one_for_every_joint(unit, training):
    weights = build(unit).train(training)(features(3))
    assert weights.shape == (3, BRANCHES, JOINTS)
    assert (weights > 0).all()
    torch.testing.assert_close(weights.double().sum(1), torch.ones(3, JOINTS, dtype=torch.float64))


@every_unit
def test_an_image_has_the_same_weights_in_any_batch(unit):
    module, images = build(unit), features(3)
    alone = torch.cat([module(image[None]) for image in images])
    torch.testing.assert_close(module(images), alone, rtol=1e-12, atol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("branches", [2, 3, 5])
def test_mean_is_the_mean_whatever_the_precision_of_the_features(branches, dtype):
    module = build_aggregation("mean", INPUTS, branches, JOINTS, WIDTH)
    expected = torch.full((2, branches, JOINTS), 1 / branches)
    assert torch.equal(module(features().to(dtype)), expected) and not list(module.parameters())


@pytest.mark.parametrize("unit, slow", [("fau", slow_fau), ("released", slow_released), ("gate", slow_gate)])
def test_weights_are_those_of_a_slow_implementation(unit, slow):
    module, images = build(unit), features()
    expected = np.array([slow(module, image) for image in images.numpy()])
    assert np.ptp(expected, axis=1).min() > 1e-3 and np.ptp(expected, axis=0).max() > 1e-3
    np.testing.assert_allclose(module(images).detach().numpy(), expected, rtol=1e-10)


def test_gate_gives_all_joints_of_an_image_the_same_weights():
    weights = build("gate")(features())
    assert torch.equal(weights, weights[:, :, :1].expand(-1, -1, JOINTS))
    assert not torch.equal(weights[0], weights[1])


def test_gate_normalises_over_the_batch():
    module, images = build("gate").train(), features(2)
    connected, norm = module.scores[0], module.scores[1]
    scores = images.mean((2, 3)) @ connected.weight.flatten(1).T + connected.bias
    # Of two values, normalisation leaves -1 and 1, but for its epsilon.
    signs = (scores - scores.mean(0)) / (scores.var(0, correction=0) + norm.eps).sqrt()
    expected = (signs * norm.weight + norm.bias).relu().softmax(1)
    torch.testing.assert_close(module(images)[:, :, 0], expected)


def constant(unit: str) -> nn.Module:
    """A unit of four channels whose convolutions all are sums over the window, two branches and one joint."""
    name, variant = UNITS[unit]
    module = build_aggregation(name, 1, 2, 1, 4, variant).eval()
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.constant_(layer.weight, 1 / layer.in_channels)
        if isinstance(layer, nn.BatchNorm2d):
            layer.eps = 0.0  # with the initial statistics: the identity
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.zeros_(layer.bias)
    return module


def test_fau_of_a_map_of_ones():
    # In a 3 x 3 map of ones the windows of 3 hold 4, 6, 4, 6, 9, 6, 4, 6, 4 ones, on average 49 / 9; those of 5 and 7
    # hold all nine. Together with the average of the map itself: (1, 49 / 9, 9, 9).
    module = constant("fau")
    with torch.no_grad():
        module.fuse.weight[:] = torch.tensor([[1.0, *(9, 0, 0, 0), *(1, 0, 0, 0), *(2, 0, 0, 0)]])  # 1 + 49 + 9 + 18
        module.scores.weight[:] = torch.tensor([[0.0], [math.log(3) / 77]])
        torch.testing.assert_close(module(torch.ones(1, 1, 3, 3)), torch.tensor([[[1 / 4], [3 / 4]]]))


def test_released_fau_of_a_map_of_ones():
    module = constant("released")
    with torch.no_grad():
        module.fuse.weight[:] = torch.tensor([[9.0, 0, 0, 0]])  # 49 + 81 + 81
        module.scores.weight[:] = torch.tensor([[0.0], [math.log(3) / 211]])
        torch.testing.assert_close(module(torch.ones(1, 1, 3, 3)), torch.tensor([[[1 / 4], [3 / 4]]]))


@every_fau
def test_scores_of_a_branch_stand_together(unit):
    module = build(unit)
    odds = torch.arange(1, BRANCHES * JOINTS + 1, dtype=torch.float64)
    with torch.no_grad():
        module.scores.weight.zero_()
        module.scores.bias[:] = odds.log()
    odds = odds.reshape(BRANCHES, JOINTS)
    torch.testing.assert_close(module(features()), (odds / odds.sum(0)).expand(2, -1, -1))


@every_fau
def test_every_parameter_learns(unit):
    module = build(unit)
    module(features()).square().sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())


def parameters(unit: str, inputs: int, branches: int, joints: int, width: int) -> int:
    name, variant = UNITS[unit]
    with torch.device("meta"):
        module = build_aggregation(name, inputs, branches, joints, width, variant)
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("inputs, branches, joints, width", [(256, 3, 16, 256), (64, 2, 17, 256), (8, 5, 14, 12)])
def test_number_of_parameters(inputs, branches, joints, width):
    blocks = sum(k * k * inputs * width + 3 * width for k in (3, 5, 7))  # convolution, its bias, scale and shift
    scores = (width // 4 + 1) * branches * joints
    narrow = 3 * (width * width + 3 * width)
    fuse = ((inputs + 3 * width) + 1) * (width // 4)
    shape = inputs, branches, joints, width
    assert parameters("fau", *shape) == blocks + narrow + fuse + scores
    assert parameters("released", *shape) == blocks + (width + 1) * (width // 4) + scores
    assert parameters("gate", *shape) == (inputs + 1) * branches + 2 * branches
    assert parameters("mean", *shape) == 0


def test_number_of_parameters_at_the_papers_size():
    # Table 7 prints 18.6 M for three branches of one stack; the network itself has 12.88 M of them.
    assert parameters("fau", 256, 3, 16, 256) == 5_709_424
    assert parameters("fau", 256, 4, 16, 256) - parameters("fau", 256, 3, 16, 256) == 65 * 16
    assert parameters("released", 256, 3, 16, 256) == 5_461_360


def test_an_unknown_aggregation_is_refused_with_one_line():
    with pytest.raises(InputError) as error:
        build_aggregation("max", INPUTS, BRANCHES, JOINTS, WIDTH)
    assert str(error.value) == "aggregation is 'max', expected one of: mean, gate, fau"
