"""Losses, teacher and prediction of the tasks."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.models import build_model
from lib.tasks import build_task
from lib.tasks.fpd import EPSILON, FastPoseDistillation, cross_entropy
from lib.tasks.heatmap import Supervised, mse, released_mse, swapped
from tests import toy

MAPS = torch.tensor([[[[1.0, 2.0], [0.0, -1.0]], [[0.5, 0.0], [0.0, 0.0]]]])  # one image, two joints, 2 x 2 pixels
TARGET = torch.tensor([[[[0.0, 2.0], [2.0, 0.0]], [[0.0, 0.0], [1.0, 0.0]]]])
BOTH, FIRST = torch.tensor([[True, True]]), torch.tensor([[True, False]])


def network(seed: int, stacks: int = 1) -> nn.Module:
    torch.manual_seed(seed)
    return build_model({"name": "hourglass", "joints": 14, "stacks": stacks, "channels": 8, "stem": "pytorch-pose"})


def batch(people: int = 3) -> Batch:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(people, 3, 64, 64, generator=generator)
    keypoints = 63 * torch.rand(people, 14, 2, generator=generator)
    visible = torch.rand(people, 14, generator=generator) < 0.7
    return Batch({"student": images}, keypoints, visible, np.arange(people))


CODEC = HeatmapCodec((64, 64), sigma=1.0)


def distillation(student: nn.Module, teacher: nn.Module, alpha: float, loss="mse", variant="paper"):
    return FastPoseDistillation(student, CODEC, toy.FLIP_PAIRS, teacher, alpha, loss, variant)


def gradients(module: nn.Module, losses: dict) -> list:
    sum(losses.values()).backward()
    return [parameter.grad for parameter in module.parameters()]


def test_mse_sums_over_pixels_and_averages_over_joints():
    # joint 1: 1 + 0 + 4 + 1 = 6; joint 2: 0.25 + 1 = 1.25
    assert mse(MAPS, TARGET).item() == 3.625
    assert mse(MAPS.repeat(2, 1, 1, 1), TARGET.repeat(2, 1, 1, 1)).item() == 3.625


def test_mse_leaves_out_unlabelled_joints_but_divides_by_all():
    assert mse(MAPS, TARGET, FIRST).item() == 3.0


def test_mse_gradient():
    maps = MAPS.clone().requires_grad_()
    mse(maps, TARGET, FIRST).backward()
    # 2 (m - t) / K with K = 2
    assert torch.equal(maps.grad, torch.tensor([[[[1.0, 0.0], [-2.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]]]))


def test_mse_of_a_batch_is_the_mean_over_its_halves_however_labels_are_spread():
    generator = torch.Generator().manual_seed(0)
    maps, target = torch.rand(2, 4, 5, 6, 6, generator=generator, dtype=torch.float64)
    visible = torch.tensor([[True] * 5, [True] * 5, [False] * 5, [False, False, False, False, True]])
    halves = [mse(maps[half], target[half], visible[half]) for half in (slice(0, 2), slice(2, 4))]
    torch.testing.assert_close(mse(maps, target, visible), sum(halves) / 2)


def test_released_mse_halves_averages_over_pixels_and_masks():
    assert released_mse(MAPS, TARGET, BOTH).item() == pytest.approx(0.5 * (6 / 4 + 1.25 / 4) / 2)
    assert released_mse(MAPS, TARGET, FIRST).item() == pytest.approx(0.5 * (6 / 4) / 2)


def test_released_mse_equals_a_loop_over_joints():
    generator = torch.Generator().manual_seed(1)
    maps, target = torch.rand(2, 3, 5, 4, 4, generator=generator)
    visible = torch.rand(3, 5, generator=generator) < 0.5
    total = 0.0
    for joint in range(5):
        weight = visible[:, joint].float().reshape(3, 1)
        pixels, truth = maps[:, joint].reshape(3, -1), target[:, joint].reshape(3, -1)
        total += 0.5 * nn.functional.mse_loss(pixels * weight, truth * weight)
    torch.testing.assert_close(released_mse(maps, target, visible), total / 5)


def test_cross_entropy_of_normalised_maps():
    student = torch.tensor([[[[1.0, 1.0], [2.0, -5.0]]]])  # 1/4, 1/4, 1/2, 0
    teacher = torch.tensor([[[[3.0, 0.0], [1.0, -2.0]]]])  # 3/4, 0, 1/4, 0
    expected = -(0.75 * math.log(0.25) + 0.25 * math.log(0.5))
    assert cross_entropy(student, teacher).item() == pytest.approx(expected, abs=1e-4)


def test_cross_entropy_is_least_at_the_teacher_and_blind_to_scale():
    teacher = torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(2)) + 0.1
    least = cross_entropy(teacher, teacher)
    torch.testing.assert_close(cross_entropy(7 * teacher, teacher), least, rtol=1e-4, atol=0)
    assert cross_entropy(teacher.flip(3), teacher) > least


def test_cross_entropy_gradient_is_finite_and_that_of_the_formula():
    maps = torch.tensor([[[[1.0, 3.0]]]], requires_grad=True)
    cross_entropy(maps, torch.tensor([[[[1.0, 1.0]]]])).backward()
    # d/ds_i of -sum t log(s / sum s) = 1 / sum s - t_i / s_i
    torch.testing.assert_close(maps.grad, torch.tensor([[[[1 / 4 - 1 / 2, 1 / 4 - 1 / 6]]]]), rtol=0, atol=10 * EPSILON)
    empty = torch.zeros(1, 1, 2, 2, requires_grad=True)
    cross_entropy(empty, torch.full((1, 1, 2, 2), -1.0)).backward()
    assert empty.grad.isfinite().all()


class Constant(nn.Module):
    """A network whose stacks always answer with the same maps."""

    def __init__(self, *stacks: torch.Tensor):
        super().__init__()
        self.maps = nn.ParameterList(stacks)

    def forward(self, images):
        return [maps + 0 for maps in self.maps]


class Literal(HeatmapCodec):
    """A codec whose target is TARGET."""

    def encode(self, keypoints):
        return TARGET


@pytest.mark.parametrize(
    ("loss", "variant", "expected"),
    [
        # stack 1: labels 3 (joint 1 only), teacher's last stack (zeros) (6 + 0.25) / 2; stack 2: labels 4, teacher 0
        ("mse", "paper", {"mse": 0.75 * (3 + 4), "distillation": 0.25 * 3.125}),
        ("mse", "released", {"mse": 0.75 * (3 + 4) / 8, "distillation": 0.25 * 3 / 8}),
    ],
)
def test_fpd_compares_every_stack_with_labels_and_the_teachers_last_stack(loss, variant, expected):
    student, teacher = Constant(MAPS, 0 * MAPS), Constant(MAPS, 0 * MAPS)
    task = FastPoseDistillation(student, Literal((8, 8), sigma=1.0), (), teacher, 0.25, loss, variant)
    losses = task(Batch({"student": torch.zeros(1, 3, 8, 8)}, torch.zeros(1, 2, 2), FIRST, np.arange(1)))
    assert {name: value.item() for name, value in losses.items()} == pytest.approx(expected)


def test_released_gradients_of_a_person():
    """Half the mean over 4 px and 2 joints: (m - t) / 8 a pixel, from labels and, alone in the paper, from joint 2."""
    student, teacher = Constant(MAPS), Constant(0 * MAPS)
    task = FastPoseDistillation(student, Literal((8, 8), sigma=1.0), (), teacher, 0.25, "mse", "released")
    data = Batch({"student": torch.zeros(1, 3, 8, 8)}, torch.zeros(1, 2, 2), FIRST, np.arange(1))
    losses = task(data)
    losses["mse"].backward()
    labels = torch.tensor([[[[1.0, 0.0], [-2.0, -1.0]], [[0.0, 0.0], [0.0, 0.0]]]])
    assert torch.equal(student.maps[0].grad, 0.75 * labels / 8)
    student.maps[0].grad = None
    losses["distillation"].backward()
    assert torch.equal(student.maps[0].grad, 0.25 * MAPS * FIRST[..., None, None] / 8)


@pytest.mark.parametrize("x, counts", [(3.0, True), (-16.5, True), (-17.0, False), (19.0, True), (19.5, False)])
def test_joints_off_the_map_are_empty_maps_in_the_paper_and_do_not_count_in_the_released_code(x, counts):
    # A map of 2 x 2 px of 4 input px each, sigma 1: a joint counts in its pixels -4 to 4, input px -16.5 to 19.5.
    data = Batch({"student": torch.zeros(1, 3, 8, 8)}, torch.tensor([[[3.0, 3.0], [x, 3.0]]]), BOTH, np.arange(1))
    codec = HeatmapCodec((8, 8), sigma=1.0, scaling="peak", centre="pixel")
    for variant in ("paper", "released"):
        student = Constant(torch.ones(1, 2, 2, 2))
        losses = FastPoseDistillation(student, codec, (), Constant(0 * MAPS), 0.5, "mse", variant)(data)
        for loss in losses.values():
            student.maps[0].grad = None
            loss.backward(retain_graph=True)
            assert student.maps[0].grad[0, 0].any()
            assert student.maps[0].grad[0, 1].any() == (counts or variant == "paper")


def test_cross_entropy_replaces_the_distillation_loss_only():
    student, teacher = network(0, stacks=2), network(1)
    plain = distillation(student, teacher, 0.5)(batch())
    other = distillation(student, teacher, 0.5, loss="cross_entropy")(batch())
    assert torch.equal(plain["mse"], other["mse"])
    outputs, target = student(batch().images["student"]), teacher(batch().images["student"])[-1]
    expected = 0.5 * sum(cross_entropy(maps, target) for maps in outputs)
    torch.testing.assert_close(other["distillation"], expected)


def test_without_distillation_the_gradients_are_those_of_supervised_training():
    student = network(0, stacks=2)
    twin = copy.deepcopy(student)
    supervised = gradients(student, Supervised(student, CODEC, toy.FLIP_PAIRS)(batch()))
    distilled = gradients(twin, distillation(twin, network(1), alpha=0.0)(batch()))
    assert all(torch.equal(*pair) for pair in zip(supervised, distilled, strict=True))


def test_unlabelled_joints_learn_from_the_teacher_in_the_paper_but_not_in_the_released_code():
    unlabelled = replace(batch(), visible=torch.zeros(3, 14, dtype=torch.bool))
    for variant, learns in (("paper", True), ("released", False)):
        student = network(0)
        found = gradients(student, distillation(student, network(1), 0.5, variant=variant)(unlabelled))
        assert any(gradient.abs().max() > 0 for gradient in found) == learns


def test_the_teacher_sees_its_own_view_where_there_is_one():
    task = distillation(network(0), network(1), 0.5)
    alone = task(batch())
    zeros = replace(batch(), images={**batch().images, "teacher": torch.zeros(3, 3, 64, 64)})
    assert torch.equal(task(batch())["distillation"], alone["distillation"])
    assert not torch.equal(task(zeros)["distillation"], alone["distillation"])


def test_training_leaves_the_teacher_as_it_was_and_out_of_the_state():
    teacher = network(1)
    before = copy.deepcopy(teacher.state_dict())
    task = distillation(network(0), teacher, 0.5).train()
    optimizer = torch.optim.SGD(task.parameters(), lr=0.1)
    for _ in range(2):
        sum(task(batch()).values()).backward()
        optimizer.step()
    assert not teacher.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert set(task.state_dict()) == {f"student.{name}" for name in task.student.state_dict()}


def test_losses_are_float32_under_autocast():
    task = distillation(network(0), network(1), 0.5)
    exact = task(batch())
    with torch.autocast("cpu", torch.bfloat16):
        losses = task(batch())
    assert all(value.dtype == torch.float32 for value in losses.values())
    torch.testing.assert_close(losses["mse"], exact["mse"], rtol=0.05, atol=0)


def test_prediction_decodes_the_last_stack():
    keypoints = batch().keypoints
    task = Supervised(Constant(torch.zeros(3, 14, 16, 16), CODEC.encode(keypoints)), CODEC, toy.FLIP_PAIRS)
    found, scores = task.predict(batch().images["student"])
    torch.testing.assert_close(found, CODEC.decode(CODEC.encode(keypoints))[0])
    assert found.shape == (3, 14, 2) and scores.shape == (3, 14)


def test_flip_test_of_a_mirrored_image_gives_the_mirrored_people():
    task = Supervised(network(0).eval(), CODEC, toy.FLIP_PAIRS)
    images = batch().images["student"]
    keypoints, scores = task.predict(images, flip_test=True)
    mirrored, mirrored_scores = task.predict(images.flip(3), flip_test=True)
    mirrored = mirrored[:, swapped(14, toy.FLIP_PAIRS)]
    torch.testing.assert_close(mirrored_scores[:, swapped(14, toy.FLIP_PAIRS)], scores)
    torch.testing.assert_close(63 - mirrored[..., 0], keypoints[..., 0], rtol=0, atol=1e-3)
    torch.testing.assert_close(mirrored[..., 1], keypoints[..., 1], rtol=0, atol=1e-3)


def test_build_task_follows_the_run():
    student, teacher = network(0), network(1)
    assert type(build_task(toy.run(), student, toy.FLIP_PAIRS)) is Supervised
    settings = {"alpha": 0.3, "loss": "cross_entropy", "variant": "released"}
    task = build_task(toy.run(teacher="t", method="fpd", settings=settings), student, toy.FLIP_PAIRS, teacher)
    assert (task.alpha, task.loss, task.variant, task.teacher) == (0.3, "cross_entropy", "released", teacher)
