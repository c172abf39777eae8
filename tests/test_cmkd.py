"""Distillation from depth to colour: its losses number by number, and what they train."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from lib.data.batches import Batch
from lib.errors import InputError
from lib.models import build_model
from lib.tasks.cmkd import CrossModalDistillation, attention_loss, attention_map
from lib.tasks.pose import PoseRegression, squared_distance

SPEC = {"name": "resnet", "joints": 21, "block": "basic", "blocks": [1, 1, 1, 1], "width": 4}


def network(seed: int = 0, **changes) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(SPEC | changes)


def task_of(activation: float = 1.0, attention: float = 1000.0) -> CrossModalDistillation:
    return CrossModalDistillation(network(), network(1), activation, attention)


def batch(people: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(7)
    images = {name: torch.randn(people, 3, 64, 64, generator=generator) for name in ("student", "teacher")}
    keypoints = torch.randn(people, 21, 3, generator=generator)
    return Batch(images, keypoints, torch.ones(people, 21, dtype=torch.bool), np.arange(people))


def part(data: Batch, rows: slice) -> Batch:
    """Some people of a batch."""
    images = {name: view[rows] for name, view in data.images.items()}
    return Batch(images, data.keypoints[rows], data.visible[rows], data.rows[rows])


# The losses


def test_squared_distance_is_a_sum_per_example_and_a_mean_over_the_batch():
    x = torch.tensor([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 0.0], [0.0, 5.0]]], requires_grad=True)
    y = torch.tensor([[[0.0, 2.0], [3.0, 1.0]], [[2.0, 0.0], [0.0, 1.0]]])
    loss = squared_distance(x, y)
    assert loss.item() == ((1 + 9) + (4 + 16)) / 2
    loss.backward()
    # 2 (x - y) / 2
    assert x.grad.tolist() == [[[1.0, 0.0], [0.0, 3.0]], [[-2.0, 0.0], [0.0, 4.0]]]


def test_attention_of_two_channels():
    maps = torch.tensor([[[[1.0, 0.0], [0.0, -1.0]], [[1.0, 2.0], [0.0, 1.0]]]])
    # squares summed over the channels: 2, 4, 0, 2; their norm is the root of 24
    torch.testing.assert_close(attention_map(maps), torch.tensor([[2.0, 4.0, 0.0, 2.0]]) / math.sqrt(24))


@settings(deadline=None, max_examples=40)
@given(
    arrays(np.float32, st.tuples(*[st.integers(1, 4)] * 4), elements=st.floats(0.25, 4, width=32)), st.floats(0.1, 10)
)
def test_attention_has_norm_one_and_knows_neither_size_nor_sign_nor_order_of_channels(maps, factor):
    maps = torch.from_numpy(maps)
    expected = attention_map(maps)
    torch.testing.assert_close(expected.norm(dim=1), torch.ones(len(maps)))
    for other in (factor * maps, -maps, maps.flip(1)):
        torch.testing.assert_close(attention_map(other), expected)


def test_attention_loss_of_two_stages_and_two_people():
    def maps(*pixels: list[float]) -> Tensor:
        return torch.tensor(pixels)[:, None, None]

    # Unit vectors of squares: (1, 0) against (0, 1) are 2 apart, equal ones 0, (1, 0) against (1, 1) / sqrt(2) between.
    ours = [maps([3.0, 0.0], [1.0, 1.0]), maps([1.0, 0.0], [2.0, 0.0])]
    theirs = [maps([0.0, 1.0], [5.0, 5.0]), maps([1.0, 1.0], [7.0, 0.0])]
    expected = (2 + 0) / 2 + ((2 - math.sqrt(2)) + 0) / 2
    assert attention_loss(ours, theirs).item() == pytest.approx(expected)


def test_maps_of_zeros_have_no_attention_and_finite_gradients():
    maps = torch.zeros(1, 2, 2, 2, requires_grad=True)
    loss = attention_loss([maps], [torch.ones(1, 2, 2, 2)])
    loss.backward()
    assert loss.item() == pytest.approx(1) and maps.grad.isfinite().all()


class Stub(nn.Module):
    """A network that always answers the same: a pose of one joint and maps of two pixels."""

    def __init__(self, pose: list[float], maps: list[list[float]]):
        super().__init__()
        self.channels = 1
        self.pose = nn.Parameter(torch.tensor([[pose]]))
        self.maps = nn.ParameterList(torch.tensor([[[pixels]]]) for pixels in maps)

    def activations(self, images: Tensor) -> tuple[Tensor, list[Tensor]]:
        return self.pose.expand(len(images), -1, -1), [maps.expand(len(images), -1, -1, -1) for maps in self.maps]

    def forward(self, images: Tensor) -> Tensor:
        return self.activations(images)[0]


UP, LEFT = [0.0, 1.0], [1.0, 0.0]
PERSON = Batch(
    dict.fromkeys(("student", "teacher"), torch.zeros(1, 3, 2, 2)),
    *(torch.zeros(1, 1, 3), torch.zeros(1, 1, dtype=torch.bool), np.arange(1)),
)


@pytest.mark.parametrize("stage", range(4))
def test_losses_of_a_person(stage):
    # One stage attends to the other pixel, 2 away; in the last the maps differ by (3, -1), too.
    student, teacher = [LEFT] * 4, [LEFT] * 4
    student[stage], teacher[stage] = [3.0, 0.0], UP
    task = CrossModalDistillation(Stub([1.0, 2.0, 2.0], student), Stub([9.0, 9.0, 9.0], teacher), 0.5, 10.0)
    expected = {"regression": 9.0, "activation": 0.5 * 10 if stage == 3 else 0.0, "attention": 10 * 2.0}
    assert {name: value.item() for name, value in task(PERSON).items()} == pytest.approx(expected)
    assert {name: value.item() for name, value in PoseRegression(task.student)(PERSON).items()} == {"regression": 9.0}


# The tasks


def test_a_teacher_of_equal_weights_that_sees_the_same_teaches_nothing():
    student, data = network(), batch()
    same = replace(data, images={"student": data.images["student"], "teacher": data.images["student"]})
    task = CrossModalDistillation(student, copy.deepcopy(student), 1.0, 1000.0).eval()
    losses = task(same)
    assert losses["activation"] == losses["attention"] == 0 < losses["regression"]
    assert all(task(data)[name] > 0 for name in ("activation", "attention"))


def test_each_loss_trains_what_lies_below_it():
    task, data = task_of().eval(), batch()
    names = [name for name, _ in task.student.named_parameters()]

    def learns(loss: str) -> set[str]:
        gradients = torch.autograd.grad(task(data)[loss], list(task.student.parameters()), allow_unused=True)
        return {name for name, gradient in zip(names, gradients, strict=True) if gradient is not None}

    assert learns("regression") == set(names)
    assert learns("activation") == learns("attention") == set(names) - {"fc.weight", "fc.bias"}


def test_the_teacher_never_changes():
    task, data = task_of(), batch()
    before = copy.deepcopy(task.teacher.state_dict())
    own = {id(parameter) for parameter in task.student.parameters()}
    assert {id(parameter) for parameter in task.parameters()} == own
    assert set(task.state_dict()) == {f"student.{name}" for name in task.student.state_dict()}
    task.train()
    optimizer = torch.optim.SGD(task.parameters(), lr=1e-4)
    for _ in range(2):
        sum(task(data).values()).backward()
        optimizer.step()
    assert not task.teacher.training and task.student.training
    assert all(torch.equal(value, before[name]) for name, value in task.teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in task.teacher.parameters())


def test_known_maps_of_the_teacher_are_not_computed_again():
    task, data = task_of().eval(), batch()
    expected, targets = task(data), task.targets(data)
    task._frozen = (None,)
    assert {name: value.item() for name, value in task(data, targets).items()} == {
        name: value.item() for name, value in expected.items()
    }


def test_losses_are_computed_in_single_precision():
    with torch.autocast("cpu", torch.bfloat16):
        losses = task_of()(batch())
    assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())


@pytest.mark.parametrize("flip_test", [False, True])
def test_predictions_are_the_networks_poses_without_scores(flip_test):
    task, data = task_of().eval(), batch()
    poses, scores = task.predict(data.images["student"], flip_test)
    assert scores is None and poses.shape == (4, 21, 3) and not poses.requires_grad
    assert torch.equal(poses, task.student(data.images["student"]))
    assert task.networks == [task.student] and task.own_optimizers() == []


def test_a_teacher_of_another_width_is_refused():
    message = "the teacher's last maps have 64 channels, the student's 32: .* choose a teacher with the student's"
    with pytest.raises(InputError, match=message):
        CrossModalDistillation(network(), network(width=8), 1.0, 1000.0)


def test_training_learns_poses_and_the_teachers_maps():
    task, data = task_of(attention=10.0).train(), batch()
    optimizer = torch.optim.Adam(task.parameters(), lr=1e-2)
    history = []
    for _ in range(30):
        losses = task(data)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    assert all(history[-1][name] < 0.6 * value for name, value in history[0].items()), (history[0], history[-1])
