"""Losses of the online distillation: what is compared with what, by which formula, and who learns from it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import Batch
from lib.models import build_model
from lib.models.aggregation import build_aggregation
from lib.models.multibranch import MultiBranch, Outputs, build_branches
from lib.tasks import build_task
from lib.tasks.heatmap import Supervised
from lib.tasks.okdhp import OnlineDistillation, binary_kl, pixelwise_kl
from tests import toy

L2, L3 = math.log(2), math.log(3)
CODEC = HeatmapCodec((64, 64), sigma=1.0, scaling="peak")
HOURGLASS = {"name": "hourglass", "stacks": 2, "channels": 8, "stem": "pytorch-pose"}
METHOD = {"alpha": 1.0, "beta": 2.0, "temperature": 1.0, "loss": "kl", "variant": "paper"}
METHOD |= {"aggregation": "fau", "shared": 1, "branches": [HOURGLASS, HOURGLASS]}


# One person with two joints, of which only the first has a label; a shared stack, a branch of one, a branch of two.


def two_joints(first: tuple, second: tuple) -> nn.Parameter:
    return nn.Parameter(torch.tensor([first, second], dtype=torch.float32).reshape(1, 2, 2, 2))


class Stub(nn.Module):
    """A multi-branch network that always answers with the same maps, and weighs them as its aggregation says."""

    def __init__(self, shared: list[Tensor], branches: list[list[Tensor]], aggregation: nn.Module):
        super().__init__()
        self.shared = nn.ParameterList(shared)
        self.branches = nn.ModuleList(nn.ParameterList(maps) for maps in branches)
        self.networks = nn.ModuleList(nn.Identity() for _ in branches)
        self.aggregation = aggregation

    def forward(self, images: Tensor) -> Outputs:
        return Outputs(list(self.shared), [list(maps) for maps in self.branches], self.aggregation(images))


class Fixed(nn.Module):
    """An aggregation whose weights are its parameters."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return self.weights


class Literal(HeatmapCodec):
    """A codec with these labels: one for the first joint, something else for the second, which has no label."""

    def encode(self, keypoints: Tensor) -> Tensor:
        return torch.tensor([[[[1.0, 0.0], [0.0, 0.0]], [[5.0, 5.0], [5.0, 5.0]]]])


def literal_task(**changes) -> OnlineDistillation:
    """Weights 3/4 and 1/4 for the first joint, halves for the second; ensemble: (ln 3, 0, 0, 0), (0, ln 2, 0, 0)."""
    network = Stub(
        [two_joints((2, 0, 0, 0), (1, 1, 1, 0))],
        [
            [two_joints((0, 0, 0, 0), (0, 0, 0, 0))],
            [two_joints((0, 0, 0, 0), (0, 0, 0, 0)), two_joints((4 * L3, 0, 0, 0), (0, 2 * L2, 0, 0))],
        ],
        Fixed(torch.tensor([[[3 / 4, 1 / 2], [1 / 4, 1 / 2]]])),
    )
    return OnlineDistillation(network, Literal((8, 8), sigma=1.0), (), **{"alpha": 1.0, "beta": 1.0} | changes)


PERSON = Batch({"student": torch.zeros(1, 3, 8, 8)}, torch.zeros(1, 2, 2), torch.tensor([[True, False]]), np.arange(1))
# Against the label: the shared stack, two maps of zeros, one of 4 ln 3; the mean over two joints.
LABELS = (1 + 1 + 1 + (4 * L3 - 1) ** 2) / 2
ENSEMBLE = (L3 - 1) ** 2 / 2
# As distributions: the ensemble (3, 1, 1, 1) / 6 and (1, 2, 1, 1) / 5, maps of zeros (1, 1, 1, 1) / 4, the last maps
# (81, 1, 1, 1) / 84 and (1, 4, 1, 1) / 7.
EVEN = (math.log(2) + math.log(2 / 3)) / 2, (2 * math.log(8 / 5) + 3 * math.log(4 / 5)) / 5
LAST = (math.log(42 / 81) + math.log(14)) / 2, (2 * math.log(7 / 10) + 3 * math.log(7 / 5)) / 5
SHARED = (math.log((math.e**2 + 3) / (2 * math.e**2)) + math.log((math.e**2 + 3) / 6)) / 2  # (e^2, 1, 1, 1)
KL = 2 * sum(EVEN) + sum(LAST)
MSE = (2 * (L3**2 + L2**2) + (3 * L3) ** 2 + L2**2) / 2
RELEASED_KL = (2 * EVEN[0] + LAST[0] + SHARED) / 4
RELEASED_MSE = (2 * L3**2 + (3 * L3) ** 2 + (2 - L3) ** 2) / 2 / 4


