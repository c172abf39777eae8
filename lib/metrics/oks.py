"""Object keypoint similarity (OKS): COCO's average precision, and what two-stage methods do to people before it."""

import io
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import InputError

# COCO's spread of the human annotations per joint, relative to the root of the person's area.
SIGMAS = np.array([26, 25, 25, 35, 35, 79, 79, 72, 72, 62, 62, 107, 107, 87, 87, 89, 89]) / 1000
VARIANCES = (2 * SIGMAS) ** 2
SUMMARY = ("ap", "ap50", "ap75", "ap_m", "ap_l", "ar", "ar50", "ar75", "ar_m", "ar_l")  # COCOeval's order
PERSON = 1


def coco_ap(annotations: Path | str, results: Path | str) -> dict[str, float]:
    """COCO's ten keypoint metrics of a results file, `average_precision` of the two JSON files."""
    return average_precision(
        json.loads(Path(annotations).read_text(encoding="utf-8")), json.loads(Path(results).read_text(encoding="utf-8"))
    )


def average_precision(
    annotations: Mapping[str, Any], results: Sequence[Mapping[str, Any]], images: Iterable[int] | None = None
) -> dict[str, float]:
    """COCO's ten keypoint metrics by pycocotools, as fractions; -1 where no labelled person has the range's area.

    annotations: COCO-keypoints JSON. results: records with image_id, category_id, keypoints (x, y, any) * 17 and score;
    may be empty. images: ids of the images to evaluate, None for all. ap, ar: means over OKS 0.50 to 0.95; 50, 75: at
    that OKS; m, l: persons of 32^2 to 96^2 px^2, and above. At most 20 results of an image count. Raises InputError for
    images that the annotations lack, annotation ids below 1, and records whose numbers are not 51 or not finite.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known = {image["id"] for image in annotations["images"]}
    images = sorted(known if images is None else images)
    unknown = sorted({*images, *(record["image_id"] for record in results)} - known)
    if unknown:
        raise InputError(f"results are of {len(unknown)} images that the annotations lack, first {unknown[0]}")
    # COCOeval marks "not matched" by id 0, and takes a similarity that is NaN for a match.
    if any(person["id"] < 1 for person in annotations["annotations"]):
        raise InputError("annotations hold a person with id below 1, expected ids from 1: convert the data set again")
    for row, record in enumerate(results):
        if len(record.get("keypoints", ())) != 3 * len(SIGMAS):
            raise InputError(f"result {row} lacks keypoints: expected (x, y, score) * {len(SIGMAS)}")
        if not np.isfinite([*record["keypoints"], record["score"]]).all():
            raise InputError(f"result {row}, of image {record['image_id']}, has a keypoint or score that is not finite")

    with redirect_stdout(io.StringIO()):
        truth = COCO()
        # pycocotools writes into the records it gets.
        truth.dataset = {**annotations, "annotations": [dict(person) for person in annotations["annotations"]]}
        truth.createIndex()
        found = truth.loadRes([dict(record) for record in results]) if results else COCO()
        evaluation = COCOeval(truth, found, "keypoints")
        evaluation.params.imgIds = images
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return dict(zip(SUMMARY, map(float, evaluation.stats), strict=True))


def coco_results(predictions: Mapping[str, NDArray]) -> list[dict[str, Any]]:
    """Rescored predictions without near-duplicates as COCO results, sorted by image and falling score.

    predictions: ids, image_ids, box_scores, areas (N,), keypoints (N, 17, 2) px and scores (N, 17). Of equal scores the
    lower id comes first, so that the order of the predictions never matters.
    """
    rescored = rescore(predictions["box_scores"], predictions["scores"])
    order = np.lexsort((predictions["ids"], predictions["image_ids"]))
    _, starts = np.unique(predictions["image_ids"][order], return_index=True)
    kept = [
        rows[oks_nms(predictions["keypoints"][rows], predictions["areas"][rows], rescored[rows])]
        for rows in np.split(order, starts[1:])
    ]
    rows = np.concatenate(kept)
    keypoints = np.concatenate([predictions["keypoints"], predictions["scores"][..., None]], axis=-1)[rows]
    columns = predictions["image_ids"][rows], keypoints.reshape(len(rows), 3 * len(SIGMAS)), rescored[rows]
    return [
        {"image_id": image, "category_id": PERSON, "keypoints": points, "score": score}
        for image, points, score in zip(*(column.tolist() for column in columns), strict=True)
    ]


def rescore(box_scores: NDArray, scores: NDArray, threshold: float = 0.2) -> NDArray:
    """Box scores (N,) times the mean of those keypoint scores (N, K) that exceed the threshold; 0 where none does.

    Source: the released evaluation of Simple Baselines (ECCV'18) and HRNet (CVPR'19).
    """
    valid = scores > threshold
    total = np.sum(scores, axis=1, where=valid, dtype=np.float64)
    return box_scores * total / np.maximum(valid.sum(axis=1), 1)


def oks_nms(keypoints: NDArray, areas: NDArray, scores: NDArray, threshold: float = 0.9) -> NDArray:
    """Rows of one image's people to keep: by falling score, each who is not too similar to a kept one before; stable.

    keypoints (N, K, 2) px, areas (N,) px^2 of the padded person boxes, scores (N,). Too similar: `oks` at the mean of
    both areas above the threshold. Source: as `rescore`.
    """
    order = np.argsort(-scores, kind="stable")
    keypoints, areas = keypoints[order].astype(np.float64), areas[order].astype(np.float64)
    similar = oks(keypoints[:, None], keypoints, (areas[:, None] + areas) / 2) > threshold
    kept = np.ones(len(order), bool)
    for row in range(len(order)):
        if kept[row]:
            kept[row + 1 :] &= ~similar[row, row + 1 :]
    return order[kept]


def oks(first: NDArray, second: NDArray, area: NDArray, visible: NDArray | bool = True) -> NDArray:
    """Object keypoint similarity: mean of exp(-d^2 / (2 area (2 sigma)^2)) over the visible joints, in 0 to 1.

    first, second (..., 17, 2) px, area (...) px^2 and visible (..., 17) broadcast against each other; so does the
    result (...).
    """
    squared = ((first - second) ** 2).sum(axis=-1)
    return np.exp(-squared / (2 * VARIANCES * (area[..., None] + np.spacing(1)))).mean(axis=-1, where=visible)
