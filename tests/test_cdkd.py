"""Distillation across resolutions: what each loss teaches, what is learned against it, and what is deployed."""

import copy
import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lib.codecs.heatmap import HeatmapCodec
from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.errors import InputError
from lib.models import build_model
from lib.tasks import build_task
from lib.tasks.cdkd import CrossDomainDistillation, cosine_distance, cross_class_kl
from lib.tasks.heatmap import Supervised
from lib.tasks.simcc import SimccSupervised
from tests import toy

SIDE, LARGE = 32, 64
HRNET = {"name": "hrnet", "joints": 14, "width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8}
METHOD = {"alpha": 1.0, "beta": 1.0, "features": "sape", "projectors": 3, "kernels": (3, 5, 7, 7)}
METHOD |= {"logits": "cca", "tau": 4.0, "learned": ("tau",), "variant": "paper"}
CODEC = SimccCodec((SIDE, SIDE), split=2.0, smoothing=0.2)
EVERYTHING = ("tau", "alpha", "beta")


def network(side: int, head: str = "simcc", split: float = 2.0, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(HRNET | {"head": head, "split": split, "input_size": [side, side] if head == "simcc" else None})


def task_of(student: nn.Module | None = None, teacher: nn.Module | None = None, **changes) -> CrossDomainDistillation:
    student, teacher = student or network(SIDE), teacher or network(LARGE, seed=1)
    heatmaps = student.output == "heatmap"
    base = (
        Supervised(student, HeatmapCodec((SIDE, SIDE), sigma=1.0, scaling="peak"), toy.FLIP_PAIRS)
        if heatmaps
        else SimccSupervised(student, CODEC, toy.FLIP_PAIRS)
    )
    settings = METHOD | {"student_input": (SIDE, SIDE), "teacher_input": (LARGE, LARGE), "batch_size": 4} | changes
    torch.manual_seed(2)
    return CrossDomainDistillation(base, teacher, **settings)


def batch(people: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(7)
    images = {
        name: torch.randn(people, 3, side, side, generator=generator)
        for name, side in (("student", SIDE), ("teacher", LARGE))
    }
    keypoints = (SIDE - 1) * torch.rand(people, 14, 2, generator=generator)
    visible = torch.rand(people, 14, generator=generator) < 0.7
    return Batch(images, keypoints, visible, np.arange(people))


def learns(task: CrossDomainDistillation, *names: str) -> set[str]:
    """What has a gradient of the sum of these losses, other than zeros."""
    losses = task(batch())
    task.zero_grad()
    sum(losses[name] for name in names).backward()
    return {name for name, p in task.named_parameters() if p.grad is not None and p.grad.any()}


def values(task: CrossDomainDistillation) -> dict[str, float]:
    """tau, alpha and beta as they stand."""
    with torch.no_grad():
        return {name: float(task.value(name)) for name in EVERYTHING}


def train(task: nn.Module, steps: int, lr: float = 1e-3, progress: float = 1.0) -> list[dict[str, float]]:
    """Optimise as the loop does; return the losses."""
    task.train().progress.fill_(progress)
    optimizer = torch.optim.Adam([p for p in task.parameters() if p.requires_grad], lr)
    history = []
    for _ in range(steps):
        losses = task(batch())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        history.append({name: value.item() for name, value in losses.items()})
    return history


@pytest.mark.parametrize(
    "changes",
    [{}, {"kernels": ()}, {"features": "fully_connected"}, {"features": "convolution"}],
    ids=["sape", "ensemble", "fully_connected", "convolution"],
)
def test_features_teach_the_network_up_to_its_maps_and_all_that_aligns_them(changes):
    task = task_of(**changes).eval()  # in training, a bias before a normalisation has none but rounding errors
    of_student = {name for name, _ in task.named_parameters() if name.startswith("base.student.")}
    classifiers = {name for name in of_student if ".columns." in name or ".rows." in name}
    aligned = {name for name, _ in task.named_parameters() if name.startswith("projectors.")}
    assert aligned and len(classifiers) == 4
    assert learns(task, "features") == of_student - classifiers | aligned


def test_classes_teach_the_whole_network_and_the_layers_that_align_them():
    task = task_of().eval()
    task.progress.fill_(0.5)
    of_student = {name for name, _ in task.named_parameters() if name.startswith("base.student.")}
    assert learns(task, "logits") == of_student | {"learned.tau.theta"}
    task = task_of(logits="fully_connected", learned=()).eval()
    layers = {f"classes.{axis}.{kind}" for axis in (0, 1) for kind in ("weight", "bias")}
    assert learns(task, "logits") == of_student | layers


@pytest.mark.parametrize("features", ["sape", "convolution", "fully_connected", "none"])
@pytest.mark.parametrize("logits", ["cca", "fully_connected", "none"])
@pytest.mark.parametrize("variant", ["paper", "released"])
def test_every_trained_parameter_takes_part_from_the_first_epoch_on(features, logits, variant):
    # Several processes wait for the gradient of each: none may be absent, though it can be zero.
    task = task_of(features=features, logits=logits, learned=EVERYTHING, variant=variant)
    sum(task(batch()).values()).backward()
    assert all((p.grad is not None) == p.requires_grad for p in task.parameters())


def test_joints_without_a_label_learn_from_the_teacher():
    task, unlabelled = task_of(), replace(batch(), visible=torch.zeros(4, 14, dtype=torch.bool))
    losses, labelled = task(unlabelled), task(batch())
    assert losses["simcc"] == 0 < labelled["simcc"]
    assert losses["logits"] > 0 and losses["features"] > 0


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_losses_are_float32_under_autocast(variant):
    task = task_of(learned=EVERYTHING, variant=variant).eval()
    exact = task(batch())
    with torch.autocast("cpu", torch.bfloat16):
        losses = task(batch())
    for name, value in losses.items():
        assert value.dtype == torch.float32
        torch.testing.assert_close(value, exact[name], rtol=0.05, atol=0)


def test_a_student_of_heatmaps_learns_features_alone():
    task = task_of(network(SIDE, "heatmap"), network(LARGE, "heatmap", seed=1), logits="none")
    assert list(task(batch())) == ["mse", "features"]
    supervised = Supervised(task.student, task.base.codec, ()).train()
    assert torch.equal(supervised(batch())["mse"], task(batch())["mse"])
    images = batch().images
    expected = cosine_distance(
        *task.projectors(task.student(images["student"])[-1], task.teacher(images["teacher"])[-1])
    )
    torch.testing.assert_close(task(batch())["features"], expected)
    of_student = {f"base.student.{name}" for name, _ in task.student.named_parameters()}
    assert of_student <= learns(task.eval(), "features")


def test_a_teacher_with_as_many_classes():
    student, teacher = network(SIDE), network(LARGE, split=1.0, seed=1)
    losses = task_of(student, teacher, logits="same")(batch())
    images = batch().images
    expected = sum(
        cross_class_kl(own, target, 4.0)
        for own, target in zip(student(images["student"]), teacher(images["teacher"]), strict=True)
    )
    torch.testing.assert_close(losses["logits"], expected)


# What is learned against the loss


@pytest.mark.parametrize("learned", [(), ("tau",), ("tau", "alpha"), EVERYTHING])
def test_what_is_learned_changes_and_nothing_else(learned):
    task = task_of(learned=learned, beta=0.5)
    before = values(task)
    assert before == pytest.approx({"tau": 4.0, "alpha": 1.0, "beta": 0.5})
    train(task, 3, progress=0.5)
    assert {name for name, value in values(task).items() if value != before[name]} == set(learned)


def test_nothing_is_learned_against_the_loss_at_the_start():
    task = task_of(learned=EVERYTHING)
    before = values(task)
    train(task, 3, progress=0.0)
    assert values(task) == before


@pytest.mark.parametrize("name, loss", [("tau", "logits"), ("alpha", "features"), ("beta", "logits")])
def test_the_loss_climbs_while_the_student_stands(name, loss):
    task = task_of(learned=(name,)).eval()
    task.progress.fill_(1.0)
    for parameter in task.parameters():
        parameter.requires_grad_(False)
    theta = task.learned[name].theta.requires_grad_()
    optimizer = torch.optim.Adam([theta], 0.02)
    seen = []
    for _ in range(8):
        losses = task(batch())
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
        seen.append(losses[loss].item())
    assert all(later > earlier for earlier, later in pairwise(seen))


def test_the_reversed_gradient_is_that_of_the_loss_times_xi():
    def gradient(progress: float) -> float:
        task = task_of().eval()
        task.progress.fill_(progress)
        sum(task(batch()).values()).backward()
        return task.learned["tau"].theta.grad.item()

    task = task_of().eval()
    images, step = batch().images, 1e-2
    outputs, targets = task.student(images["student"]), task.teacher(images["teacher"])
    theta = task.learned["tau"].theta.item()

    def loss(theta: float) -> float:
        tau = 1 + 20 / (1 + math.exp(-theta))
        axes = zip(outputs, targets, strict=True)
        return sum(cross_class_kl(own.double(), target.double(), tau).item() for own, target in axes)

    slope = (loss(theta + step) - loss(theta - step)) / (2 * step)
    assert gradient(1.0) == pytest.approx(-slope, rel=1e-2)
    assert gradient(0.5) == pytest.approx(-slope / 2, rel=1e-2)
    assert gradient(0.0) == 0


def test_released_projectors_and_temperature_stay_and_no_feature_teaches_the_student():
    task = task_of(variant="released", learned=EVERYTHING)
    before = copy.deepcopy(dict(task.projectors.named_parameters()))
    student = copy.deepcopy(task.student.state_dict())
    train(task, 3)
    assert before and all(torch.equal(before[name], value) for name, value in task.projectors.named_parameters())
    assert any(not torch.equal(student[name], value) for name, value in task.student.state_dict().items())
    assert task.value("tau") == pytest.approx(15.6212, abs=1e-4)
    assert not task(batch())["features"].requires_grad
    assert task(batch())["logits"].requires_grad


# Teacher and student


def test_training_leaves_the_teacher_as_it_was():
    teacher = network(LARGE, seed=1)
    before = copy.deepcopy(teacher.state_dict())
    task = task_of(teacher=teacher).train()
    train(task, 2)
    assert task.training and task.student.training and not teacher.training
    assert all(torch.equal(before[name], value) for name, value in teacher.state_dict().items())
    assert all(parameter.grad is None for parameter in teacher.parameters())
    assert not set(map(id, teacher.parameters())) & set(map(id, task.parameters()))
    assert task.teacher is teacher


def test_the_teacher_sees_its_own_view():
    task = task_of().eval()
    zeros = replace(batch(), images=batch().images | {"teacher": torch.zeros(4, 3, LARGE, LARGE)})
    one, two = task(batch()), task(zeros)
    assert torch.equal(one["simcc"], two["simcc"])
    assert one["features"] != two["features"] and one["logits"] != two["logits"]


@pytest.mark.parametrize("variant", ["paper", "released"])
def test_the_deployed_student_is_the_plain_network(variant):
    plain = network(SIDE)
    student = network(SIDE)
    task = task_of(student, learned=EVERYTHING, variant=variant)
    assert task.student is student and task.networks == [student]
    assert student.state_dict().keys() == plain.state_dict().keys()
    train(task, 2)
    plain.load_state_dict(student.state_dict())
    task.eval(), plain.eval()
    images = batch().images["student"]
    assert all(torch.equal(*pair) for pair in zip(plain(images), student(images), strict=True))
    alone = SimccSupervised(plain, CODEC, toy.FLIP_PAIRS)
    for flip_test in (False, True):
        pairs = zip(task.predict(images, flip_test), alone.predict(images, flip_test), strict=True)
        assert all(torch.equal(*pair) for pair in pairs)


def test_without_weight_the_student_learns_as_from_labels_alone():
    def gradients(task: nn.Module) -> list[Tensor]:
        sum(task(batch()).values()).backward()
        return [parameter.grad for parameter in task.student.parameters()]

    alone = gradients(SimccSupervised(network(SIDE), CODEC, toy.FLIP_PAIRS))
    distilled = gradients(task_of(alpha=0.0, beta=0.0))
    assert all(torch.equal(*pair) for pair in zip(alone, distilled, strict=True))
    assert any(not torch.equal(*pair) for pair in zip(alone, gradients(task_of()), strict=True))


def test_a_few_steps_lower_all_losses():
    history = train(task_of(learned=()), 25, lr=3e-3)
    assert all(history[-1][name] < 0.75 * history[0][name] for name in ("simcc", "features", "logits"))


def test_a_saved_state_continues_with_the_same_losses():
    task, other = task_of(learned=EVERYTHING), task_of(network(SIDE, seed=5), learned=EVERYTHING)
    train(task, 2, lr=0.1)
    other.load_state_dict(task.state_dict())
    task.eval(), other.eval()
    assert all(torch.equal(value, other(batch())[name]) for name, value in task(batch()).items())


def test_what_cannot_be_distilled_is_refused_with_one_line():
    with pytest.raises(InputError) as error:
        task_of(teacher_input=(80, 80))
    expected = "expected a whole multiple, the same along both axes"
    assert str(error.value) == f"map px of the teacher 20 x 20 and of the student 8 x 8: {expected}"
    with pytest.raises(InputError) as error:
        task_of(teacher=network(LARGE, split=1.25))
    assert str(error.value) == f"classes of the teacher 80 x 80 and of the student 64 x 64: {expected}"
    with pytest.raises(InputError) as error:
        task_of(logits="same")
    assert str(error.value) == "classes of the teacher 128 x 128 and of the student 64 x 64: expected equal numbers"
    with pytest.raises(InputError) as error:
        task_of(alpha=0.0, learned=("alpha",))
    assert str(error.value) == "alpha is learned from 0: expected a start between 0 and 0"


def test_build_task_follows_the_run():
    model = {name: value for name, value in HRNET.items() if name != "joints"} | {"head": "simcc", "split": 2.0}
    changes = {"alpha": 0.5, "beta": 3.0, "projectors": 2, "kernels": (3, 7), "tau": 7.0, "learned": ("tau", "beta")}
    sizes = {"input": (SIDE, SIDE), "teacher": "t", "teacher_input": (LARGE, LARGE)}
    codec = {"split": 2.0, "smoothing": 0.2}
    run = toy.run(model=model, output="simcc", codec=codec, method="cdkd", settings=METHOD | changes, **sizes)
    student, teacher = network(SIDE), network(LARGE)
    task = build_task(run, student, toy.FLIP_PAIRS, teacher)
    assert type(task) is CrossDomainDistillation and task.student is student and task.teacher is teacher
    assert type(task.base) is SimccSupervised and task.base.codec == CODEC
    assert values(task) == pytest.approx({"tau": 7.0, "alpha": 0.5, "beta": 3.0})
    assert list(task.learned) == ["tau", "beta"] and not task.released and task.batch_size == run.batch_size
    assert str(task.projectors) == str(task_of(**changes).projectors)