@pytest.mark.parametrize(
    "changes, progress, expected",
    [
        ({}, 0.0, (LABELS, ENSEMBLE, KL)),
        ({"alpha": 3.0, "beta": 0.5}, 0.0, (3 * LABELS, 3 * ENSEMBLE, KL / 2)),
        ({"alpha": 0.0}, 0.7, (0, 0, KL)),
        ({"beta": 0.0}, 0.7, (LABELS, ENSEMBLE, 0)),
        ({"loss": "mse", "beta": 2.0}, 0.0, (LABELS, ENSEMBLE, 2 * MSE)),
        ({"variant": "released"}, 0.0, (LABELS / 8, ENSEMBLE / 8, math.exp(-5) * RELEASED_KL)),
        ({"variant": "released"}, 0.2, (LABELS / 8, ENSEMBLE / 8, math.exp(-5 / 4) * RELEASED_KL)),
        ({"variant": "released"}, 0.4, (LABELS / 8, ENSEMBLE / 8, RELEASED_KL)),
        ({"variant": "released", "alpha": 2.0, "beta": 3.0}, 0.9, (LABELS / 4, ENSEMBLE / 4, 3 * RELEASED_KL)),
        ({"variant": "released", "loss": "mse"}, 1.0, (LABELS / 8, ENSEMBLE / 8, RELEASED_MSE)),
    ],
)
def test_losses_of_a_person(changes, progress, expected):
    task = literal_task(**changes)
    task.progress.fill_(progress)
    losses = {name: value.item() for name, value in task(PERSON).items()}
    assert losses == pytest.approx(dict(zip(("mse", "ensemble", "distillation"), expected, strict=True)), rel=1e-5)


def test_binary_divergence_is_that_of_the_branches_own_maps():
    task = literal_task(loss="binary_kl", beta=2.0)
    outputs = task.network(PERSON.images["student"])
    expected = 2 * sum(binary_kl(maps, outputs.ensemble()) for branch in outputs.branches for maps in branch)
    torch.testing.assert_close(task(PERSON)["distillation"], expected)
    assert expected > 1


def test_temperature_of_the_losses():
    task = literal_task(temperature=2.0)
    outputs = task.network(PERSON.images["student"])
    own = [maps for branch in outputs.branches for maps in branch]
    expected = sum(pixelwise_kl(maps / 2, outputs.ensemble() / 2) for maps in own)
    losses = task(PERSON)
    torch.testing.assert_close(losses["distillation"], expected)
    assert losses["mse"].item() == pytest.approx(LABELS)


def test_branches_learn_from_a_constant_target():
    task = literal_task()
    task(PERSON)["distillation"].backward()
    network, target = task.network, torch.tensor([[3, 1, 1, 1], [1.2, 2.4, 1.2, 1.2]]) / 6
    for maps in (maps for branch in network.branches for maps in branch):
        expected = maps.detach().reshape(2, 4).softmax(1) - target
        torch.testing.assert_close(maps.grad.reshape(2, 4), expected)
    assert network.shared[0].grad is None and network.aggregation.weights.grad is None


def test_in_the_released_code_the_target_learns_too():
    task = literal_task(variant="released")
    task(PERSON)["distillation"].backward()
    weights = task.network.aggregation.weights.grad
    assert weights[0, 1, 0] != 0 and not weights[..., 1].any()  # of the labelled joint only
    assert task.network.shared[0].grad[0, 0].any() and not task.network.shared[0].grad[0, 1].any()


