"""Hands in space: errors in closed form, areas against an independent integral, and the rule of the benchmarks."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InputError
from lib.metrics.hand3d import THRESHOLDS, epe, joint_errors, pck_auc, pck_curve
from lib.metrics.mean_pose import mean_hand
from lib.metrics.scores import HANDS, curve, score, title_of, unit_of

SHAPE = (5, 21, 3)


def hands(seed: int = 0) -> np.ndarray:
    """True joints (5, 21, 3) in mm of no particular shape."""
    return np.random.default_rng(seed).uniform([-80, -80, 520], [80, 80, 680], SHAPE)


def off(truth: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """Predictions whose joints are errors (N, 21) mm away, the wrist's entry ignored: it is right."""
    directions = np.random.default_rng(1).normal(size=truth.shape)
    directions /= np.linalg.norm(directions, axis=-1, keepdims=True)
    moved = truth + directions * errors[..., None]
    moved[:, 0] = truth[:, 0]
    return moved


def test_a_step_of_three_four_twelve():
    truth = np.zeros((1, 21, 3))
    pred = truth.copy()
    pred[0, 8] = [3, 4, 12]
    assert joint_errors(pred, truth)[0, 8] == 13
    assert epe(pred, truth) == pytest.approx(13 / 21)
    pred[0, 0] = [3, 4, 12]  # the wrist moves to the origin and takes all the others along, but joint 8 is right now
    assert epe(pred, truth) == pytest.approx(19 * 13 / 21)


def test_errors_do_not_see_where_the_hand_is():
    truth = hands()
    pred = off(truth, np.full(SHAPE[:2], 7.0))
    shift = np.random.default_rng(2).uniform(-500, 500, (5, 1, 3))
    np.testing.assert_allclose(joint_errors(pred + shift, truth), joint_errors(pred, truth))
    assert epe(pred, truth) == pytest.approx(7 * 20 / 21)
    assert epe(truth + shift, truth) == pytest.approx(0)


def test_single_precision_far_from_the_camera_is_enough():
    truth = hands() + 1000
    assert epe(truth.astype(np.float32), truth) < 1e-3


def test_an_error_as_large_as_the_threshold_is_tolerated():
    truth = np.zeros((1, 21, 3))
    pred = truth.copy()
    pred[0, 1:, 2] = 20
    assert pck_curve(pred, truth, [19.999, 20]).tolist() == pytest.approx([100 / 21, 100])
    assert len(THRESHOLDS) == 51 and (THRESHOLDS[0], THRESHOLDS[-1]) == (0, 50)
    assert pck_curve(pred, truth).shape == (51,)


def test_area_of_one_step():
    """PCK jumps from 1/21 at 19 mm to 1 at 20 mm: what is missing up to 50 mm is a rectangle and a triangle."""
    truth = np.zeros((1, 21, 3))
    pred = truth.copy()
    pred[0, 1:, 0] = 20
    assert pck_auc(pred, truth, 20, 50) == 1
    assert pck_auc(pred, truth, 0, 50) == pytest.approx(1 - 20 / 21 * 19.5 / 50)
    assert pck_auc(pred, truth, 0, 19) == pytest.approx(1 / 21)
    assert pck_auc(truth, truth, 0, 50) == 1


@given(st.integers(0, 2**32 - 1), st.floats(0.5, 40))
def test_area_is_the_mean_of_what_is_left_below_the_limit(seed, spread):
    """Independent: the area is 1 − mean of (error − low) cut at the range, over the range, up to the 1-mm steps."""
    errors = np.random.default_rng(seed).exponential(spread, SHAPE[:2])
    errors[:, 0] = 0
    truth = hands()
    for low, high in ((0, 50), (20, 50)):
        exact = 1 - np.clip(errors - low, 0, high - low).mean() / (high - low)
        assert pck_auc(off(truth, errors), truth, low, high) == pytest.approx(exact, abs=0.5 / (high - low))


def test_the_printed_pair_of_stb_does_not_fit_0_to_50_mm():
    """0.987 over 0-50 mm bounds the errors below 50 mm so that 8.18 mm needs joints 629 mm off: the report's reason."""
    capped = (1 - 0.987) * 50
    outside = capped / 50
    assert 50 + (8.18 - capped) / outside == pytest.approx(629, abs=0.5)
    capped = (1 - 0.915) * 50
    assert capped / 50 == pytest.approx(0.085)
    assert 50 + (15.67 - capped) / 0.085 == pytest.approx(184, abs=0.5)
    assert [(1 - auc) * 30 for auc in (0.987, 0.915)] == pytest.approx([0.39, 2.55])


# The benchmarks' rule


