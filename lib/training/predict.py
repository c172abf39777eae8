"""Predictions in the coordinates of the original images, or of their cameras."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from torch import Tensor

from lib.data.batches import Batches
from lib.hands.joints import restored
from lib.tasks import Task


def predict(task: Task, batches: Batches, flip_test: bool) -> dict[str, np.ndarray]:
    """Predict every row of `batches` (no augmentation), in float32.

    Returns ids (N,) of the annotations or detections, image_ids (N,), keypoints (N, K, 2) float32 in original image px,
    scores (N, K) float32 relative to the target's maximum, box_scores (N,) float32 and areas (N,) float32, those of the
    padded person boxes in original image px^2. Of hands it returns ids, image_ids and keypoints (N, K, 3) float32, mm
    in the camera of the original image, where the true root and scale place them (CMKG Sect. 5.2). The task is left in
    evaluation mode.
    """
    task.eval()
    answers = ((batch.rows, task.predict(batch.images["student"], flip_test)) for batch in batches.epoch(0))
    return in_images(batches, answers)


def search(task: Task, zoomed: Sequence[Batches], flip_test: bool) -> dict[str, np.ndarray]:
    """The same of a task of heatmaps, averaged over sizes of the people; zoomed: batches of each, of the same rows."""
    task.eval()
    zooms = [one.zoom for one in zoomed]

    def answers() -> Iterator[tuple[np.ndarray, tuple[Tensor, Tensor]]]:
        for same in zip(*(one.epoch(0) for one in zoomed), strict=True):
            views = [batch.images["student"] for batch in same]
            yield same[0].rows, task.search(dict(zip(zooms, views, strict=True)), flip_test)

    return in_images(zoomed[0], answers())


def in_images(
    batches: Batches, answers: Iterable[tuple[np.ndarray, tuple[Tensor, Tensor | None]]]
) -> dict[str, np.ndarray]:
    """Rows and what a task tells of them, batch by batch, as `predict` returns it."""
    rows, keypoints, scores, hands = [], [], [], batches.crops.pose is not None
    for part, (points, score) in answers:
        rows.append(part)
        keypoints.append(points.cpu().numpy() if hands else batches.to_image(points, part))
        scores.append(None if hands else score.cpu().numpy())
    crops, rows = batches.crops, np.concatenate(rows)
    common = {"ids": crops.ids[rows], "image_ids": crops.image_ids[rows]}
    if hands:
        pose = np.concatenate(keypoints).astype(np.float64)
        pose[crops.to_image[rows, 0, 0] < 0, :, 0] *= -1  # left hands were shown as right ones
        return common | {"keypoints": restored(pose, crops.root[rows], crops.scale[rows]).astype(np.float32)}
    step = crops.to_image[rows, 0, 0]  # original px per crop px
    return {
        **common,
        "keypoints": np.concatenate(keypoints).astype(np.float32),
        "scores": np.concatenate(scores).astype(np.float32),
        "box_scores": crops.box_scores[rows],
        "areas": (crops.input[0] * step * crops.input[1] * step).astype(np.float32),
    }
