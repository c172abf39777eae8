"""Learning a prior: the gradient through the inner steps, what it leaves alone, and what a learned prior does."""

import copy
from collections.abc import Iterable
from itertools import pairwise

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.errors import InputError
from lib.models import build_model
from lib.tasks.cmkd import CrossModalDistillation
from lib.tasks.cmkg import MetaTraining
from lib.tasks.pose import PoseRegression
from lib.tasks.regulariser import Regulariser, load_prior, save_prior
from tests.benchmarks.meta_step import unrolled

SPEC = {"name": "resnet", "joints": 5, "block": "basic", "blocks": [1, 1, 1, 1], "width": 4}
WEIGHTS = {"activation": 1.0, "attention": 10.0}
ALPHA = 1e-3  # of the inner step: large enough for second derivatives to matter
NORMS = ("l1", "l2")


def network(seed: int = 0, **changes) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(SPEC | changes).double()


def task_of(norm: str = "l2", inner_steps: int = 1, prior: float = 0.0) -> MetaTraining:
    """Meta-training in float64 from a phi of the deviation `prior`."""
    settings = {"norm": norm, "inner_steps": inner_steps, "inner_lr": ALPHA, "meta_lr": 1e-3}
    task = MetaTraining(network(), network(1), **WEIGHTS, **settings).double().train()
    torch.manual_seed(2)
    with torch.no_grad():
        for phi in task.phi:
            phi.copy_(prior * torch.randn(phi.shape))
    return task


def batch(people: int = 4, seed: int = 7) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    images = {name: torch.randn(people, 3, 64, 64, generator=generator).double() for name in ("student", "teacher")}
    keypoints = torch.randn(people, 5, 3, generator=generator).double()
    return Batch(images, keypoints, torch.ones(people, 5, dtype=torch.bool), np.arange(people))


def meta_gradient(task: MetaTraining, data: Batch) -> list[Tensor]:
    """The gradient of the loss "prior" with respect to phi."""
    return list(torch.autograd.grad(task(data)["prior"], list(task.phi)))


def flat(tensors: Iterable[Tensor]) -> Tensor:
    """All numbers of some tensors in a row."""
    return torch.cat([tensor.flatten() for tensor in tensors])


def single(task: MetaTraining, data: Batch) -> tuple[MetaTraining, Batch]:
    """The same in single precision."""
    task.base.teacher.float()
    images = {name: view.float() for name, view in data.images.items()}
    return task.float(), Batch(images, data.keypoints.float(), data.visible, data.rows)


def descended(task: MetaTraining, data: Batch, steps: int) -> CrossModalDistillation:
    """G around a copy of the student that has done steps of SGD on F (Algorithm 1, lines 4 to 8)."""
    student = copy.deepcopy(task.student)
    base = PoseRegression(student, Regulariser(student.parameters(), task.norm, [phi.detach() for phi in task.phi]))
    optimizer = torch.optim.SGD(student.parameters(), lr=task.inner_lr)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(base(data).values()).backward()
        optimizer.step()
    optimizer.zero_grad()
    return CrossModalDistillation(student, task.base.teacher, **WEIGHTS)


# A network of two weights