def document(dataset: str, truth: np.ndarray, sides: str = "", subsets: tuple[str, ...] = ()) -> dict:
    """Annotations 11, 12, ... in images 1, 2, ...; sides: r or l of each."""
    entries = [
        {"id": 11 + n, "image_id": 1 + n, "num_keypoints": 21, "xyz": truth[n].tolist()} for n in range(len(truth))
    ]
    for entry, side in zip(entries, sides or "r" * len(truth), strict=True):
        entry["side"] = {"r": "right", "l": "left"}[side]
    images = [{"id": 1 + n} | ({"subset": subsets[n]} if subsets else {}) for n in range(len(truth))]
    return {"info": {"dataset": dataset}, "images": images, "annotations": entries, "categories": [{"keypoints": []}]}


@pytest.mark.parametrize("dataset", HANDS)
def test_hands_are_matched_by_id(dataset):
    truth = hands()
    pred = off(truth, np.arange(5.0)[:, None] * np.ones(21) * 10)
    order = np.array([4, 1, 3])
    predictions = {"ids": 11 + order, "keypoints": pred[order].astype(np.float32)}
    scores = score(document(dataset, truth), predictions)
    assert scores == pytest.approx(
        {
            "epe": 20 / 21 * 80 / 3,
            "auc_20_50": pck_auc(pred[order], truth[order], 20, 50),
            "auc_0_50": pck_auc(pred[order], truth[order], 0, 50),
        },
        abs=2e-3,
    )
    thresholds, values = curve(document(dataset, truth), predictions)
    # Two of the three hands have errors of 30 mm and less, the third one's wrist is right.
    assert (thresholds[35], values[35]) == (35, pytest.approx(100 * (2 + 1 / 21) / 3))


def test_units():
    assert (unit_of("epe").symbol, unit_of("epe").lower_is_better) == ("mm", True)
    assert (unit_of("auc").symbol, unit_of("auc_20_50").symbol) == ("%", "")
    assert not unit_of("auc_20_50").lower_is_better and not unit_of("mean").lower_is_better
    assert title_of("auc_20_50") == "AUC, 20–50 mm in steps of 1 mm"
    assert title_of("ar") == "AR"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.array([11, 99])}, "annotation ids that the annotations lack, first 99"),
        ({"ids": np.array([11, 11])}, "hold 1 annotation ids twice"),
        ({"keypoints": np.zeros((2, 21, 2))}, r"keypoints have shape \(2, 21, 2\), expected \(2, 21, 3\)"),
        ({"ids": np.array([], np.int64), "keypoints": np.zeros((0, 21, 3))}, "predictions hold no hand"),
    ],
)
def test_refusals(change, message):
    truth = hands()
    predictions = {"ids": np.array([11, 12]), "keypoints": truth[:2]} | change
    for rule in (score, curve):
        with pytest.raises(InputError, match=message):
            rule(document("rhd", truth), predictions)


# The baseline that sees no image


def at(pose: np.ndarray, scale: float, root: list[float]) -> np.ndarray:
    """Joints of a pose whose wrist is at 0 and whose scale is 1."""
    return pose * scale + root


def two_poses() -> np.ndarray:
    """Two poses with the wrist at 0 and a middle finger's first bone of length 1."""
    poses = np.random.default_rng(3).uniform(-3, 3, (2, 21, 3))
    poses[:, 0] = 0
    poses[:, 10] = poses[:, 9] + [[0.6, 0, 0.8], [0, 1, 0]]
    return poses


MIRROR = np.array([-1, 1, 1])


def test_mean_hand_is_placed_by_true_root_and_scale_on_its_side():
    first, second = two_poses()
    train = np.stack([at(first, 30, [5, 6, 700]), at(second * MIRROR, 25, [0, 0, 400])])
    test = np.stack([at(second, 20, [1, 2, 500]), at(first * MIRROR, 40, [9, 8, 600])])
    predicted = mean_hand(document("rhd", train, "rl"), document("rhd", test, "rl"), np.array([12, 11]))
    mean = (first + second) / 2
    expected = [at(mean * MIRROR, 40, [9, 8, 600]), at(mean, 20, [1, 2, 500])]
    np.testing.assert_allclose(predicted["keypoints"], expected)
    assert predicted["ids"].tolist() == [12, 11]
    assert mean_hand(document("rhd", train[:1]), document("rhd", train[:1]), np.array([11]))[
        "keypoints"
    ] == pytest.approx(train[:1])


def test_mean_hand_is_of_the_evaluated_camera():
    first, second = two_poses()
    train = np.stack([at(first, 30, [5, 6, 700]), at(second, 25, [0, 0, 400])])
    train = document("stb", train, subsets=("BB_left", "SK_color"))
    test = document("stb", at(second, 20, [1, 2, 500])[None], subsets=("BB_left",))
    predicted = mean_hand(train, test, np.array([11]))["keypoints"]
    np.testing.assert_allclose(predicted, [at(first, 20, [1, 2, 500])])
    test["images"][0]["subset"] = "BB_right"
    with pytest.raises(InputError, match="none of 2 training hands is of the evaluated kind"):
        mean_hand(train, test, np.array([11]))
