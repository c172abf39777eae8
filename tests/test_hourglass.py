"""Shapes, settings and training behaviour of the stacked hourglass."""

import pytest
import torch

from lib.errors import InputError
from lib.models import build_model
from lib.models.hourglass import Hourglass, Residual

SPEC = {"name": "hourglass", "joints": 5, "stacks": 2, "channels": 8, "stem": "newell"}


@pytest.mark.parametrize("stem", ["newell", "pytorch-pose"])
@pytest.mark.parametrize("stacks, channels, size", [(1, 8, (64, 64)), (3, 16, (128, 64)), (2, 32, (64, 128))])
def test_one_map_per_joint_and_stack_at_a_quarter(stem, stacks, channels, size):
    model = build_model(SPEC | {"stem": stem, "stacks": stacks, "channels": channels})
    outputs = model(torch.rand(2, 3, *size))
    assert model.output == "heatmap"
    assert [tuple(output.shape) for output in outputs] == [(2, 5, size[0] // 4, size[1] // 4)] * stacks


def test_residual_is_the_identity_plus_its_branch():
    residual = Residual(8, 8)
    torch.nn.init.zeros_(residual.branch[-1].weight)
    torch.nn.init.zeros_(residual.branch[-1].bias)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(residual(x), x)


def test_hourglass_adds_the_upsampled_maximum():
    # With silent residual branches only the skeleton is left: at each depth x -> x + upsampled(deeper(max-pooled x)).
    hourglass = Hourglass(2, 4).eval()
    for module in hourglass.modules():
        if isinstance(module, Residual):
            torch.nn.init.zeros_(module.branch[-1].weight)
            torch.nn.init.zeros_(module.branch[-1].bias)
    x = torch.zeros(1, 4, 4, 4)
    x[..., 0, 0], x[..., 0, 3] = 7, 2
    expected = torch.tensor([[21.0, 14, 9, 11], [14, 14, 9, 9], [7, 7, 7, 7], [7, 7, 7, 7]])
    assert torch.equal(hourglass(x), expected.expand_as(x))


@pytest.mark.parametrize("name", ["hourglass", "pyranet"])
@pytest.mark.parametrize("halvings, size, coarsest", [(4, 256, 4), (3, 128, 4), (2, 64, 4), (4, 64, 1), (1, 32, 4)])
def test_maps_are_halved_as_often_as_told(name, halvings, size, coarsest):
    model = build_model(SPEC | {"name": name, "stacks": 1, "channels": 4, "halvings": halvings})
    sides = []
    for module in model.stacks.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(lambda _, inputs, output: sides.append(output.shape[-1]))
    with torch.no_grad():
        (maps,) = model.eval()(torch.rand(1, 3, size, size))
    assert maps.shape[-1] == max(sides) == size // 4
    if name == "hourglass":  # pyramids have coarser maps of their own
        assert sorted(set(sides)) == [coarsest * 2**level for level in range(halvings + 1)]


@pytest.mark.parametrize("change, residuals", [({}, 13), ({"halvings": 4}, 13), ({"halvings": 2}, 7)])
def test_three_residuals_for_each_halving_and_one_for_the_coarsest_map(change, residuals):
    hourglass = build_model(SPEC | change).stacks[0].features[0]
    assert sum(isinstance(module, Residual) for module in hourglass.modules()) == residuals


def test_nine_residuals_of_a_stack_are_on_the_way_through_its_coarsest_map():
    """FPD Sect. 3.1 counts these nine; four more are beside it, one at each finer map, and one stands behind."""
    stack = build_model(SPEC).stacks[0]
    beside, hourglass = [], stack.features[0]
    while isinstance(hourglass, Hourglass):
        beside.append(hourglass.upper)
        hourglass = hourglass.lower[2]
    residuals = sum(isinstance(module, Residual) for module in stack.modules())
    assert (residuals, len(beside), isinstance(stack.features[1], Residual)) == (9 + 4 + 1, 4, True)


def test_a_stack_depends_on_the_ones_before_it_only():
    model = build_model(SPEC | {"stacks": 3}).eval()
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(images)
        model.stacks[1].head.bias += 1.0
        after = model(images)
    changed = [not torch.allclose(a, b) for a, b in zip(before, after, strict=True)]
    assert changed == [False, True, True]


def test_gradients_reach_every_parameter():
    model = build_model(SPEC)
    sum(output.square().sum() for output in model(torch.rand(2, 3, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.merges.parameters())
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_channels_last_is_kept_and_changes_nothing():
    model = build_model(SPEC).eval()
    images = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        plain = model(images)
        model.to(memory_format=torch.channels_last)
        last = model(images.to(memory_format=torch.channels_last))
    assert all(output.is_contiguous(memory_format=torch.channels_last) for output in last)
    for a, b in zip(plain, last, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_images_of_a_batch_do_not_mix_in_evaluation():
    model = build_model(SPEC).eval()
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = model(images)[-1], torch.cat([model(image[None])[-1] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_learns_a_constant_map():
    torch.manual_seed(0)
    model = build_model(SPEC | {"stacks": 1})
    images, target = torch.rand(4, 3, 64, 64), torch.zeros(4, 5, 16, 16)
    target[..., 4:8, 4:8] = 1
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(20):
        loss = sum((output - target).square().mean() for output in model(images))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * min(losses[0], 2 * target.var().item())


def test_convolutions_start_as_in_torch():
    model = build_model(SPEC | {"channels": 64})
    convolutions = [layer for layer in model.modules() if isinstance(layer, torch.nn.Conv2d)]
    for layer in convolutions:
        bound = layer.weight[0].numel() ** -0.5
        assert layer.weight.abs().max() <= bound and layer.bias.abs().max() <= bound
    weights = model.stem[0].weight
    assert weights.std().item() == pytest.approx(147**-0.5 / 3**0.5, rel=0.05)


@pytest.mark.parametrize("halvings, size", [(4, (32, 32)), (4, (64, 96)), (4, (65, 64)), (2, (24, 16)), (1, (8, 12))])
def test_sizes_that_cannot_be_halved_are_refused(halvings, size):
    expected = f"{size[0]}x{size[1]} px, expected multiples of {4 * 2**halvings};"
    with pytest.raises(InputError, match=expected):
        build_model(SPEC | {"halvings": halvings})(torch.zeros(1, 3, *size))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"name": "hourglas"}, "model name is 'hourglas' \\(did you mean hourglass\\?\\); known: .*hourglass"),
        ({"width": 8}, "unknown key 'width', allowed are: name, joints, stacks, channels, stem, halvings"),
        ({"stem": "resnet"}, "stem is 'resnet', expected one of: newell, pytorch-pose"),
        ({"channels": 6}, "channels is 6, expected a positive multiple of 4"),
        ({"stacks": 0}, "stacks is 0"),
        ({"halvings": 0}, "halvings is 0, expected a positive multiple of 1"),
        ({"joints": 2.5}, "joints is 2.5"),
    ],
)
def test_impossible_specs_are_refused(change, message):
    with pytest.raises(InputError, match=message):
        build_model(SPEC | change)


def test_missing_keys_are_named():
    with pytest.raises(InputError, match="key 'joints' is missing"):
        build_model({"name": "hourglass", "stacks": 1})
    with pytest.raises(InputError, match="model name is None"):
        build_model({})
