"""Losses of the distillation across resolutions, number by number."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr
from scipy.special import softmax as softmax_of
from torch import Tensor, nn

from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batch
from lib.tasks.cdkd import (
    CrossDomainDistillation,
    Hyperparameter,
    cosine_distance,
    cross_class_kl,
    merged,
    reversal,
    reversed_gradient,
)
from lib.tasks.simcc import SimccSupervised

L2, L3 = math.log(2), math.log(3)


# The distance of features (Eq. 5)


def test_cosine_distance_of_two_people():
    features = torch.tensor([[[[3.0, 4.0]]], [[[1.0, 0.0]]]], requires_grad=True)
    target = torch.tensor([[[[4.0, 3.0]]], [[[0.0, 2.0]]]])
    assert cosine_distance(features, target).item() == pytest.approx((1 / 25 + 1) / 2)
    assert cosine_distance(7 * features, target / 9).item() == pytest.approx((1 / 25 + 1) / 2)
    assert cosine_distance(features, -features).item() == pytest.approx(2)
    cosine_distance(features, target).backward()
    # -(t' - cos f') / |f| / B with unit vectors t', f'
    expected = torch.tensor([[-(4 - 24 / 25 * 3) / 25, -(3 - 24 / 25 * 4) / 25], [0, -1]]) / 2
    torch.testing.assert_close(features.grad.reshape(2, 2), expected)


@settings(deadline=None, max_examples=40)
@given(arrays(np.float32, st.tuples(st.just(2), *[st.integers(1, 4)] * 4), elements=st.floats(0.25, 4, width=32)))
def test_cosine_distance_is_over_channels_and_pixels_of_a_person(pair):
    features, target = pair.astype(np.float64)
    cosines = [
        (one * other).sum() / math.sqrt((one * one).sum() * (other * other).sum())
        for one, other in zip(features, target, strict=True)
    ]
    assert cosine_distance(*map(torch.from_numpy, pair)).item() == pytest.approx(1 - np.mean(cosines), abs=1e-5)


def test_a_feature_of_zeros_is_at_distance_one_and_has_a_finite_gradient():
    features = torch.zeros(1, 2, 3, 3, requires_grad=True)
    loss = cosine_distance(features, torch.ones(1, 2, 3, 3))
    loss.backward()
    assert loss == 1 and features.grad.isfinite().all()


# The divergence of classes (Eqs. 6, 7)


def test_adjacent_probabilities_are_added():
    fine = torch.tensor([[[1, 1, 2, 4, 3, 5]]]) / 16
    torch.testing.assert_close(merged(fine.log(), 2).exp(), torch.tensor([[[2, 6, 8]]]) / 16)
    torch.testing.assert_close(merged(fine.log(), 3).exp(), torch.tensor([[[4, 12]]]) / 16)
    assert torch.equal(merged(fine.log(), 1), fine.log())
    assert torch.equal(merged(torch.tensor([0.0, -torch.inf]), 2), torch.tensor([0.0]))


shapes = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 5))
logits_of = arrays(np.float32, shapes, elements=st.floats(-6, 6, width=32))


@given(logits_of, st.integers(1, 4), st.floats(0.5, 30))
def test_merged_probabilities_sum_to_one(logits, m, tau):
    probabilities = merged((torch.from_numpy(logits).repeat(1, 1, m) / tau).log_softmax(2), m).exp()
    assert probabilities.shape == logits.shape
    torch.testing.assert_close(probabilities.sum(2), torch.ones(logits.shape[:2]))


@given(logits_of, st.integers(1, 4), st.floats(1, 21))
def test_a_teacher_that_is_the_students_refinement_teaches_nothing(logits, m, tau):
    student = torch.from_numpy(logits)
    # Each class in m equal parts is the same distribution at any temperature, and in unequal ones without temperature.
    assert cross_class_kl(student, student.repeat_interleave(m, 2), tau).item() == pytest.approx(0, abs=2e-3)
    shares = torch.arange(1.0, m + 1).log_softmax(0).repeat(student.shape[2])
    assert cross_class_kl(student, student.repeat_interleave(m, 2) + shares, 1.0).item() == pytest.approx(0, abs=1e-5)


ONE = torch.tensor([[[0.0, L3]]])  # 1/4, 3/4
FINE = torch.tensor([[[L2, 0.0, 0.0, -50.0]]])  # 1/2, 1/4, 1/4, 0: 3/4, 1/4 after merging
ONE_FROM_FINE = (3 * L3 - L3) / 4  # KL(FINE || ONE)


def test_divergence_of_four_classes_from_two():
    assert cross_class_kl(ONE, FINE, 1.0).item() == pytest.approx(ONE_FROM_FINE)
    assert cross_class_kl(3 * ONE, 3 * FINE, 3.0).item() == pytest.approx(9 * ONE_FROM_FINE)
    joints = torch.cat((ONE, torch.zeros(1, 1, 2)), 1), torch.cat((FINE, torch.zeros(1, 1, 4)), 1)
    assert cross_class_kl(*joints, 1.0).item() == pytest.approx(ONE_FROM_FINE / 2)
    people = [torch.cat((x, y)) for x, y in ((ONE, torch.zeros(1, 1, 2)), (FINE, torch.zeros(1, 1, 4)))]
    assert cross_class_kl(*people, 1.0).item() == pytest.approx(ONE_FROM_FINE / 2)


def test_the_divergence_is_from_teacher_to_student():
    teacher = torch.tensor([[[L3, L3, 0.0]]])  # 3/7, 3/7, 1/7
    student = torch.tensor([[[0.0, L3, L3]]])
    student[..., 2] = L2  # 1/6, 3/6, 2/6
    expected = (3 * math.log(18 / 7) + 3 * math.log(6 / 7) + math.log(3 / 7)) / 7
    assert cross_class_kl(student, teacher, 1.0).item() == pytest.approx(expected)
    assert abs(cross_class_kl(teacher, student, 1.0).item() - expected) > 0.01


@settings(deadline=None, max_examples=40)
@given(st.data(), logits_of, st.integers(1, 4), st.floats(1, 21))
def test_divergence_equals_a_loop_over_joints(data, logits, m, tau):
    people, joints, bins = logits.shape
    fine = data.draw(arrays(np.float32, (people, joints, m * bins), elements=st.floats(-6, 6, width=32)))
    total = 0.0
    for person in range(people):
        for joint in range(joints):
            p = softmax_of(fine[person, joint].astype(np.float64) / tau)
            p = [p[j * m : j * m + m].sum() for j in range(bins)]
            total += tau**2 * rel_entr(p, softmax_of(logits[person, joint].astype(np.float64) / tau)).sum()
    found = cross_class_kl(torch.from_numpy(logits), torch.from_numpy(fine), tau).item()
    assert found == pytest.approx(total / people / joints, rel=1e-3, abs=2e-3)


def test_the_students_gradient_has_a_limit_for_high_temperatures():
    generator = torch.Generator().manual_seed(0)
    logits, fine = (3 * torch.randn(1, 2, n, generator=generator) for n in (5, 15))
    # tau (softmax(z / tau) - p(tau)) / K -> differences of centred logits, the teacher's averaged over its m bins
    means = fine.unflatten(2, (5, 3)).mean(3)
    limit = ((logits - logits.mean(2, keepdim=True)) - (means - means.mean(2, keepdim=True))) / 5 / 2
    for tau, tolerance in ((1000.0, 0.02), (4000.0, 0.005)):
        student = logits.clone().requires_grad_()
        cross_class_kl(student, fine, tau).backward()
        torch.testing.assert_close(student.grad, limit, rtol=0, atol=tolerance)


def test_a_teacher_sure_of_itself_has_finite_gradients():
    student, tau = torch.zeros(1, 1, 2, requires_grad=True), torch.tensor(1.0, requires_grad=True)
    cross_class_kl(student, torch.tensor([[[1000.0, 0.0, -1000.0, 0.0]]]), tau).backward()
    torch.testing.assert_close(student.grad, torch.tensor([[[-0.5, 0.5]]]))
    assert tau.grad.isfinite()


# Learning against the loss (Eqs. 10-12)


@pytest.mark.parametrize("xi", [0.0, 0.3, 1.0])
def test_reversed_gradient(xi):
    x = torch.tensor([0.1, -7.3, 1e-8], requires_grad=True)
    y = reversed_gradient(x, torch.tensor(xi))
    assert torch.equal(y, x)
    (y * torch.tensor([1.0, 2.0, -3.0])).sum().backward()
    torch.testing.assert_close(x.grad, -xi * torch.tensor([1.0, 2.0, -3.0]), rtol=1e-6, atol=0)


def test_the_reversal_grows_from_nothing_to_all():
    values = reversal(torch.linspace(0, 1, 101))
    assert values[0] == 0 and values[-1] == 1 and (values.diff() > 0).all()
    torch.testing.assert_close(values[[25, 50]], torch.tensor([(1 - math.sqrt(0.5)) / 2, 0.5]))


@given(st.floats(1.01, 20.9))
def test_a_hyperparameter_starts_where_it_should(start):
    assert Hyperparameter("tau", start, 1.0, 21.0)().item() == pytest.approx(start, rel=1e-5)


@pytest.mark.parametrize("theta", [-1e4, -30.0, 0.0, 30.0, 1e4])
def test_a_hyperparameter_stays_between_its_bounds(theta):
    module = Hyperparameter("tau", 4.0, 1.0, 21.0)
    with torch.no_grad():
        module.theta.fill_(theta)
    assert module() == {-1e4: 1, -30.0: 1, 0.0: 11, 30.0: 21, 1e4: 21}[theta]


# A person with one joint; networks that always answer the same


class Stub(nn.Module):
    """A network of a given map that has one logit per pixel, for x and y alike."""

    def __init__(self, values: list[float], rows: int):
        super().__init__()
        self.joints, self.output = 1, "simcc"
        self.values = nn.Parameter(torch.tensor(values).reshape(1, 1, rows, -1))
        self.columns = self.rows = nn.Linear(1, len(values))  # their number of classes is read from here
        self.columns.requires_grad_(False)

    def maps(self, images: Tensor) -> Tensor:
        return self.values + 0 * images.mean()

    def classify(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return maps.flatten(2), maps.flatten(2)

    outputs = classify


# L_ori: KL((1, 0) || 1/4, 3/4) twice, the joint being at the left and upper edge.
PERSON = Batch(
    {"student": torch.zeros(1, 3, 4, 8), "teacher": torch.zeros(1, 3, 8, 16)},
    torch.zeros(1, 1, 2),
    torch.ones(1, 1, dtype=torch.bool),
    np.arange(1),
)
LABEL = 2 * math.log(4)
KL = 2 * (3 / 4 * math.log(3 / 2) + 1 / 4 * math.log(1 / 2))  # from (3/8, 3/8, 1/8, 1/8): KL(3/4, 1/4 || 1/2, 1/2)


def literal_task(**changes) -> CrossDomainDistillation:
    """One projector of known weights from 1 x 2 px to 2 x 4 px."""
    student = Stub([0.0, L3], 1)
    # Eight classes: the first four share 3/4, the last four 1/4.
    teacher = Stub([L3] * 4 + [0.0] * 4, 2)
    base = SimccSupervised(student, SimccCodec((2, 2), split=1.0), ())
    settings = {"alpha": 1.0, "beta": 1.0, "features": "sape", "projectors": 1, "kernels": (), "logits": "cca"}
    settings |= {
        "tau": 1.0,
        "learned": (),
        "student_input": (4, 8),
        "teacher_input": (8, 16),
        "batch_size": 1,
    } | changes
    task = CrossDomainDistillation(base, teacher, **settings)
    with torch.no_grad():
        if settings["features"] == "sape":
            # Both rows are (1, 0, 0, 0), but for what the ReLU removes; the teacher's are (ln 3)^4 and (0)^4.
            task.projectors.project.weight[:] = torch.tensor([[0, 1 / L3], *[[0, -1.0]] * 3] * 2)
            task.projectors.project.bias.zero_()
    return task


# KL(3/4, 1/4 || 1/4, 3/4) of both axes; cosine of (1, 0, 0, 0, 1, 0, 0, 0) and (ln 3)(1, 1, 1, 1, 0, 0, 0, 0)
LOGITS, FEATURES = 2 * L3 / 2, 1 - 1 / math.sqrt(2 * 4)
# The same at tau 2: the roots of 3 and 1, normalised.
P = math.sqrt(3) / (math.sqrt(3) + 1)
LOGITS_2 = 4 * 2 * (2 * P - 1) * math.log(P / (1 - P))
R = 1 + 20 / (1 + math.exp(-1))
PR = 1 / (1 + 3 ** (-1 / R))
LOGITS_R = R**2 * 2 * (2 * PR - 1) * math.log(PR / (1 - PR))


@pytest.mark.parametrize(
    "changes, expected",
    [
        ({}, {"simcc": LABEL, "features": FEATURES, "logits": LOGITS}),
        ({"alpha": 3.0, "beta": 0.5}, {"simcc": LABEL, "features": 3 * FEATURES, "logits": LOGITS / 2}),
        ({"tau": 2.0}, {"simcc": LABEL, "features": FEATURES, "logits": LOGITS_2}),
        ({"tau": 2.0, "learned": ("tau", "alpha", "beta")}, {"simcc": LABEL, "features": FEATURES, "logits": LOGITS_2}),
        ({"features": "none"}, {"simcc": LABEL, "logits": LOGITS}),
        ({"logits": "none"}, {"simcc": LABEL, "features": FEATURES}),
        ({"features": "none", "logits": "none", "learned": ("tau", "alpha", "beta")}, {"simcc": LABEL}),
        # Two bins, one person, one joint: x 1000 / 2, x 0.4 / 2; tau 15.6 whatever it is set to.
        (
            {"variant": "released", "alpha": 2.0, "beta": 0.1, "tau": 3.0, "learned": ("tau", "alpha")},
            {"simcc": 500 * LABEL, "features": 2 * FEATURES, "logits": 0.1 * 0.4 / 2 * LOGITS_R},
        ),
    ],
)
def test_losses_of_a_person(changes, expected):
    losses = {name: value.item() for name, value in literal_task(**changes)(PERSON).items()}
    assert losses == pytest.approx(expected, rel=1e-4)


def test_without_a_term_there_is_nothing_of_it():
    learned = {"learned": ("tau", "alpha", "beta"), "tau": 2.0}
    assert list(literal_task(features="none", **learned).learned) == ["tau", "beta"]
    assert list(literal_task(logits="none", **learned).learned) == ["alpha"]
    assert literal_task(features="none").projectors is None and literal_task(logits="none").classes is None
    bare = literal_task(features="none", logits="none", **learned)
    assert {id(p) for p in bare.parameters()} == {id(p) for p in bare.student.parameters()}


def test_the_released_weight_of_the_classes_grows_with_people_and_joints():
    def logits(people: int, variant: str) -> Tensor:
        data = replace(PERSON, keypoints=torch.zeros(people, 1, 2), visible=torch.ones(people, 1, dtype=torch.bool))
        task = literal_task(variant=variant, tau=R, batch_size=people)
        for network in (task.student, task.teacher):
            network.values = nn.Parameter(network.values.detach().expand(people, -1, -1, -1).clone())
        return task(data)["logits"]

    torch.testing.assert_close(logits(3, "released"), 3 * logits(1, "released"))
    torch.testing.assert_close(logits(3, "paper"), logits(1, "paper"))
    torch.testing.assert_close(logits(3, "released"), 3 * 0.4 / 2 * logits(3, "paper"))
