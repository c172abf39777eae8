"""OKDHP's distillation losses: divergences of maps as distributions, and of single pixels."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import rel_entr
from scipy.special import softmax as softmax_of
from torch import Tensor

from lib.tasks.okdhp import binary_kl, pixelwise_kl


def maps_of(*probabilities: float) -> Tensor:
    """A map of 2 x 2 px of one joint of one image whose softmax these are."""
    return torch.tensor(probabilities).log().reshape(1, 1, 2, 2)


ONE = maps_of(1 / 6, 3 / 6, 1 / 6, 1 / 6)
TARGET = maps_of(1 / 8, 1 / 8, 1 / 8, 5 / 8)
TARGET_FROM_ONE = (2 * math.log(6 / 8) + math.log(2 / 8) + 5 * math.log(30 / 8)) / 8  # KL(TARGET || ONE)
ONE_FROM_TARGET = (2 * math.log(8 / 6) + 3 * math.log(8 / 2) + math.log(8 / 30)) / 6


def test_divergence_of_four_pixels():
    assert pixelwise_kl(ONE, TARGET).item() == pytest.approx(TARGET_FROM_ONE, rel=1e-6)
    assert pixelwise_kl(TARGET, ONE).item() == pytest.approx(ONE_FROM_TARGET, rel=1e-6)
    assert abs(TARGET_FROM_ONE - ONE_FROM_TARGET) > 0.01


def test_divergence_is_summed_over_joints_and_averaged_over_the_batch():
    joints = pixelwise_kl(torch.cat((ONE, ONE, TARGET), 1), torch.cat((TARGET, TARGET, ONE), 1))
    assert joints.item() == pytest.approx(2 * TARGET_FROM_ONE + ONE_FROM_TARGET, rel=1e-6)
    people = pixelwise_kl(torch.cat((ONE, ONE, TARGET)), torch.cat((TARGET, TARGET, ONE)))
    assert people.item() == pytest.approx((2 * TARGET_FROM_ONE + ONE_FROM_TARGET) / 3, rel=1e-6)


def test_temperature_divides_both_maps():
    assert pixelwise_kl(3 * ONE, 3 * TARGET, 3).item() == pytest.approx(TARGET_FROM_ONE, rel=1e-5)
    assert pixelwise_kl(ONE, TARGET, 2).item() == pytest.approx(pixelwise_kl(ONE / 2, TARGET / 2).item(), rel=1e-6)
    assert pixelwise_kl(ONE, TARGET, 2) < pixelwise_kl(ONE, TARGET)


def test_divergence_sees_neither_equal_maps_nor_a_constant():
    maps = torch.randn(3, 5, 6, 4, generator=torch.Generator().manual_seed(0))
    constants = torch.arange(15.0).reshape(3, 5, 1, 1)
    assert pixelwise_kl(maps, maps) == 0
    assert pixelwise_kl(maps + constants, maps).item() == pytest.approx(0, abs=1e-4)


def test_gradient_of_the_divergence():
    maps = torch.cat((ONE, TARGET)).requires_grad_()
    pixelwise_kl(maps, torch.cat((TARGET, TARGET))).backward()
    # (softmax(maps) - softmax(target)) / batch
    expected = torch.tensor([[1 / 6 - 1 / 8, 1 / 2 - 1 / 8, 1 / 6 - 1 / 8, 1 / 6 - 5 / 8], [0, 0, 0, 0]]) / 2
    torch.testing.assert_close(maps.grad.reshape(2, 4), expected)

    maps = (3 * ONE).requires_grad_()
    pixelwise_kl(maps, 3 * TARGET, 3).backward()
    torch.testing.assert_close(maps.grad.flatten(), 2 * expected[0] / 3)


def test_binary_divergence_takes_each_pixel_for_a_probability():
    """KL of (q, 1 - q) from (p, 1 - p), pixel by pixel; what is beyond 0.01 and 0.99 is cut to them."""
    maps, target = torch.tensor([[[[0.25, -3.0]]], [[[0.5, 0.99]]]]), torch.tensor([[[[0.5, 0.0]]], [[[0.5, 7.0]]]])
    first = 0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    assert binary_kl(maps, target).item() == pytest.approx(first / 2, rel=1e-5)
    assert binary_kl(target, maps).item() == pytest.approx(
        (0.25 * math.log(1 / 2) + 0.75 * math.log(1.5)) / 2, rel=1e-5
    )
    maps.requires_grad_()
    binary_kl(maps, target).backward()
    # (p - q) / (p (1 - p)) / batch
    torch.testing.assert_close(maps.grad[0], torch.tensor([[[-0.25 / 0.1875 / 2, 0.0]]]))


shapes = st.tuples(st.just(2), *[st.integers(1, 4)] * 4)


@settings(deadline=None, max_examples=50)
@given(arrays(np.float32, shapes, elements=st.floats(-4, 4, width=32)), st.sampled_from([0.5, 1.0, 4.0]))
def test_divergence_equals_a_loop_over_joints(pair, temperature):
    maps, target = pair.astype(np.float64) / temperature
    people, joints = maps.shape[:2]
    total = 0.0
    for person in range(people):
        for joint in range(joints):
            total += rel_entr(softmax_of(target[person, joint]), softmax_of(maps[person, joint])).sum()
    found = pixelwise_kl(*map(torch.from_numpy, pair), temperature).item()
    assert found == pytest.approx(total / people, rel=1e-3, abs=1e-4)
    assert found > -1e-5