class Line(nn.Module):
    """The pose (a x, b x) of one joint, of an image that is x everywhere; its maps are the same numbers, one pixel."""

    channels = 2

    def __init__(self, *theta: float):
        super().__init__()
        self.theta = nn.Parameter(torch.tensor(theta))

    def activations(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        values = images.mean((1, 2, 3))[:, None] * self.theta
        return values[:, None], [values[..., None, None]] * 4

    def forward(self, images: Tensor) -> Tensor:
        return self.activations(images)[0]


# x = 1 with the pose (1, 0) and x = 2 with (3, 4)
POINTS = Batch(
    dict.fromkeys(("student", "teacher"), torch.tensor([1.0, 2.0])[:, None, None, None].expand(2, 3, 1, 1)),
    *(torch.tensor([[[1.0, 0.0]], [[3.0, 4.0]]]), torch.ones(2, 1, dtype=torch.bool), np.arange(2)),
)


@pytest.mark.parametrize(
    "norm, phi, expected, slope",
    [
        ("l2", [torch.tensor([0.5, -0.25])], 0.5 * 4 - 0.25 * 1, [2.0, 0.5]),
        ("l1", [torch.tensor([0.5, -0.25])], 0.5 * 2 - 0.25 * 1, [0.5, 0.25]),
        ("l2", 0.1, 0.1 * 5, [0.4, -0.2]),
        ("l1", 0.1, 0.1 * 3, [0.1, -0.1]),
    ],
)
def test_regularised_loss_of_two_weights(norm, phi, expected, slope):
    """Algorithm 2, line 4."""
    student = Line(2.0, -1.0)
    task = PoseRegression(student, Regulariser(student.parameters(), norm, phi))
    losses = task(POINTS)
    # Errors (1, -1) and (1, -6): 2 and 37; the gradient of their mean is that of sum x e.
    values = {"regression": 19.5, "regulariser": expected}
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(values)
    optimizer = torch.optim.SGD([p for p in task.parameters() if p.requires_grad], lr=0.1)
    sum(losses.values()).backward()
    optimizer.step()
    torch.testing.assert_close(student.theta.grad, torch.tensor([3.0, -13.0]) + torch.tensor(slope))
    torch.testing.assert_close(student.theta.data, torch.tensor([2.0, -1.0]) - 0.1 * student.theta.grad)
    assert all(value.grad is None for value in task.regulariser.phi)


@pytest.mark.parametrize("norm, gradient", [("l2", [-2.0, -2.0]), ("l1", [-0.5, -1.0])])
def test_prior_of_two_weights(norm, gradient):
    """One iteration of Algorithm 1 from phi = 0."""
    student = Line(2.0, -1.0)
    settings = {"norm": norm, "inner_steps": 1, "inner_lr": 0.1, "meta_lr": 0.5}
    task = MetaTraining(student, Line(1.0, 1.0), activation=1.0, attention=1.0, **settings)
    losses = task(POINTS)
    # At theta: 19.5, the mean of x^2 times the squared distance from (1, 1), and the equal attention of single pixels.
    # Its gradient is (3, -13), so that the inner step ends at (1.7, 0.3), with errors (0.7, 0.3) and (0.4, -3.4).
    values = {"regression": 19.5, "activation": 2.5 * 5, "attention": 0.0}
    values["prior"] = (0.58 + 11.72) / 2 + 2.5 * (0.49 + 0.49)
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(values)
    sum(losses.values()).backward()
    # The gradient of G there is (1.5, -6.5) + 5 (0.7, -0.7) = (5, -10); -0.1 times d|theta|^p of (2, -1) times that.
    torch.testing.assert_close(task.phi[0].grad, torch.tensor(gradient))
    torch.testing.assert_close(student.theta.grad, torch.tensor([3.0, -13.0]) + 5 * torch.tensor([1.0, -2.0]))
    (optimizer,) = task.own_optimizers()
    optimizer.step()
    torch.testing.assert_close(task.phi[0].data, -0.5 * torch.tensor(gradient))
    assert student.theta.tolist() == [2.0, -1.0]


# The gradient through the inner steps


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_prior_loss_is_that_after_the_inner_steps(norm, steps):
    task, data = task_of(norm, steps, prior=1.0), batch()
    losses = task(data)
    after = sum(descended(task, data, steps)(data).values())
    torch.testing.assert_close(losses.pop("prior"), after)
    assert after < 0.999 * sum(losses.values())


@pytest.mark.parametrize("norm", NORMS)
def test_one_step_has_the_closed_form(norm):
    task, data = task_of(norm, prior=1.0), batch()
    after = descended(task, data, 1)
    sum(after(data).values()).backward()
    for found, theta, end in zip(
        meta_gradient(task, data), task.student.parameters(), after.student.parameters(), strict=True
    ):
        slope = 2 * theta if norm == "l2" else theta.sign()
        torch.testing.assert_close(found, -ALPHA * slope * end.grad, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 2])
def test_the_gradient_is_that_of_finite_differences(norm, steps):
    task, data = task_of(norm, steps, prior=0.1), batch()
    gradient = meta_gradient(task, data)
    step = 1e-4

    def difference(direction: list[Tensor]) -> float:
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                for phi, change in zip(task.phi, direction, strict=True):
                    phi.add_(sign * step * change)
            values.append(sum(descended(task, data, steps)(data).values()).item())
            with torch.no_grad():
                for phi, change in zip(task.phi, direction, strict=True):
                    phi.sub_(sign * step * change)
        return (values[0] - values[1]) / (2 * step)

    for number in (0, 1, 7, len(gradient) - 2):  # of a convolution, two normalisations and the last layer
        largest = gradient[number].abs().argmax()
        direction = [torch.zeros_like(phi) for phi in task.phi]
        direction[number].view(-1)[largest] = 1
        expected = gradient[number].reshape(-1)[largest].item()
        assert difference(direction) == pytest.approx(expected, rel=1e-4, abs=1e-9)
    direction = [torch.randn_like(phi) for phi in task.phi]
    expected = sum((own * change).sum().item() for own, change in zip(gradient, direction, strict=True))
    assert difference(direction) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("precision, tolerance", [("double", 1e-9), ("single", 1e-5)])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("steps", [1, 2])
def test_the_gradient_is_that_of_steps_unrolled_from_the_first(norm, steps, precision, tolerance):
    task, data = task_of(norm, steps, prior=0.1), batch()
    if precision == "single":
        task, data = single(task, data)
    found = meta_gradient(task, data)
    expected = torch.autograd.grad(unrolled(task, data), list(task.phi))
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours - theirs).norm() <= tolerance * theirs.norm()


