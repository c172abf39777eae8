"""PCK: literal cases, an independent slow reference, and the invariances that a relative distance must have."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import InputError
from lib.metrics import curve, score
from lib.metrics.pck import LSP_THRESHOLDS, lsp_pck, mpii_pckh, pck, pck_curve

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


def coco(truth, visible, ids):
    keypoints = np.concatenate([truth, visible[..., None] * 2], axis=-1)
    return {
        "info": {"dataset": "lsp", "source": "synthetic", "note": ""},
        "categories": [{"id": 1, "keypoints": [f"joint{k}" for k in range(JOINTS)]}],
        "annotations": [
            {"id": int(i), "keypoints": row.reshape(-1).tolist()} for i, row in zip(ids, keypoints, strict=True)
        ],
    }


def test_score_matches_by_id_and_scores_the_predicted_persons_only():
    pred, truth, visible = persons(5, count=10)
    annotations = coco(truth, visible, np.arange(10) + 100)
    chosen = np.array([7, 2, 5, 9, 1, 0])
    result = score(annotations, {"ids": chosen + 100, "keypoints": pred[chosen]})
    assert result == pytest.approx(lsp_pck(pred[chosen], truth[chosen], visible[chosen]))
    thresholds, values = curve(annotations, {"ids": chosen + 100, "keypoints": pred[chosen]})
    assert (thresholds[0], thresholds[-1]) == (0, 0.2)
    assert values[-1] == pytest.approx(result["mean"])


def test_score_leaves_out_what_nobody_has():
    pred, truth, visible = persons(5)
    visible[:, [6, 11]] = False
    result = score(coco(truth, visible, range(6)), {"ids": np.arange(6), "keypoints": pred})
    assert result.keys() == COLUMNS - {"wrist"}


@pytest.mark.parametrize(
    ("ids", "shape", "dataset", "message"),
    [
        ([0, 77], (2, JOINTS, 2), "lsp", "1 annotation ids that the annotations lack, first 77"),
        ([0, 0], (2, JOINTS, 2), "lsp", "twice"),
        ([0, 1], (2, 16, 2), "lsp", "shape"),
        ([0, 1], (2, JOINTS, 2), "coco", "no metric for dataset 'coco'"),
    ],
)
def test_score_refuses(ids, shape, dataset, message):
    _, truth, visible = persons(1)
    annotations = coco(truth, visible, range(6))
    annotations["info"]["dataset"] = dataset
    with pytest.raises(InputError, match=message):
        score(annotations, {"ids": np.array(ids), "keypoints": np.zeros(shape)})
