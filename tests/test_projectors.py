"""How maps of two sizes are brought together: projectors, their weights, and the alternatives."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lib.errors import InputError
from lib.models.projectors import ProjectorEnsemble, build_class_layers, build_projectors, check_scale

CHANNELS, SMALL, LARGE = 3, (2, 3), (4, 6)
KERNELS = (3, 5, 7, 7)
KINDS = ("sape", "mean", "fully_connected", "convolution")


def build(kind: str, projectors: int = 2, kernels: tuple[int, ...] = KERNELS) -> nn.Module:
    """An alignment in evaluation, with random running statistics; "mean": SAPE without SAU."""
    torch.manual_seed(0)
    name, kernels = ("sape", ()) if kind == "mean" else (kind, kernels)
    module = build_projectors(name, CHANNELS, SMALL, LARGE, projectors, kernels).double()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean, layer.running_var):
                nn.init.uniform_(values, 0.2, 1.5)
    return module.eval()


def maps(people: int = 2, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (
        torch.randn(people, CHANNELS, *size, generator=generator, dtype=torch.float64) for size in (SMALL, LARGE)
    )
    return student.requires_grad_(), teacher


def slow_projections(module: nn.Module, student: np.ndarray, count: int) -> np.ndarray:
    """All projectors on the maps of one person, channel by channel: (K, C, H, W)."""
    weight, bias = (x.detach().numpy() for x in module.project.parameters())
    pixels = LARGE[0] * LARGE[1]
    layers = [(weight[k * pixels :][:pixels], bias[k * pixels :][:pixels]) for k in range(count)]
    return np.array([[np.maximum(0, w @ x.ravel() + b).reshape(LARGE) for x in student] for w, b in layers])


def slow_weights(unit: nn.Module, student: torch.Tensor, count: int) -> np.ndarray:
    """Eqs. 1 to 3 on one person, the fully connected layer pixel by pixel as the paper has it: (K, C)."""
    paths = []
    for (convolution, norm, _), kernel in zip(unit.paths, KERNELS, strict=True):
        assert convolution.kernel_size == (kernel, kernel)
        x = F.conv2d(student[None], convolution.weight, convolution.bias, padding=kernel // 2)
        x = (x - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
        paths.append((x * norm.weight[:, None, None] + norm.bias[:, None, None]).clamp(min=0)[0])
    joined = torch.cat(paths)
    pixels = [unit.fuse(joined[:, y, x]) for y in range(SMALL[0]) for x in range(SMALL[1])]
    vector = (sum(pixels) / len(pixels)).detach().numpy()
    weight, bias = (x.detach().numpy() for x in unit.select.parameters())
    layers = [(weight[k * CHANNELS :][:CHANNELS], bias[k * CHANNELS :][:CHANNELS]) for k in range(count)]
    odds = np.exp([w @ vector + b for w, b in layers])
    return odds / odds.sum(0)


@pytest.mark.parametrize("count", [1, 2, 4])
def test_sape_is_the_weighted_sum_of_its_projectors(count):
    module, (student, teacher) = build("sape", count), maps()
    features, target = module(student, teacher)
    assert target is teacher
    for person, found in zip(student.detach(), features, strict=True):
        projected = slow_projections(module, person.numpy(), count)
        weights = slow_weights(module.unit, person, count)
        expected = (weights[..., None, None] * projected).sum(0)
        np.testing.assert_allclose(found.detach().numpy(), expected, rtol=1e-10)
        assert count == 1 or np.ptp(weights, axis=0).min() > 1e-3


@pytest.mark.parametrize("count", [1, 3])
def test_without_kernels_the_projectors_are_averaged(count):
    module, (student, teacher) = build("mean", count), maps()
    assert [type(layer) for layer in module.children()] == [nn.Linear]
    expected = [slow_projections(module, person.numpy(), count).mean(0) for person in student.detach()]
    np.testing.assert_allclose(module(student, teacher)[0].detach().numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_weights_are_positive_and_sum_to_one_over_the_projectors(count, training):
    weights = build("sape", count).unit.train(training)(maps(4)[0])
    assert weights.shape == (4, count, CHANNELS) and (weights > 0).all()
    torch.testing.assert_close(weights.sum(1), torch.ones(4, CHANNELS, dtype=torch.float64))
    assert (weights[0] != weights[1]).all() and (weights[:, 0] != weights[:, 1]).all()


def test_the_order_of_the_projectors_is_of_no_consequence():
    module, (student, teacher) = build("sape", 3), maps()
    before = module(student, teacher)[0].detach()
    order = [2, 0, 1]
    with torch.no_grad():
        for layer in (module.project, module.unit.select):
            for parameter in layer.parameters():
                parameter.copy_(parameter.unflatten(0, (3, -1))[order].flatten(0, 1))
    torch.testing.assert_close(module(student, teacher)[0], before)


def test_literal_projectors():
    # One pixel to 1 x 2: the first projector gives (2 x, -x), the second (1, x + 3), before their ReLU.
    module = ProjectorEnsemble(2, (1, 1), (1, 2), 2, ())
    with torch.no_grad():
        module.project.weight[:] = torch.tensor([[2.0], [-1.0], [0.0], [1.0]])
        module.project.bias[:] = torch.tensor([0.0, 0.0, 1.0, 3.0])
    student = torch.tensor([3.0, -1.0]).reshape(1, 2, 1, 1)
    # channel x = 3: (6, 0) and (1, 6); channel x = -1: (0, 1) and (1, 2)
    torch.testing.assert_close(module(student, student)[0], torch.tensor([[[[3.5, 3.0]], [[0.5, 1.5]]]]))


def test_a_fully_connected_layer_alone_keeps_negative_values():
    module, (student, teacher) = build("fully_connected"), maps()
    weight, bias = (x.detach().numpy() for x in module.project.parameters())
    expected = (student.detach().flatten(2).numpy() @ weight.T + bias).reshape(2, CHANNELS, *LARGE)
    features, target = module(student, teacher)
    np.testing.assert_allclose(features.detach().numpy(), expected)
    assert (features < 0).any() and target is teacher


def test_the_strided_convolution_can_average_the_teachers_pixels():
    module, (student, teacher) = build("convolution"), maps()
    with torch.no_grad():
        module.reduce.weight[:] = torch.eye(CHANNELS)[:, :, None, None] / 4
        module.reduce.bias.zero_()
    features, target = module(student, teacher)
    assert features is student
    torch.testing.assert_close(target, teacher.reshape(2, CHANNELS, 2, 2, 3, 2).mean((3, 5)))


@pytest.mark.parametrize("kind", KINDS)
def test_everything_learns(kind):
    module, (student, teacher) = build(kind), maps()
    features, target = module(student, teacher)
    assert features.shape == target.shape
    (features - target).square().sum().backward()
    assert student.grad.abs().min() > 0
    assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_all_paths_to_the_features(kind):
    # The student's map also reaches them by way of the weights.
    module, (student, teacher) = build(kind), maps(1)
    assert torch.autograd.gradcheck(lambda student: module(student, teacher), student)


def test_every_projector_starts_from_values_of_its_own_spread_as_in_a_layer_alone():
    torch.manual_seed(0)
    weight, bias = ProjectorEnsemble(1, (16, 16), (32, 32), 3, ()).project.parameters()
    for values in (weight.detach().unflatten(0, (3, -1)), bias.detach().unflatten(0, (3, -1))):
        assert all((values[a] != values[b]).any() for a, b in ((0, 1), (0, 2), (1, 2)))
        bounds = values.flatten(1).abs().amax(1)
        assert (bounds <= 1 / 16).all() and (bounds > 0.99 / 16).all()


@pytest.mark.parametrize("people", [1, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_person_has_the_same_features_in_any_batch(kind, people):
    module, (student, teacher) = build(kind), maps(people)
    together = module(student, teacher)
    for row in range(people):
        alone = module(student[row : row + 1], teacher[row : row + 1])
        for one, all_ in zip(alone, together, strict=True):
            torch.testing.assert_close(one[0], all_[row], rtol=1e-12, atol=1e-14)


def test_number_of_parameters_at_the_papers_size():
    # 64 px from 256 px: 16 x 16 to 64 x 64 pixels, 16 joints. A convolution has a bias, a scale and a shift.
    with torch.device("meta"):
        sape = build_projectors("sape", 16, (16, 16), (64, 64), 3, KERNELS)
        mean = build_projectors("sape", 16, (16, 16), (64, 64), 3, ())
    projectors = 3 * (256 + 1) * 4096
    paths = sum(16 * 16 * k * k + 3 * 16 for k in KERNELS)
    assert sum(p.numel() for p in mean.parameters()) == projectors
    assert sum(p.numel() for p in sape.parameters()) == projectors + paths + (64 + 1) * 32 + (32 + 1) * 48


# What fits


class Classes(nn.Module):
    """A network as far as its numbers of classes."""

    def __init__(self, columns: int, rows: int, output: str = "simcc"):
        super().__init__()
        self.output = output
        self.columns, self.rows = nn.Linear(1, columns), nn.Linear(1, rows)


def test_only_a_fully_connected_layer_changes_the_teachers_logits():
    teacher, student = Classes(24, 32), Classes(6, 8)
    x = torch.randn(2, 5, 24)
    assert all(layer(x) is x for layer in build_class_layers("cca", teacher, student))
    assert all(layer(x) is x for layer in build_class_layers("same", student, student))
    columns, rows = build_class_layers("fully_connected", teacher, student)
    assert columns(x).shape == (2, 5, 6) and rows(torch.randn(2, 5, 32)).shape == (2, 5, 8)


sides = st.tuples(st.integers(1, 40), st.integers(1, 40))


@given(sides, st.integers(1, 9))
def test_whole_multiples_fit(small, m):
    check_scale("px", (m * small[0], m * small[1]), small)
    check_scale("px", small, small, same=True)


@given(sides, sides)
def test_other_sizes_do_not(large, small):
    assume(any(a % b for a, b in zip(large, small, strict=True)) or large[0] * small[1] != large[1] * small[0])
    with pytest.raises(InputError):
        check_scale("px", large, small)


def test_what_does_not_fit_is_refused_with_one_line():
    with pytest.raises(InputError) as error:
        build_projectors("sape", 3, (16, 16), (40, 40), 3, ())
    expected = "expected a whole multiple, the same along both axes"
    assert str(error.value) == f"map px of the teacher 40 x 40 and of the student 16 x 16: {expected}"
    with pytest.raises(InputError) as error:
        build_projectors("sape", 3, (16, 16), (8, 8), 3, ())
    assert str(error.value) == f"map px of the teacher 8 x 8 and of the student 16 x 16: {expected}"
    with pytest.raises(InputError) as error:
        build_class_layers("cca", Classes(512, 256), Classes(128, 128))
    assert str(error.value) == f"classes of the teacher 512 x 256 and of the student 128 x 128: {expected}"
    with pytest.raises(InputError) as error:
        build_class_layers("same", Classes(512, 512), Classes(128, 128))
    assert str(error.value) == "classes of the teacher 512 x 512 and of the student 128 x 128: expected equal numbers"
    with pytest.raises(InputError) as error:
        build_class_layers("cca", Classes(8, 8), Classes(8, 8, "heatmap"))
    assert str(error.value) == "the student has heatmap output, no classes to distil: set logits to none"
    with pytest.raises(InputError) as error:
        build_projectors("pooling", 3, SMALL, LARGE, 3, ())
    assert str(error.value) == "features is 'pooling', expected one of: sape, fully_connected, convolution"
    with pytest.raises(InputError) as error:
        build_class_layers("pooling", Classes(8, 8), Classes(8, 8))
    assert str(error.value) == "logits is 'pooling', expected one of: cca, same, fully_connected"
