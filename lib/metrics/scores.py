"""Metrics: annotations and predictions in, plain numbers out; the benchmark's own rule is chosen here."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import InputError
from lib.metrics import hand3d
from lib.metrics.oks import SIGMAS, average_precision, coco_results
from lib.metrics.pck import lsp_curve, lsp_pck, mpii_curve, pckh

HANDS = ("rhd", "stb", "freihand")  # benchmarks of hands in space; the others are of people in images
# The one number of a benchmark, and the one that stands beside it.
HEADLINE = {"lsp": "mean", "mpii": "mean", "coco": "ap"} | dict.fromkeys(HANDS, "epe")
SECOND = {"lsp": "auc", "mpii": "auc", "coco": "ar"} | dict.fromkeys(HANDS, "auc_20_50")


# An output further from the labels than so many times an empty one is of another size than any label: even all joints
# at full height in wrong places are no more than twice as far.
EXPLODING = 3


@dataclass(frozen=True)
class Unit:
    """How numbers are shown: the symbol, what their differences are in, and how many decimals they have at least."""

    symbol: str
    difference: str
    decimals: int
    lower_is_better: bool = False


PERCENT = Unit("%", "points of ", 1)
RATIO = Unit("", "", 3)
UNITS = {"epe": Unit("mm", "mm of ", 2, lower_is_better=True), "auc_20_50": RATIO, "auc_0_50": RATIO}
TITLES = {f"auc_{low}_50": f"AUC, {low}–50 mm in steps of 1 mm" for low in (20, 0)}
TITLES["exploding"] = f"more than {EXPLODING} times as far from the labels as an empty output"


def unit_of(metric: str) -> Unit:
    """The unit of a metric that `score` returns: percent, but of errors in space."""
    return UNITS.get(metric, PERCENT)


def title_of(metric: str) -> str:
    """What a metric that `score` returns is called where there is room: an area with its range and step."""
    return TITLES.get(metric, metric.upper())


def score(annotations: Mapping[str, Any], predictions: Mapping[str, NDArray]) -> dict[str, float]:
    """The benchmark's metrics of the predicted persons or hands; those without anybody to measure are left out.

    annotations: COCO-keypoints JSON whose info.dataset names the benchmark. predictions, in any order:
    lsp, mpii: `ids` (N,) of annotations and `keypoints` (N, K, 2) in original image px; exactly these persons count.
    LSP: `lsp_pck`. MPII: `pckh`, and its mean at threshold 0.1 (mean_01) and with joints averaged (mean_averaged).
    coco: besides these `image_ids`, `box_scores`, `areas` (N,), `scores` (N, K) and `images` (M,), the evaluated ones;
    ids may be those of detections. `average_precision` of `coco_results`.
    rhd, stb, freihand: `ids` and `keypoints` (N, 21, 3) in mm; exactly these hands count. `epe` in mm, and `pck_auc`
    from 20 and from 0 to 50 mm (auc_20_50, auc_0_50), in [0, 1]. All else is in percent.
    all: with `errors` and `empty_errors` (M,) of labelled persons' outputs and of empty ones, see
    lib/training/agreement.py, `exploding`: the share of persons with outputs of another size than any label's.

    Raises InputError for a benchmark without a rule, for ids that are unknown or occur twice, for an array that is
    missing or of a wrong shape, and where nobody has a labelled joint.
    """
    dataset, strays = known_dataset(annotations), {}
    if len(predictions.get("errors", ())):
        strays["exploding"] = float(100 * (predictions["errors"] > EXPLODING * predictions["empty_errors"]).mean())
    if dataset in HANDS:
        hands = matched_hands(annotations, predictions)
        areas = {f"auc_{low}_50": hand3d.pck_auc(*hands, low, 50) for low in (20, 0)}
        return {"epe": hand3d.epe(*hands), **areas, **strays}
    if dataset == "lsp":
        scores = lsp_pck(*matched(annotations, predictions))
    elif dataset == "mpii":
        persons = *matched(annotations, predictions), head_sizes(annotations, predictions["ids"])
        scores = pckh(*persons)
        scores["mean_01"] = pckh(*persons, threshold=0.1)["mean"]
        scores["mean_averaged"] = pckh(*persons, pooled=False)["mean"]
    else:
        require_coco(predictions)
        fractions = average_precision(annotations, coco_results(predictions), predictions["images"].tolist())
        scores = {name: 100 * value if value >= 0 else np.nan for name, value in fractions.items()}
    if not np.isfinite(scores[HEADLINE[dataset]]):
        raise InputError(f"no person with labelled joints among those that predictions cover: {dataset} needs one")
    return {name: value for name, value in scores.items() if np.isfinite(value)} | strays


def curve(annotations: Mapping[str, Any], predictions: Mapping[str, NDArray]) -> tuple[NDArray, NDArray]:
    """Thresholds (T,) in torsos (LSP), head sizes (MPII) or mm (hands), and the mean PCK in percent at each (T,).

    Arguments and errors of `score`; raises InputError for COCO, too, which is not measured by PCK.
    """
    dataset = known_dataset(annotations)
    if dataset == "coco":
        raise InputError("no PCK curve for dataset 'coco': its metric is AP; ask for a curve of lsp or mpii")
    if dataset in HANDS:
        return hand3d.THRESHOLDS, hand3d.pck_curve(*matched_hands(annotations, predictions))
    persons = matched(annotations, predictions)
    if dataset == "lsp":
        return lsp_curve(*persons)
    return mpii_curve(*persons, head_sizes(annotations, predictions["ids"]))


def known_dataset(annotations: Mapping[str, Any]) -> str:
    """The benchmark's name. Raises InputError for one that has no metric here."""
    dataset = annotations["info"]["dataset"]
    if dataset not in HEADLINE:
        known = ", ".join(HEADLINE)
        raise InputError(f"no metric for dataset {dataset!r} in annotations' info.dataset; known: {known}")
    return dataset


