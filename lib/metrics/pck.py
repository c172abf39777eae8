"""Percentage of correct keypoints (PCK), normalised by torso (LSP) or head (MPII), and the area under its curve."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib.errors import InputError

# Columns of the papers' tables as indices of the joints whose percentages they average.
LSP_COLUMNS = {
    "head": (12, 13),  # neck and head top
    "shoulder": (8, 9),
    "elbow": (7, 10),
    "wrist": (6, 11),
    "hip": (2, 3),
    "knee": (1, 4),
    "ankle": (0, 5),
}
MPII_COLUMNS = {
    "head": (9,),  # head top
    "shoulder": (12, 13),
    "elbow": (11, 14),
    "wrist": (10, 15),
    "hip": (2, 3),
    "knee": (1, 4),
    "ankle": (0, 5),
}
LSP_TORSO = (2, 9)  # right hip, left shoulder
MPII_COUNTED = tuple(joint for joint in range(16) if joint not in (6, 7))  # all but pelvis and thorax

# Dividing whole numbers keeps 0.2 and 0.5 the very floats that a reader would write.
LSP_THRESHOLDS = np.arange(21) / 100
MPII_THRESHOLDS = np.arange(51) / 100


def pck_curve(pred: NDArray, truth: NDArray, visible: NDArray, norm: NDArray, thresholds: ArrayLike) -> NDArray:
    """Percentage of labelled joints predicted within each threshold of their true place.

    pred, truth (N, K, 2) px; visible (N, K) bool; norm (N,) px, the length that thresholds are fractions of. Persons
    whose norm is zero or NaN do not count; a prediction that is NaN is wrong. A distance equal to the threshold is
    correct. Returns (T, K), NaN for joints that no counted person has.
    """
    counted = visible & (norm > 0)[:, None]
    distance = np.linalg.norm(pred.astype(np.float64) - truth, axis=-1)
    share = np.divide(distance, norm[:, None], out=np.full(distance.shape, np.inf), where=counted)
    correct = (share <= np.asarray(thresholds, dtype=np.float64)[:, None, None]).sum(axis=1)
    total = np.broadcast_to(counted.sum(axis=0), correct.shape)
    return np.divide(100.0 * correct, total, out=np.full(correct.shape, np.nan), where=total > 0)


def pck(pred: NDArray, truth: NDArray, visible: NDArray, norm: NDArray, threshold: float) -> NDArray:
    """PCK of each joint at one threshold: (K,) percentages; arguments and rules of `pck_curve`."""
    return pck_curve(pred, truth, visible, norm, [threshold])[0]


def torso(truth: NDArray, visible: NDArray) -> NDArray:
    """Distance from right hip to left shoulder of each person in px, NaN where one of them is not labelled: (N,)."""
    hip, shoulder = LSP_TORSO
    length = np.linalg.norm(truth[:, hip].astype(np.float64) - truth[:, shoulder], axis=-1)
    return np.where(visible[:, hip] & visible[:, shoulder], length, np.nan)


def lsp_curve(pred: NDArray, truth: NDArray, visible: NDArray) -> tuple[NDArray, NDArray]:
    """Thresholds 0 to 0.2 of the torso in steps of 0.01, and the mean PCK of the 14 LSP joints at each: (T,), (T,).

    Arguments of `lsp_pck`. Raises InputError where no person has both ends of the torso labelled.
    """
    norm = torso(truth, visible)
    if not (norm > 0).any():
        raise InputError(f"none of {len(norm)} persons has right hip and left shoulder labelled: PCK needs the torso")
    joints = pck_curve(pred, truth, visible, norm, LSP_THRESHOLDS)
    return LSP_THRESHOLDS, np.array([mean(row) for row in joints])


def lsp_pck(pred: NDArray, truth: NDArray, visible: NDArray) -> dict[str, float]:
    """PCK@0.2 of the usual seven columns, their mean over the 14 joints, and the area under the curve, in percent.

    pred, truth (N, 14, 2) px in LSP's joint order, person-centric; visible (N, 14) bool, true for labelled joints
    whether occluded or not. AUC: trapezoid over `lsp_curve` divided by 0.2. These rules give every printed cell of the
    row of a method quoted in FPD's Table 3 from that method's predictions. Raises InputError as `lsp_curve`.
    """
    _, curve = lsp_curve(pred, truth, visible)
    joints = pck(pred, truth, visible, torso(truth, visible), 0.2)
    return {
        **{name: mean(joints[list(columns)]) for name, columns in LSP_COLUMNS.items()},
        "mean": mean(joints),
        "auc": area(curve),
    }


def mpii_pckh(
    pred: NDArray,
    truth: NDArray,
    visible: NDArray,
    head_boxes: NDArray,
    threshold: float = 0.5,
    pooled: bool = True,
) -> dict[str, float]:
    """`pckh` of people whose head boxes (N, 4) px are known: x1, y1, x2, y2; the head size is 0.6 of the diagonal."""
    boxes = np.asarray(head_boxes, dtype=np.float64)
    head_sizes = 0.6 * np.linalg.norm(boxes[:, 2:] - boxes[:, :2], axis=-1)
    return pckh(pred, truth, visible, head_sizes, threshold, pooled)


def pckh(
    pred: NDArray,
    truth: NDArray,
    visible: NDArray,
    head_sizes: NDArray,
    threshold: float = 0.5,
    pooled: bool = True,
) -> dict[str, float]:
    """PCKh of the usual seven columns, their mean without pelvis and thorax, and the area under the curve, in percent.

    pred, truth (N, 16, 2) px in MPII's joint order; visible (N, 16) bool, true for labelled joints; head_sizes (N,) px.
    `pooled` weights the joints of the mean by how often they are labelled (HRNet's evaluation); otherwise each joint
    counts the same (the older Torch evaluation). Threshold 0.1 means 0.10; the "PCKh@0.1" printed by HRNet's code, and
    by code built on it, is read off its curve at 0.11. AUC: trapezoid over `mpii_curve` divided by 0.5.
    """
    _, curve = mpii_curve(pred, truth, visible, head_sizes, pooled)
    joints = pck(pred, truth, visible, head_sizes, threshold)
    return {
        **{name: mean(joints[list(columns)]) for name, columns in MPII_COLUMNS.items()},
        "mean": mpii_mean(joints, visible, head_sizes, pooled),
        "auc": area(curve),
    }


def mpii_curve(
    pred: NDArray, truth: NDArray, visible: NDArray, head_sizes: NDArray, pooled: bool = True
) -> tuple[NDArray, NDArray]:
    """Thresholds 0 to 0.5 of the head size in steps of 0.01, and the mean PCKh at each: (T,), (T,); as `pckh`."""
    curve = pck_curve(pred, truth, visible, head_sizes, MPII_THRESHOLDS)
    return MPII_THRESHOLDS, np.array([mpii_mean(row, visible, head_sizes, pooled) for row in curve])


def mpii_mean(joints: NDArray, visible: NDArray, head_sizes: NDArray, pooled: bool) -> float:
    """Mean of the PCKh of all joints (16,) but pelvis and thorax; arguments of `pckh`."""
    counted = list(MPII_COUNTED)
    weights = (visible & (head_sizes > 0)[:, None]).sum(axis=0)[counted] if pooled else None
    return mean(joints[counted], weights)


def mean(values: NDArray, weights: NDArray | None = None) -> float:
    """Weighted average of the values that exist, NaN where none does."""
    exist = ~np.isnan(values)
    return (
        float(np.average(values[exist], weights=None if weights is None else weights[exist])) if exist.any() else np.nan
    )


def area(curve: NDArray) -> float:
    """Area under a curve at evenly spaced thresholds by the trapezoid rule, divided by their range."""
    return float((curve[:-1] + curve[1:]).mean() / 2)
