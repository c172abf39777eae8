"""Half-body augmentation: views of the upper or the lower half, as HRNet's public code draws them."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.data.batches import Augmentation
from tests.test_batches import ALL, batches, fitted, make_crops

HALVES = Augmentation(flip=False, scale=(1, 1), rotation=0, half_body=1)


def halved(keypoints, visible, upper_body, input, upper):
    """The half-body rule for one person, joint by joint: centre and factor of the person box, or None."""
    above = [point for joint, point in enumerate(keypoints) if visible[joint] and joint in upper_body]
    below = [point for joint, point in enumerate(keypoints) if visible[joint] and joint not in upper_body]
    if len(above) + len(below) <= 8:
        return None
    joints = above if (upper and len(above) > 2) or len(below) <= 2 else below
    xs, ys = [x for x, _ in joints], [y for _, y in joints]
    width, height, aspect = max(xs) - min(xs), max(ys) - min(ys), input[1] / input[0]
    width, height = (width, width / aspect) if width > aspect * height else (height * aspect, height)
    return np.array([sum(xs), sum(ys)]) / len(joints), 1.5 * height / input[0]


def test_half_bodies_fill_the_view():
    crops = make_crops(people=400, joints=14, flip_pairs=())
    crops.visible[:] = np.random.default_rng(2).random((400, 14)) < np.linspace(0.4, 1, 400)[:, None]
    crops.visible[:40, :7] = np.arange(7) < np.arange(40)[:, None] % 4  # few joints above
    crops.visible[40:80, 7:] = np.arange(7) < np.arange(40)[:, None] % 4  # few joints below
    crops.visible[:80, 7:] |= np.arange(80)[:, None] < 40
    crops.visible[:80, :7] |= np.arange(80)[:, None] >= 40
    (batch,) = batches(crops, (64, 48), 400, augmentation=HALVES).epoch(0)
    chosen, of_three = {"upper": 0, "lower": 0, "whole": 0}, set()
    for row, keypoints in zip(batch.rows, batch.keypoints.double().numpy(), strict=True):
        matrix = fitted(keypoints, crops.keypoints[row])
        centre, factor = matrix @ [23.5, 31.5, 1], 2 * matrix[0, 0]  # the view has two pixels for one of the crop
        assert np.allclose(matrix[:, :2], matrix[0, 0] * np.eye(2), atol=1e-5)
        arguments = crops.keypoints[row].astype(float), crops.visible[row], crops.upper_body, crops.input
        halves = [halved(*arguments, upper) for upper in (True, False)]
        if halves[0] is None:
            assert np.allclose(centre, [17.5, 23.5], atol=1e-4) and np.isclose(factor, 1)
            chosen["whole"] += 1
            continue
        matches = [np.allclose(centre, at, atol=1e-3) and np.isclose(factor, size, atol=1e-4) for at, size in halves]
        assert any(matches)
        if not all(matches):  # both halves have more than two joints
            half = "upper" if matches[0] else "lower"
            chosen[half] += 1
            if crops.visible[row, : 7 if half == "upper" else None][-7:].sum() == 3:
                of_three.add(half)
    assert of_three == {"upper", "lower"}  # three joints are enough for a half
    # The normal distribution is below 0.5 in 69.1 % of draws; the standard deviation of the share is about 3 %.
    assert chosen["whole"] > 40 and 0.58 < chosen["upper"] / (chosen["upper"] + chosen["lower"]) < 0.8


@pytest.mark.parametrize("probability", [0, 0.3, 1])
def test_half_body_probability_changes_nothing_else(probability):
    crops = make_crops(people=300, joints=14, flip_pairs=((0, 1),))
    crops.visible[:] = True
    crops.visible[::2, :6] = False  # eight joints: the whole body
    maps = []
    for augmentation in (ALL, replace(ALL, half_body=probability)):
        (batch,) = batches(crops, batch_size=300, augmentation=augmentation).epoch(4)
        assert batch.visible.sum() == crops.visible.sum()  # joints outside the view keep their labels
        maps.append((batch.rows, batch.keypoints, batch.images["student"]))
    (rows, whole, images), (same, keypoints, views) = maps
    assert np.array_equal(rows, same)
    changed = (whole != keypoints).flatten(1).any(1).numpy()
    assert torch.equal(images[~changed], views[~changed]) and not changed[rows % 2 == 0].any()
    assert abs(changed[rows % 2 == 1].mean() - probability) < 0.13
    # The turn and the mirror are those of the whole body.
    linear = [[fitted(crops.keypoints[r], k)[:, :2] for r, k in zip(rows, p, strict=True)] for p in (whole, keypoints)]
    direction = [np.array(one) / np.linalg.norm(one, axis=(1, 2), keepdims=True) for one in linear]
    assert np.allclose(*direction, atol=1e-4)


@pytest.mark.parametrize("centred", [True, False])
def test_coinciding_joints_still_make_a_view(centred):
    crops = make_crops(people=4, joints=14, flip_pairs=())
    crops.keypoints[:], crops.visible[:] = (20, 21), True
    (batch,) = batches(crops, augmentation=replace(HALVES, half_body=float(centred))).epoch(0)
    assert torch.allclose(batch.keypoints, torch.tensor([11.5, 15.5] if centred else [14.0, 13.0]))
    assert batch.images["student"].isfinite().all()