def test_released_gradients_of_a_person():
    task = literal_task(variant="released")
    task.progress.fill_(1.0)
    losses, network = task(PERSON), task.network
    (shared,), (last,) = network.shared, network.branches[0]

    def gradient(name: str, maps: Tensor) -> list[float]:
        maps.grad = None
        losses[name].backward(retain_graph=True)
        assert not maps.grad[0, 1].any()  # the joint without a label
        return maps.grad[0, 0].flatten().tolist()

    # The label is 1 at the first of 4 px. Half the mean over pixels and two joints: (m - t) / 8.
    assert gradient("mse", shared) == pytest.approx([1 / 8, 0, 0, 0])
    assert gradient("mse", last) == pytest.approx([-1 / 8, 0, 0, 0])
    # The ensemble (ln 3, 0, 0, 0) takes 3/4 of this map.
    assert gradient("ensemble", last) == pytest.approx([3 / 4 * (L3 - 1) / 8, 0, 0, 0])
    # A quarter of softmax(maps) - softmax(ensemble), which is (3, 1, 1, 1) / 6.
    total = math.e**2 + 3
    expected = [(math.e**2 / total - 3 / 6) / 4, *[(1 / total - 1 / 6) / 4] * 3]
    assert gradient("distillation", shared) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("x, counts", [(20.0, True), (-14.0, True), (-28.0, False), (80.0, False)])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_joints_off_the_map_do_not_count_in_the_released_code(variant, x, counts):
    task, data = task_of(variant=variant), batch()
    data = replace(data, keypoints=torch.full_like(data.keypoints, 32), visible=torch.zeros_like(data.visible))
    data.keypoints[0, 0, 0], data.visible[0, 0] = x, True
    assert bool(learns(task, "mse", "ensemble", data=data)) == (counts or variant == "paper")


def test_the_ensembles_own_error_teaches_the_aggregation_and_the_last_stacks():
    task = literal_task()
    task(PERSON)["ensemble"].backward()
    # d (ln 3 - 1)^2 / 2 by the weight of the second branch: (ln 3 - 1) 4 ln 3
    expected = torch.tensor([[[0, 0], [(L3 - 1) * 4 * L3, 0]]])
    torch.testing.assert_close(task.network.aggregation.weights.grad, expected)
    (one,), (first, last) = task.network.branches
    torch.testing.assert_close(one.grad[0, 0, 0, 0].item(), (L3 - 1) * 3 / 4)
    torch.testing.assert_close(last.grad[0, 0, 0, 0].item(), (L3 - 1) / 4)
    assert first.grad is None and task.network.shared[0].grad is None


# Real networks


def task_of(aggregation: str = "fau", **changes) -> OnlineDistillation:
    torch.manual_seed(0)
    spec = {**HOURGLASS, "joints": 14}
    network = build_branches(build_model(spec), [spec], 1, aggregation)
    return OnlineDistillation(network, CODEC, toy.FLIP_PAIRS, **{"alpha": 1.0, "beta": 2.0} | changes)


def batch(people: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(people, 3, 64, 64, generator=generator)
    keypoints = 63 * torch.rand(people, 14, 2, generator=generator)
    visible = torch.rand(people, 14, generator=generator) < 0.7
    return Batch({"student": images}, keypoints, visible, np.arange(people))


def learns(task: OnlineDistillation, *names: str, data: Batch | None = None) -> dict[str, Tensor]:
    """Gradients of the sum of these losses, where there are any but zeros."""
    losses = task(data or batch())
    task.zero_grad()
    sum(losses[name] for name in names).backward()
    return {name: p.grad.clone() for name, p in task.network.named_parameters() if p.grad is not None and p.grad.any()}


@pytest.mark.parametrize("aggregation", ["fau", "gate"])
def test_the_aggregation_learns_from_the_ensembles_error_alone(aggregation):
    task = task_of(aggregation)
    own = {f"aggregation.{name}" for name, _ in task.network.aggregation.named_parameters()}
    assert not own & set(learns(task, "mse")) and not own & set(learns(task, "distillation"))
    # Of a bias that a normalisation follows only rounding errors are left, if anything.
    assert {name for name in own if name.endswith("weight")} <= set(learns(task, "ensemble"))


def test_distillation_reaches_what_all_branches_share():
    found = learns(task_of(), "distillation")
    assert {name.split(".")[0] for name in found} == {"networks"}
    assert any(name.startswith("networks.0.stem") for name in found)
    assert any(name.startswith("networks.0.stacks.0.features") for name in found)


def test_without_beta_nothing_is_distilled():
    task = task_of(beta=0.0)
    assert learns(task, "mse", "ensemble", "distillation").keys() == learns(task, "mse", "ensemble").keys()
    assert not learns(task, "distillation")


@pytest.mark.parametrize("loss", ["kl", "mse"])
def test_joints_without_a_label_learn_from_the_ensemble(loss):
    unlabelled = replace(batch(), visible=torch.zeros(4, 14, dtype=torch.bool))
    task = task_of(loss=loss)
    losses = task(unlabelled)
    assert losses["mse"] == losses["ensemble"] == 0 < losses["distillation"]
    assert learns(task, "distillation", data=unlabelled)
    released = task_of(loss=loss, variant="released")
    assert not learns(released, "mse", "ensemble", "distillation", data=unlabelled)


def test_a_label_that_is_not_visible_is_not_seen():
    task, data = task_of(), batch()
    moved = torch.where(data.visible[..., None], data.keypoints, 5.0)
    one, two = task.eval()(data), task(replace(data, keypoints=moved))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("loss", ["kl", "mse"])
@pytest.mark.parametrize("aggregation", ["mean", "gate", "fau"])
def test_losses_are_float32_under_autocast(aggregation, loss):
    task = task_of(aggregation, loss=loss).eval()
    exact = task(batch())
    with torch.autocast("cpu", torch.bfloat16):
        losses = task(batch())
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[name], rtol=0.05, atol=0)