def matched(annotations: Mapping[str, Any], predictions: Mapping[str, NDArray]) -> tuple[NDArray, NDArray, NDArray]:
    """Predictions (N, K, 2), true keypoints (N, K, 2) and labels' existence (N, K), in the predictions' order."""
    persons = people(annotations, predictions["ids"])
    joints = len(annotations["categories"][0]["keypoints"])
    require_shapes(predictions, {"keypoints": (len(persons), joints, 2)})
    truth = np.array([person["keypoints"] for person in persons], np.float64).reshape(len(persons), joints, 3)
    return predictions["keypoints"], truth[..., :2], truth[..., 2] > 0


def matched_hands(annotations: Mapping[str, Any], predictions: Mapping[str, NDArray]) -> tuple[NDArray, NDArray]:
    """Predicted and true joints of hands, (N, 21, 3) mm each, in the predictions' order."""
    hands = people(annotations, predictions["ids"])
    if not hands:
        raise InputError("predictions hold no hand: predict one at least")
    truth = np.array([hand["xyz"] for hand in hands], np.float64)
    require_shapes(predictions, {"keypoints": truth.shape})
    return predictions["keypoints"], truth


def evaluated(annotations: Mapping[str, Any], images: NDArray) -> list[Mapping[str, Any]]:
    """The persons of these images (ids, (M,)) that a prediction is compared with: those with a labelled joint."""
    chosen = set(images.tolist())
    return [person for person in annotations["annotations"] if person["image_id"] in chosen and person["num_keypoints"]]


def head_sizes(annotations: Mapping[str, Any], ids: NDArray) -> NDArray:
    """Head sizes (N,) in px of MPII's annotations `ids`. Raises InputError where one is missing."""
    persons = people(annotations, ids)
    missing = [person["id"] for person in persons if not person.get("head_size", 0) > 0]
    if missing:
        raise InputError(
            f"annotations hold no head_size for {len(missing)} of {len(persons)} predicted persons, first id "
            f"{missing[0]}: PCKh needs it, convert mpii from a source with head boxes"
        )
    return np.array([person["head_size"] for person in persons], np.float64)


def people(annotations: Mapping[str, Any], ids: NDArray) -> list[Mapping[str, Any]]:
    """Annotations by id, in the order of `ids`. Raises InputError for ids that are unknown or occur twice."""
    persons = {person["id"]: person for person in annotations["annotations"]}
    require_unique(ids)
    unknown = [number for number in ids.tolist() if number not in persons]
    if unknown:
        raise InputError(
            f"predictions hold {len(unknown)} annotation ids that the annotations lack, first {unknown[0]}"
        )
    return [persons[number] for number in ids.tolist()]


def require_coco(predictions: Mapping[str, NDArray]) -> None:
    """Refuse predictions that lack what COCO's evaluation takes."""
    count, joints = len(predictions["ids"]), len(SIGMAS)
    require_unique(predictions["ids"])
    shapes = {"keypoints": (count, joints, 2), "scores": (count, joints)}
    require_shapes(predictions, shapes | dict.fromkeys(("image_ids", "box_scores", "areas"), (count,)))
    if "images" not in predictions:
        raise InputError("predictions lack images, the ids of the evaluated ones: predict again")


def require_unique(ids: NDArray) -> None:
    """Refuse persons that were predicted twice."""
    count = len(ids) - len(np.unique(ids))
    if count:
        raise InputError(f"predictions hold {count} annotation ids twice: expected one row per person")


def require_shapes(predictions: Mapping[str, NDArray], shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse predictions with an array missing or of another shape."""
    for name, shape in shapes.items():
        if name not in predictions:
            raise InputError(f"predictions lack {name}, expected shape {shape}: predict again")
        if predictions[name].shape != shape:
            raise InputError(f"predictions' {name} have shape {predictions[name].shape}, expected {shape}")
