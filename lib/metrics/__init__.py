"""Metrics: annotations and predictions in, plain numbers out; the benchmark's own rule is chosen here."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import InputError
from lib.metrics.pck import lsp_curve, lsp_pck, mean


def score(annotations: Mapping[str, Any], predictions: Mapping[str, NDArray]) -> dict[str, float]:
    """The benchmark's metrics of the predicted persons, in percent; those without any labelled joint are left out.

    annotations: COCO-keypoints JSON whose info.dataset names the benchmark. predictions: `ids` (N,), `keypoints`
    (N, K, 2) in original image px, in any order; the persons of `ids` are scored, and no others. LSP: `lsp_pck`.
    Raises InputError for a benchmark without a rule, for ids that are unknown or occur twice, and for a wrong shape.
    """
    require_rule(annotations)
    scores = lsp_pck(*matched(annotations, predictions))
    return {name: value for name, value in scores.items() if np.isfinite(value)}


def curve(annotations: Mapping[str, Any], predictions: Mapping[str, NDArray]) -> tuple[NDArray, NDArray]:
    """Thresholds (T,) and the mean PCK over the joints at each (T,), in percent; arguments and errors of `score`."""
    require_rule(annotations)
    thresholds, joints = lsp_curve(*matched(annotations, predictions))
    return thresholds, np.array([mean(row) for row in joints])


def require_rule(annotations: Mapping[str, Any]) -> None:
    """Refuse a benchmark that has no metric here."""
    dataset = annotations["info"]["dataset"]
    if dataset != "lsp":
        raise InputError(f"no metric for dataset {dataset!r} in annotations' info.dataset; known: lsp")


def matched(annotations: Mapping[str, Any], predictions: Mapping[str, NDArray]) -> tuple[NDArray, NDArray, NDArray]:
    """Predictions (N, K, 2), true keypoints (N, K, 2) and labels' existence (N, K), in the predictions' order."""
    persons = {person["id"]: person["keypoints"] for person in annotations["annotations"]}
    ids = predictions["ids"].tolist()
    unknown = [number for number in ids if number not in persons]
    if unknown:
        raise InputError(
            f"predictions hold {len(unknown)} annotation ids that the annotations lack, first {unknown[0]}"
        )
    if len(set(ids)) < len(ids):
        raise InputError(
            f"predictions hold {len(ids) - len(set(ids))} annotation ids twice: expected one row per person"
        )
    joints = len(annotations["categories"][0]["keypoints"])
    if predictions["keypoints"].shape != (len(ids), joints, 2):
        shape = predictions["keypoints"].shape
        raise InputError(f"predictions' keypoints have shape {shape}, expected {(len(ids), joints, 2)}")
    truth = np.array([persons[number] for number in ids], dtype=np.float64).reshape(len(ids), joints, 3)
    return predictions["keypoints"], truth[..., :2], truth[..., 2] > 0
