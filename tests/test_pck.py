"""PCK: literal cases, an independent slow reference, and the invariances that a relative distance must have."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import InputError
from lib.metrics.pck import LSP_THRESHOLDS, lsp_curve, lsp_pck, mpii_curve, mpii_pckh, pck, pck_curve, pckh

JOINTS = 14
COLUMNS = {"head", "shoulder", "elbow", "wrist", "hip", "knee", "ankle", "mean", "auc"}


def persons(seed: int, count: int = 6, joints: int = JOINTS, noise: float = 12.0):
    """Truth with distinct joints, predictions off by some pixels, and some joints without a label (never the torso)."""
    generator = np.random.default_rng(seed)
    truth = generator.uniform(0, 200, (count, joints, 2))
    visible = generator.random((count, joints)) < 0.8
    visible[:, [2, 9]] = True
    return truth + generator.normal(0, noise, truth.shape), truth, visible


def lsp_reference(pred, truth, visible):
    """The same rules one joint at a time."""

    def joint_pck(joint, threshold):
        correct = total = 0
        for p, t, v in zip(pred, truth, visible, strict=True):
            if not (v[2] and v[9] and v[joint]):
                continue
            total += 1
            correct += math.dist(p[joint], t[joint]) / math.dist(t[2], t[9]) <= threshold
        return 100 * correct / total

    at = [joint_pck(joint, 0.2) for joint in range(JOINTS)]
    curve = [sum(joint_pck(joint, step / 100) for joint in range(JOINTS)) / JOINTS for step in range(21)]
    return {
        "head": (at[12] + at[13]) / 2,
        "shoulder": (at[8] + at[9]) / 2,
        "elbow": (at[7] + at[10]) / 2,
        "wrist": (at[6] + at[11]) / 2,
        "hip": (at[2] + at[3]) / 2,
        "knee": (at[1] + at[4]) / 2,
        "ankle": (at[0] + at[5]) / 2,
        "mean": sum(at) / JOINTS,
        "auc": sum((a + b) / 2 for a, b in pairwise(curve)) / 20,
    }


def test_pck_literal():
    # Norm 10 px: distances 0, 2, 5 (two pixels are exactly 0.2) and one joint without a label.
    truth = np.zeros((2, 2, 2))
    pred = np.array([[[0, 0], [2, 0]], [[3, 4], [9, 9]]], dtype=np.float32)
    visible = np.array([[True, True], [True, False]])
    norm = np.array([10.0, 10.0])
    np.testing.assert_array_equal(pck(pred, truth, visible, norm, 0.2), [50, 100])
    np.testing.assert_array_equal(pck(pred, truth, visible, norm, 0.19), [50, 0])
    np.testing.assert_array_equal(pck(pred, truth, visible, norm, 0.5), [100, 100])


def test_persons_without_norm_and_joints_without_label_do_not_count():
    truth = np.zeros((3, 2, 2))
    pred = np.full((3, 2, 2), 1.0)
    visible = np.array([[True, False]] * 3)
    result = pck(pred, truth, visible, np.array([10.0, 0.0, np.nan]), 0.2)
    assert result[0] == 100
    assert np.isnan(result[1])


def test_a_prediction_that_is_nan_is_wrong():
    truth = np.zeros((1, 1, 2))
    pred = np.full((1, 1, 2), np.nan)
    assert pck(pred, truth, np.ones((1, 1), bool), np.ones(1), 0.5) == [0]


@pytest.mark.parametrize("seed", range(4))
def test_lsp_equals_a_naive_loop(seed):
    data = persons(seed, count=30)
    result = lsp_pck(*data)
    assert result.keys() == COLUMNS
    assert result == pytest.approx(lsp_reference(*data))


def test_lsp_columns_read_the_right_joints():
    # Torso 100 px; only the right wrist (6) is off, by 30 px: half of the wrist column, one of 14 joints of the mean.
    truth = np.zeros((1, JOINTS, 2))
    truth[0, 9] = [60, 80]
    pred = truth.copy()
    pred[0, 6] += [0, 30]
    result = lsp_pck(pred, truth, np.ones((1, JOINTS), bool))
    expected = dict.fromkeys(COLUMNS, 100.0) | {"wrist": 50.0, "mean": 100 * 13 / 14, "auc": 100 * 13 / 14}
    assert result == pytest.approx(expected)


def test_lsp_auc_closed_form():
    # Every joint 10 px off with a torso of 100 px: the curve steps from 0 to 100 between 0.09 and 0.10.
    truth = np.zeros((1, JOINTS, 2))
    truth[0, 9] = [100, 0]
    result = lsp_pck(truth + np.array([0, 10]), truth, np.ones((1, JOINTS), bool))
    assert result["mean"] == 100
    assert result["auc"] == pytest.approx(100 * (0.5 + 10) / 20)


def test_torso_is_right_hip_to_left_shoulder():
    truth = np.zeros((1, JOINTS, 2))
    truth[0, 2], truth[0, 9] = [0, 0], [0, 50]  # torso 50 px
    truth[0, 3], truth[0, 8] = [500, 0], [0, 500]  # the other diagonal is far longer
    pred = truth.copy()
    pred[0, 13] += [11, 0]  # 0.22 of the torso
    assert lsp_pck(pred, truth, np.ones((1, JOINTS), bool))["head"] == 50


def test_lsp_needs_a_torso():
    pred, truth, visible = persons(0)
    visible[:, 2] = False
    with pytest.raises(InputError, match="torso"):
        lsp_pck(pred, truth, visible)


@given(st.integers(0, 999), st.floats(0.01, 100), st.floats(-1e3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=30, deadline=None)
def test_lsp_is_invariant(seed, scale, x, y):
    pred, truth, visible = persons(seed)
    before = lsp_pck(pred, truth, visible)
    order = np.random.default_rng(seed).permutation(len(pred))
    moved = lsp_pck(pred[order] * scale + [x, y], truth[order] * scale + [x, y], visible[order])
    assert moved == pytest.approx(before)


@given(st.integers(0, 999))
@settings(max_examples=30, deadline=None)
def test_pck_grows_with_the_threshold_and_truth_scores_100(seed):
    pred, truth, visible = persons(seed)
    visible[0] = True
    norm = np.full(len(pred), 60.0)
    values = pck_curve(pred, truth, visible, norm, LSP_THRESHOLDS)
    assert (np.diff(values, axis=0) >= 0).all()
    assert (values >= 0).all() and (values <= 100).all()
    assert set(lsp_pck(truth, truth, visible).values()) == {100.0}


def pckh_reference(pred, truth, visible, head_sizes, threshold=0.5):
    """PCKh as HRNet defines it, one joint at a time: columns, mean over all counted labels, and mean over joints."""

    def counts(joint, threshold):
        right = total = 0
        for p, t, v, size in zip(pred, truth, visible, head_sizes, strict=True):
            if v[joint]:
                total += 1
                right += math.hypot(p[joint][0] - t[joint][0], p[joint][1] - t[joint][1]) / size <= threshold
        return right, total

    def pooled(threshold):
        right, total = map(sum, zip(*(counts(joint, threshold) for joint in counted), strict=True))
        return 100 * right / total

    counted = [joint for joint in range(16) if joint not in (6, 7)]
    at = [100 * right / total for right, total in (counts(joint, threshold) for joint in range(16))]
    curve = [pooled(step / 100) for step in range(51)]
    return {
        "head": at[9],
        "shoulder": (at[12] + at[13]) / 2,
        "elbow": (at[11] + at[14]) / 2,
        "wrist": (at[10] + at[15]) / 2,
        "hip": (at[2] + at[3]) / 2,
        "knee": (at[1] + at[4]) / 2,
        "ankle": (at[0] + at[5]) / 2,
        "mean": pooled(threshold),
        "auc": sum((a + b) / 2 for a, b in pairwise(curve)) / 50,
    }, sum(at[joint] for joint in counted) / 14


@pytest.fixture(scope="module")
def real(shared_data):
    """True joints (N, 16, 2), labels' existence (N, 16) and head sizes (N,) of MPII's 2,958 validation persons."""
    h5py = pytest.importorskip("h5py")
    with h5py.File(shared_data / "samples/mpii/annot/valid.h5") as file:
        truth, sizes = file["part"][:], file["normalize"][:]
    return truth, (truth != 0).any(axis=-1), sizes  # unlabelled joints are at (0, 0)


def test_real_truth_scores_exactly_100(real):
    truth, visible, sizes = real
    result = pckh(truth, truth, visible, sizes)
    assert result.keys() == COLUMNS
    assert set(result.values()) == {100.0}
    assert pckh(truth, truth, visible, sizes, threshold=0.1, pooled=False)["mean"] == 100


def test_real_jitter_equals_a_naive_loop(real):
    truth, visible, sizes = (array[::3] for array in real)
    noise = np.random.default_rng(0).normal(0, 0.35, truth.shape)
    pred = (truth + noise * sizes[:, None, None]).astype(np.float32)  # as predictions are stored
    expected, averaged = pckh_reference(pred.tolist(), truth.tolist(), visible.tolist(), sizes.tolist())
    assert 20 < expected["mean"] < 80
    assert pckh(pred, truth, visible, sizes) == pytest.approx(expected)
    assert pckh(pred, truth, visible, sizes, pooled=False)["mean"] == pytest.approx(averaged)
    assert averaged != pytest.approx(expected["mean"], abs=1e-3)


def test_threshold_of_a_tenth_is_not_eleven_hundredths():
    # Every joint 10.5 % of the head size off: right at 0.11, where HRNet reads its "0.1", and wrong at 0.10.
    truth = np.zeros((1, 16, 2))
    visible, sizes = np.ones((1, 16), bool), np.array([200.0])
    assert pckh(truth + np.array([21, 0]), truth, visible, sizes, threshold=0.1)["mean"] == 0
    assert pckh(truth + np.array([21, 0]), truth, visible, sizes, threshold=0.11)["mean"] == 100
    assert pckh(truth + np.array([20, 0]), truth, visible, sizes, threshold=0.1)["mean"] == 100


def test_mpii_auc_closed_form():
    # Every joint 30 % of the head size off: the curve steps from 0 to 100 between 0.29 and 0.30.
    truth = np.zeros((1, 16, 2))
    persons = truth + np.array([0, 30]), truth, np.ones((1, 16), bool), np.array([100.0])
    thresholds, values = mpii_curve(*persons)
    assert (thresholds[0], thresholds[30], thresholds[-1]) == (0, 0.3, 0.5)
    np.testing.assert_array_equal(values, [0] * 30 + [100] * 21)
    assert pckh(*persons)["auc"] == pytest.approx(100 * (0.5 + 20) / 50)


def test_curves_end_at_the_mean():
    lsp, mpii = persons(1), persons(1, joints=16)
    assert lsp_curve(*lsp)[1][-1] == pytest.approx(lsp_pck(*lsp)["mean"])
    sizes = np.linspace(20, 40, 6)
    for pooled in (True, False):
        assert mpii_curve(*mpii, sizes, pooled)[1][-1] == pytest.approx(pckh(*mpii, sizes, pooled=pooled)["mean"])


def test_mpii_literal():
    # Head boxes of 30 x 40 px: head size 0.6 * 50 = 30 px; 15 px is exactly PCKh 0.5.
    truth = np.zeros((2, 16, 2))
    pred = truth.copy()
    pred[:, 10] += [15, 0]  # right wrist: just right
    pred[0, 9] += [16, 0]  # head top: wrong for one of two
    pred[:, 6:8] += 1000  # pelvis and thorax never count
    visible = np.ones((2, 16), bool)
    visible[1, 0] = False  # right ankle once
    boxes = np.array([[10, 10, 40, 50], [0, 0, 30, 40]])
    result = mpii_pckh(pred, truth, visible, boxes)
    assert result.keys() == COLUMNS
    assert (result["head"], result["wrist"], result["ankle"]) == (50, 100, 100)
    assert result["mean"] == pytest.approx(100 * 26 / 27)  # 13 joints twice, one once, one wrong
    assert mpii_pckh(pred, truth, visible, boxes, pooled=False)["mean"] == pytest.approx(100 * 13.5 / 14)
    assert mpii_pckh(pred, truth, visible, boxes, threshold=0.49)["wrist"] == 50


def test_mpii_pooled_mean_is_the_share_of_all_labelled_joints():
    pred, truth, visible = persons(3, count=20, joints=16)
    boxes = np.tile([0, 0, 30, 40], (20, 1))
    counted = [joint for joint in range(16) if joint not in (6, 7)]
    correct = (np.linalg.norm(pred - truth, axis=-1) <= 15)[:, counted][visible[:, counted]]
    assert mpii_pckh(pred, truth, visible, boxes)["mean"] == pytest.approx(100 * correct.mean())
    assert mpii_pckh(truth, truth, visible, boxes)["auc"] == 100


@given(st.integers(0, 999), st.floats(0.01, 100), st.floats(-1e3, 1e3))
@settings(max_examples=30, deadline=None)
def test_pckh_is_invariant(seed, scale, shift):
    pred, truth, visible = persons(seed, count=12, joints=16)
    generator = np.random.default_rng(seed)
    sizes, order = generator.uniform(20, 40, 12), generator.permutation(12)
    moved = [(points * scale + shift)[order] for points in (pred, truth)]
    result = pckh(*moved, visible[order], (sizes * scale)[order])
    assert result == pytest.approx(pckh(pred, truth, visible, sizes), nan_ok=True)
