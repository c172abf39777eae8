"""Shapes, cost, initialisation and training behaviour of the hourglass with pyramid residual modules."""

import pytest
import torch
from torch import Tensor, nn

from lib.errors import InputError
from lib.metrics.complexity import count, fpd_gflops
from lib.models import build_model
from lib.models.hourglass import Residual
from lib.models.pyranet import Pyramid, PyramidResidual, initialise, pyramid_residual
from lib.weights import load_weights, save_weights

SPEC = {"name": "pyranet", "joints": 3, "stacks": 2, "channels": 16}


@pytest.fixture
def deterministic():
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(before)


def identity_pyramid() -> Pyramid:
    """A pyramid of one channel whose convolutions copy their input."""
    pyramid = Pyramid(1)
    for level in pyramid.levels:
        nn.init.dirac_(level.weight)
        nn.init.zeros_(level.bias)
    return pyramid


@pytest.mark.parametrize("stacks, channels, size", [(1, 16, (64, 64)), (2, 32, (64, 128)), (3, 4, (128, 64))])
def test_one_map_per_joint_and_stack_at_a_quarter(stacks, channels, size):
    model = build_model(SPEC | {"stacks": stacks, "channels": channels})
    outputs = model(torch.rand(2, 3, *size))
    assert model.output == "heatmap"
    assert [tuple(output.shape) for output in outputs] == [(2, 3, size[0] // 4, size[1] // 4)] * stacks


@pytest.mark.parametrize(
    "stacks, channels, params, macs, bias_adds, gflops",
    [
        # FPD's Table 2 prints 28M and 46G for the published network, which has 8 stacks: 28.13 M and 45.83 G round so.
        (8, 256, 28_131_832, 22_829_322_956, 87_382_706, 45.83),
        (4, 128, 3_700_018, 4_201_620_964, 29_800_590, 8.46),  # the student of FPD's Table 4, its size is not printed
    ],
)
def test_size_and_cost(stacks, channels, params, macs, bias_adds, gflops):
    with torch.device("meta"):
        model = build_model({"name": "pyranet", "joints": 16, "stacks": stacks, "channels": channels})
    counts = count(model, (256, 256))
    assert {"params": params, "macs": macs, "bias_adds": bias_adds}.items() <= counts.items()
    assert round(fpd_gflops(counts), 2) == gflops


@pytest.mark.parametrize("size, sides", [(64, [53, 45, 38, 32]), (16, [13, 11, 9, 8]), (4, [3, 2, 2, 2])])
def test_levels_shrink_by_equal_ratios_down_to_a_half(size, sides):
    pyramid, seen = Pyramid(2), []
    for level in pyramid.levels:
        level.register_forward_hook(lambda _, inputs, output: seen.append(tuple(inputs[0].shape[2:])))
    assert pyramid(torch.zeros(1, 2, size, 2 * size)).shape == (1, 2, size, 2 * size)
    assert [height for height, _ in seen] == sides
    assert [width for _, width in seen] == [int(2 * size * 2 ** (-c / 4)) for c in (1, 2, 3, 4)]


def test_pyramid_adds_maxima_of_coarser_maps():
    # One bright corner of 4 x 4: its maximum stays the corner of the 3 x 3 map and of the three 2 x 2 maps, and fades
    # linearly towards their next pixel.
    x = torch.zeros(1, 1, 4, 4)
    x[..., 0, 0] = 1
    fine, coarse = torch.tensor([1, 1 / 3, 0, 0]), torch.tensor([1, 2 / 3, 1 / 3, 0])
    expected = torch.outer(fine, fine) + 3 * torch.outer(coarse, coarse)
    torch.testing.assert_close(identity_pyramid()(x)[0, 0], expected)


@pytest.mark.parametrize("axis", [2, 3])
def test_pyramid_of_a_mirrored_map_is_mirrored(axis):
    x = torch.randn(2, 1, 16, 24)
    pyramid = identity_pyramid()
    torch.testing.assert_close(pyramid(x.flip(axis)), pyramid(x).flip(axis))


@pytest.mark.parametrize("outputs", [16, 24])
def test_module_is_its_shortcut_plus_its_branches(outputs):
    module, x = PyramidResidual(16, outputs).eval(), torch.randn(2, 16, 8, 8)
    nn.init.zeros_(module.out[-1].weight)
    nn.init.zeros_(module.out[-1].bias)
    shortcut = x if outputs == 16 else module.shortcut[-1](torch.relu(x / (1 + 1e-5) ** 0.5))
    torch.testing.assert_close(module(x), shortcut)


def test_pyramids_stand_where_maps_have_four_pixels_at_least():
    model, sides = build_model(SPEC | {"stacks": 1}), {Residual: [], PyramidResidual: []}
    for module in model.modules():
        if type(module) in sides:
            module.register_forward_hook(lambda module, _, output: sides[type(module)].append(output.shape[-1]))
    model(torch.rand(2, 3, 64, 64))
    assert sides == {PyramidResidual: [32, 16, 16, 16, 8, 8, 4, 4, 4, 8], Residual: [2, 2, 1, 1, 1, 2]}


@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_no_two_identities_are_added(level):
    assert isinstance(pyramid_residual(16, level).shortcut, nn.Identity)
    first = pyramid_residual(16, level, last=True).shortcut[0]
    assert isinstance(first, nn.BatchNorm2d)


def test_weights_start_with_the_variance_of_the_multi_branch_rule():
    # 4 / (branches summed before x fan-in + branches fed x fan-out), Sect. 4.1 with ReLU's factor 1/2.
    torch.manual_seed(0)
    module = PyramidResidual(180, 180).apply(initialise)
    variances = {
        module.plain[2]: 4 / (180 + 90),
        module.plain[5]: 4 / (9 * 90 + 9 * 90),
        module.squeeze[2]: 4 / (180 + 4 * 20),
        module.pyramid[2].levels[3]: 4 / (9 * 20 + 9 * 20),
        module.expand[2]: 4 / (4 * 20 + 90),
        module.out[2]: 4 / (2 * 90 + 180),
    }
    for convolution, variance in variances.items():
        assert convolution.weight.var().item() == pytest.approx(variance, rel=0.1)
        assert not convolution.bias.any()


def test_responses_start_with_the_variance_that_the_rule_implies():
    # A normalised ReLU has a mean square of 1/2, so a response has half the fan-in x the weights' variance.
    torch.manual_seed(0)
    module, x = PyramidResidual(180, 180).apply(initialise), torch.randn(8, 180, 16, 16)
    with torch.no_grad():
        assert module.squeeze(x).var().item() == pytest.approx(90 * 4 / (180 + 4 * 20), rel=0.15)
        assert (module(x) - x).var().item() == pytest.approx(45 * 4 / (2 * 90 + 180), rel=0.15)
        assert module(x).var().item() == pytest.approx(1.5, rel=0.1)


def test_responses_neither_vanish_nor_explode_over_the_stacks():
    torch.manual_seed(0)
    model, variances = build_model(SPEC | {"stacks": 4, "channels": 32}), []
    for stack in model.stacks:
        stack.features[0].register_forward_hook(lambda _, inputs, output: variances.append(output.var().item()))
    with torch.no_grad():
        model(torch.rand(4, 3, 64, 64))
    assert all(0.5 < variance < 20 for variance in variances)


def test_gradients_reach_every_parameter():
    model = build_model(SPEC)
    sum(output.square().sum() for output in model(torch.rand(2, 3, 64, 64))).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        # A bias that a normalisation follows cancels out, and may have a gradient of exactly zero.
        assert name.endswith("bias") or parameter.grad.abs().sum() > 0, name


def test_two_trainings_agree_to_the_last_bit(deterministic):
    def step() -> list[Tensor]:
        torch.manual_seed(0)
        model = build_model(SPEC).to(memory_format=torch.channels_last)
        outputs = model(torch.rand(2, 3, 64, 128).to(memory_format=torch.channels_last))
        sum(output.square().mean() for output in outputs).backward()
        return outputs + [parameter.grad for parameter in model.parameters()]

    assert all(torch.equal(a, b) for a, b in zip(step(), step(), strict=True))


def test_evaluation_is_not_random_and_does_not_mix_images():
    model, images = build_model(SPEC).eval(), torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = model(images)[-1], torch.cat([model(image[None])[-1] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_channels_last_is_kept_and_changes_nothing():
    model, images = build_model(SPEC).eval(), torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        plain = model(images)
        last = model.to(memory_format=torch.channels_last)(images.to(memory_format=torch.channels_last))
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in last)
    for a, b in zip(plain, last, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def test_learns_four_images_by_heart():
    torch.manual_seed(0)
    model, images = build_model(SPEC | {"stacks": 1}), torch.rand(4, 3, 64, 64)
    centres, axis = 2 + 11 * torch.rand(4, 3, 2, 1), torch.arange(16)
    columns, rows = torch.exp(-((axis - centres) ** 2) / 2).unbind(2)
    target = rows[..., :, None] * columns[..., None, :]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(30):
        loss = (model(images)[0] - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 5
    assert losses[-1] < 0.7 * target.var().item()  # better than any constant map


def test_weights_file_gives_the_same_network(tmp_path):
    model = build_model(SPEC)
    images = torch.rand(2, 3, 64, 64)
    model(images)  # moves the running statistics
    save_weights(tmp_path / "weights.safetensors", model, SPEC)
    loaded = load_weights(tmp_path / "weights.safetensors", SPEC)
    with torch.no_grad():
        for a, b in zip(model.eval()(images), loaded.eval()(images), strict=True):
            assert torch.equal(a, b)


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_sizes_that_cannot_be_halved_are_refused(size):
    with pytest.raises(InputError, match=f"{size[0]}x{size[1]} px, expected multiples of 64"):
        build_model(SPEC)(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"channels": 18}, "model pyranet: channels is 18, expected a positive multiple of 4"),
        ({"stacks": 0}, "model pyranet: stacks is 0"),
        ({"joints": "16"}, "model pyranet: joints is '16'"),
        ({"stem": "hourglass"}, "model: stem is 'hourglass', expected one of: newell, pytorch-pose"),
        ({"stm": "newell"}, "model pyranet: unknown key 'stm', allowed are: name, joints, stacks, channels, stem"),
    ],
)
def test_impossible_specs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        build_model(SPEC | change)
