"""Classification of coordinates: its loss, and what is predicted from one image and its mirror image."""

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
from lib.models import build_model
from lib.tasks.heatmap import swapped
from lib.tasks.simcc import SimccSupervised, simcc_kl
from tests import toy

L2, L3 = math.log(2), math.log(3)
HRNET = {"name": "hrnet", "joints": 14, "width": 4, "blocks": 1, "modules": [1, 1, 1], "stem": 8, "head": "simcc"}
CODEC = SimccCodec((32, 64), split=2.0, smoothing=0.1)


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return build_model(HRNET | {"input_size": [32, 64]})


def batch(people: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(7)
    images = torch.randn(people, 3, 32, 64, generator=generator)
    keypoints = torch.tensor([63, 31]) * torch.rand(people, 14, 2, generator=generator)
    visible = torch.rand(people, 14, generator=generator) < 0.7
    return Batch({"student": images}, keypoints, visible, np.arange(people))


# The loss of two joints with two bins of x and three of y


X = torch.tensor([[[0.0, L3], [0.0, 0.0]]]).requires_grad_()  # 1/4, 3/4; 1/2, 1/2
Y = torch.tensor([[[0.0, 0.0, 0.0], [0.0, L2, 0.0]]]).requires_grad_()  # 1/3 thrice; 1/4, 1/2, 1/4
TARGET_X = torch.tensor([[[0.0, 1.0], [0.5, 0.5]]])
TARGET_Y = torch.tensor([[[0.5, 0.5, 0.0], [0.25, 0.25, 0.5]]])
FIRST = math.log(4 / 3) + math.log(3 / 2)
SECOND = math.log(1 / 2) / 4 + math.log(2) / 2


def test_divergence_of_two_joints():
    assert simcc_kl((X, Y), (TARGET_X, TARGET_Y), torch.tensor([[True, True]])).item() == pytest.approx(
        (FIRST + SECOND) / 2
    )
    assert simcc_kl((X, Y), (TARGET_X, TARGET_Y), torch.tensor([[True, False]])).item() == pytest.approx(FIRST / 2)
    assert simcc_kl((X, Y), (TARGET_X, TARGET_Y), torch.tensor([[False, False]])).item() == 0


def test_gradient_of_the_divergence():
    found = torch.autograd.grad(simcc_kl((X, Y), (TARGET_X, TARGET_Y), torch.tensor([[True, False]])), (X, Y))
    # (softmax - target) / K of the labelled joint
    torch.testing.assert_close(found[0], torch.tensor([[[1 / 4, -1 / 4], [0, 0]]]) / 2)
    torch.testing.assert_close(found[1], torch.tensor([[[-1 / 6, -1 / 6, 1 / 3], [0, 0, 0]]]) / 2)


@settings(deadline=None, max_examples=40)
@given(st.data(), st.tuples(*[st.integers(1, 4)] * 2), st.tuples(*[st.integers(2, 7)] * 2))
def test_divergence_equals_a_loop_over_joints(data, shape, bins):
    draw = [data.draw(arrays(np.float32, (2, *shape, n), elements=st.floats(-8, 8, width=32))) for n in bins]
    labelled = data.draw(arrays(np.bool_, shape))
    total = 0.0
    for person, joint in np.argwhere(labelled):
        for logits, truth in draw:
            target = softmax_of(truth[person, joint].astype(np.float64))
            total += rel_entr(target, softmax_of(logits[person, joint].astype(np.float64))).sum()
    outputs = tuple(torch.from_numpy(logits) for logits, _ in draw)
    targets = tuple(torch.from_numpy(truth).softmax(2) for _, truth in draw)
    found = simcc_kl(outputs, targets, torch.from_numpy(labelled)).item()
    assert found == pytest.approx(total / labelled.size, rel=1e-3, abs=1e-4)


def test_loss_of_a_joint_at_its_bin_is_least():
    keypoints = batch().keypoints
    visible = torch.ones(4, 14, dtype=torch.bool)
    targets = CODEC.encode(keypoints)
    task = SimccSupervised(nn.Identity(), CODEC, ())
    right = task.losses(tuple(target.log() for target in targets), replace(batch(), visible=visible))["simcc"]
    wrong = task.losses(tuple(target.log().roll(3, 2) for target in targets), replace(batch(), visible=visible))
    assert right.item() == pytest.approx(0, abs=1e-6) and wrong["simcc"] > 1


@pytest.mark.parametrize("codec", [CODEC, SimccCodec((32, 64), split=2.0), SimccCodec((32, 64), split=2.0, sigma=3.0)])
def test_joints_without_a_label_or_outside_the_view_have_no_loss(codec):
    task, data = SimccSupervised(network(), codec, ()).eval(), batch()
    whole = task(data)["simcc"]
    assert whole > 0 and whole.isfinite()
    moved = torch.where(data.visible[..., None], data.keypoints, 5.0)
    assert torch.equal(task(replace(data, keypoints=moved))["simcc"], whole)
    outside = torch.where(data.visible[..., None], torch.tensor([64.0, 5.0]), data.keypoints)
    assert task(replace(data, keypoints=outside))["simcc"] == 0
    # Inside and visible, the same joints do have one.
    assert task(replace(data, keypoints=outside - torch.tensor([1.0, 0.0])))["simcc"] > 0


def test_the_loss_of_a_batch_is_the_mean_over_its_halves():
    task, data = SimccSupervised(network(), CODEC, ()).eval(), batch()
    parts = [
        task(Batch({"student": data.images["student"][h]}, data.keypoints[h], data.visible[h], data.rows[h]))["simcc"]
        for h in (slice(0, 1), slice(1, 2), slice(2, 3), slice(3, 4))
    ]
    torch.testing.assert_close(task(data)["simcc"], sum(parts) / 4)


def test_the_loss_is_float32_under_autocast():
    task = SimccSupervised(network(), CODEC, ()).eval()
    exact = task(batch())["simcc"]
    with torch.autocast("cpu", torch.bfloat16):
        loss = task(batch())["simcc"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0)


def test_a_few_steps_lower_the_loss():
    task = SimccSupervised(network(), CODEC, ())
    optimizer = torch.optim.Adam(task.parameters(), 3e-3)
    history = []
    for _ in range(25):
        loss = task(batch())["simcc"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.7 * history[0]


# Prediction


class Answers(nn.Module):
    """A network that gives one answer to images whose first pixel is positive, and another to all others."""

    def __init__(self, plain: tuple[Tensor, Tensor], mirrored: tuple[Tensor, Tensor]):
        super().__init__()
        self.plain, self.mirrored = plain, mirrored

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.plain if images[0, 0, 0, 0] > 0 else self.mirrored


def test_prediction_decodes_the_distributions():
    keypoints = batch().keypoints
    # Logits may have any offset: it is the softmax that is decoded.
    outputs = tuple(target.log() + 5 for target in CODEC.encode(keypoints))
    found, scores = SimccSupervised(Answers(outputs, outputs), CODEC, ()).predict(batch().images["student"])
    torch.testing.assert_close(found, CODEC.decode(*CODEC.encode(keypoints))[0])
    torch.testing.assert_close(scores, torch.ones(4, 14))


def test_flip_test_averages_logits_of_the_right_joint_and_bin():
    # Three joints of which the last two change sides, in four bins of x and two of y, one bin per px.
    def logits(*rows: tuple) -> Tensor:
        return torch.tensor([rows], dtype=torch.float32)

    plain = logits((0, 4, 0, 0), (8, 0, 0, 0), (0, 0, 0, 8)), logits((2, 0), (2, 0), (0, 2))
    mirrored = logits((0, 0, 0, 6), (0, 2, 0, 0), (0, 0, 0, 2)), logits((0, 4), (0, 0), (0, 0))
    codec = SimccCodec((2, 4), split=1.0)
    task = SimccSupervised(Answers(plain, mirrored), codec, ((1, 2),))
    images = torch.tensor([1.0, 0, 0, -1]).expand(1, 3, 2, 4)
    x, y = logits((3, 2, 0, 0), (5, 0, 0, 0), (0, 0, 1, 4)), logits((1, 2), (1, 0), (0, 1))
    keypoints, scores = task.predict(images, flip_test=True)
    expected, expected_scores = codec.decode(x.softmax(2), y.softmax(2))
    assert torch.equal(keypoints, torch.tensor([[[0.0, 1.0], [0.0, 0.0], [3.0, 1.0]]]))
    assert torch.equal(keypoints, expected)
    torch.testing.assert_close(scores, expected_scores)
    assert torch.equal(task.predict(images)[0], torch.tensor([[[1.0, 0.0], [0.0, 0.0], [3.0, 1.0]]]))


def test_flip_test_of_a_mirrored_image_gives_the_mirrored_people():
    task = SimccSupervised(network().eval(), CODEC, toy.FLIP_PAIRS)
    images, order = batch().images["student"], swapped(14, toy.FLIP_PAIRS)
    keypoints, scores = task.predict(images, flip_test=True)
    mirrored, mirrored_scores = task.predict(images.flip(3), flip_test=True)
    torch.testing.assert_close(mirrored_scores[:, order], scores)
    assert torch.equal(63 - mirrored[:, order, 0], keypoints[..., 0])
    assert torch.equal(mirrored[:, order, 1], keypoints[..., 1])
    assert not torch.equal(task.predict(images)[0], keypoints)