def test_second_derivatives_matter_after_the_first_step():
    task, data = task_of(inner_steps=2, prior=0.1), batch()
    found = flat(meta_gradient(task, data))
    # Without them each step would add its own closed form, with the gradient of G at the end.
    ends = [descended(task, data, steps) for steps in (0, 1, 2)]
    sum(ends[2](data).values()).backward()
    first_order = flat(
        -ALPHA * 2 * (start + middle) * end.grad
        for start, middle, end in zip(*(after.student.parameters() for after in ends), strict=True)
    )
    assert (found - first_order).norm() > 1e-2 * found.norm()


# What meta-training leaves alone


@pytest.mark.parametrize("steps", [1, 2])
def test_the_student_follows_the_path_of_distillation_alone(steps):
    task = task_of(inner_steps=steps)
    alone = CrossModalDistillation(copy.deepcopy(task.student), task.base.teacher, **WEIGHTS).train()
    for trained in (alone, task):
        optimizers = [torch.optim.Adam(trained.student.parameters(), lr=1e-3), *trained.own_optimizers()]
        for number in range(3):
            sum(trained(batch(seed=number)).values()).backward()
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
    for name, value in alone.student.state_dict().items():  # running statistics and their counts are among them
        assert torch.equal(task.student.state_dict()[name], value), name
    assert all(phi.any() for phi in task.phi)


def test_phi_has_a_number_per_parameter_and_starts_at_zero():
    task = task_of()
    assert [phi.shape for phi in task.phi] == [theta.shape for theta in task.student.parameters()]
    assert not any(phi.any() for phi in task.phi)
    (optimizer,) = task.own_optimizers()
    (group,) = optimizer.param_groups
    assert type(optimizer) is torch.optim.SGD and (group["lr"], group["momentum"]) == (1e-3, 0)
    own = {id(phi) for phi in task.phi}
    assert {id(phi) for phi in group["params"]} == own
    assert {id(p) for p in task.parameters()} - own == {id(p) for p in task.student.parameters()}


def test_the_teacher_runs_once_and_never_changes():
    task = task_of(inner_steps=2)
    before, calls = copy.deepcopy(task.base.teacher.state_dict()), []
    task.base.teacher.layer4.register_forward_hook(lambda *_: calls.append(1))
    sum(task(batch()).values()).backward()
    assert len(calls) == 1
    assert all(torch.equal(value, before[name]) for name, value in task.base.teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in task.base.teacher.parameters())


def test_a_compiled_step_is_the_same():
    task, data = task_of(prior=0.1), batch()
    expected = meta_gradient(task, data)
    task.compile()
    torch.testing.assert_close(meta_gradient(task, data), expected)


def test_a_step_of_half_precision_learns_about_the_same():
    task, data = task_of(prior=0.1), batch()
    exact = meta_gradient(task, data)
    task, data = single(task, data)
    with torch.autocast("cpu", torch.bfloat16):
        losses = task(data)
    sum(losses.values()).backward()
    assert all(loss.dtype == torch.float32 for loss in losses.values())
    assert torch.cosine_similarity(flat(phi.grad for phi in task.phi).double(), flat(exact), dim=0) > 0.8


# What a prior does


def test_a_learned_prior_makes_the_regularised_step_a_better_one():
    task, data = task_of(), batch()
    optimizer = torch.optim.SGD(task.phi, lr=100.0)
    history = []
    for _ in range(6):
        loss = task(data)["prior"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert all(after < before for before, after in pairwise(history)), history
    # Held against another network of the same start: F with phi lowers G by more than L_REG alone does.
    unguided = task_of()
    plain, guided = (sum(descended(of, data, 1)(data).values()) for of in (unguided, task))
    assert guided < plain


def test_a_prior_survives_its_file(tmp_path):
    task = task_of(prior=1.0)
    path = tmp_path / "prior.safetensors"
    task.save(tmp_path)
    assert list(load_file(path)) == sorted(name for name, _ in task.student.named_parameters())
    loaded = load_prior(path, network(5))
    assert [value.dtype for value in loaded] == [torch.float32] * len(task.phi)
    assert all(torch.equal(value, phi.float()) for value, phi in zip(loaded, task.phi, strict=True))


@pytest.mark.parametrize("change", [{"width": 8}, {"blocks": [1, 1, 1, 2]}, {"joints": 21}])
def test_a_prior_of_another_network_is_refused(tmp_path, change):
    task = task_of()
    path = tmp_path / "prior.safetensors"
    save_prior(path, task.student, task.phi)
    with pytest.raises(InputError, match=r"prior\.safetensors was learned for another network"):
        load_prior(path, network(**change))


def test_no_prior(tmp_path):
    path = tmp_path / "prior.safetensors"
    with pytest.raises(InputError, match=r"prior\.safetensors not found: train the run that learns this prior"):
        load_prior(path, network())
    path.write_bytes(b"weights")
    with pytest.raises(InputError, match=r"prior\.safetensors is not a prior of this project"):
        load_prior(path, network())
    save_file({"fc.bias": torch.zeros(15)}, path)
    with pytest.raises(InputError, match="learned for another network"):
        load_prior(path, network())
