"""Errors of hand joints in space: mean distance (EPE), share of joints within a distance (3D PCK), area under it."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lib.hands.joints import ROOT
from lib.metrics.pck import area

THRESHOLDS = np.arange(51.0)  # mm


def joint_errors(pred: NDArray, truth: NDArray) -> NDArray:
    """Distances (N, 21) of predicted joints from the true ones, after both wrists are moved to the origin.

    pred, truth (N, 21, 3), of one unit. The wrist counts as a joint, with distance 0: CMKG Sect. 5.2 averages over all
    21, and takes the wrist's place as known.
    """
    found, true = (xyz.astype(np.float64) - xyz[:, [ROOT]] for xyz in (pred, truth))
    return np.linalg.norm(found - true, axis=-1)


def epe(pred: NDArray, truth: NDArray) -> float:
    """The mean of `joint_errors` over joints and hands, in the unit of the joints (CMKG Sect. 5.2)."""
    return float(joint_errors(pred, truth).mean())


def pck_curve(pred: NDArray, truth: NDArray, thresholds: ArrayLike = THRESHOLDS) -> NDArray:
    """Percentage (T,) of joints whose error is at most each threshold; arguments of `joint_errors`."""
    errors = joint_errors(pred, truth)
    return np.array([100 * (errors <= threshold).mean() for threshold in thresholds])


def pck_auc(pred: NDArray, truth: NDArray, low: int, high: int) -> float:
    """Area under the 3D PCK from low to high mm, in [0, 1]: trapezoids of 1 mm, divided by the range.

    pred, truth (N, 21, 3) mm. Range and step are not the paper's, which states neither.
    """
    return area(pck_curve(pred, truth, np.arange(low, high + 1))) / 100