def test_the_aggregation_comes_to_prefer_the_better_branch_joint_by_joint():
    torch.manual_seed(0)
    data = batch(2)
    truth, noise = CODEC.encode(data.keypoints), torch.rand(2, 14, 16, 16)
    first = torch.arange(14)[:, None, None] < 7
    branches = [[torch.where(first, truth, noise)], [torch.where(first, noise, truth)]]
    network = Stub([], branches, build_aggregation("fau", 3, 2, 14, 8))
    task = OnlineDistillation(network, CODEC, (), alpha=1.0, beta=2.0)
    optimizer = torch.optim.Adam(network.aggregation.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        sum(task(replace(data, visible=torch.ones(2, 14, dtype=torch.bool))).values()).backward()
        optimizer.step()
    weights = network.aggregation(data.images["student"])
    assert (weights[:, 0, :7] > 0.9).all() and (weights[:, 1, 7:] > 0.9).all()


# The task


def test_the_student_is_the_first_branch_and_predicts_alone():
    task = task_of().eval()
    assert task.student is task.network.networks[0]
    assert task.networks == list(task.network.networks)
    images = batch().images["student"]
    alone = Supervised(task.student, CODEC, toy.FLIP_PAIRS)
    assert all(torch.equal(*pair) for pair in zip(task.predict(images, True), alone.predict(images, True), strict=True))


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_build_task_follows_the_run(variant):
    changes = {"alpha": 0.5, "beta": 3.0, "temperature": 2.0, "loss": "mse", "variant": variant, "shared": 2}
    changes["branches"] = [{**HOURGLASS, "stacks": stacks} for stacks in (4, 6)]
    run = toy.run(model={**HOURGLASS, "stacks": 3}, method="okdhp", settings=METHOD | changes)
    student = build_model({**run.model, "joints": 14})
    task = build_task(run, student, toy.FLIP_PAIRS)
    assert type(task) is OnlineDistillation and type(task.network) is MultiBranch and task.student is student
    assert (task.alpha, task.beta, task.temperature, task.loss) == (0.5, 3.0, 2.0, "mse")
    assert task.released == (variant == "released") and task.network.shared == 2
    assert [len(network.stacks) for network in task.networks] == [3, 4, 6]
    assert {network.joints for network in task.networks} == {14}
    expected = build_aggregation("fau", 8, 3, 14, 8, variant)
    assert str(task.network.aggregation) == str(expected)


@pytest.mark.parametrize("aggregation", ["fau", "gate", "mean"])
def test_a_few_steps_lower_all_losses(aggregation):
    torch.manual_seed(0)
    run = toy.run(model=HOURGLASS, method="okdhp", settings=METHOD | {"aggregation": aggregation})
    task = build_task(run, build_model({**HOURGLASS, "joints": 14}), toy.FLIP_PAIRS)
    optimizer = torch.optim.Adam(task.parameters(), 2e-3)
    history = []
    for _ in range(15):
        losses = task(batch())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append(losses)
    assert all(history[-1][name] < 0.7 * history[0][name] for name in ("mse", "ensemble", "distillation"))
