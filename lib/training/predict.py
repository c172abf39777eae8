"""Predictions in the coordinates of the original images."""

import numpy as np

from lib.data.batches import Batches
from lib.tasks import Task


def predict(task: Task, batches: Batches, flip_test: bool) -> dict[str, np.ndarray]:
    """Predict every row of `batches` (no augmentation), in float32.

    Returns ids (N,) of the annotations or detections, image_ids (N,), keypoints (N, K, 2) float32 in original image px,
    scores (N, K) float32 relative to the target's maximum, box_scores (N,) float32 and areas (N,) float32, those of the
    padded person boxes in original image px^2. The task is left in evaluation mode.
    """
    task.eval()
    rows, keypoints, scores = [], [], []
    for batch in batches.epoch(0):
        points, score = task.predict(batch.images["student"], flip_test)
        rows.append(batch.rows)
        keypoints.append(batches.to_image(points, batch.rows))
        scores.append(score.cpu().numpy())
    crops, rows = batches.crops, np.concatenate(rows)
    step = crops.to_image[rows, 0, 0]  # original px per crop px
    return {
        "ids": crops.ids[rows],
        "image_ids": crops.image_ids[rows],
        "keypoints": np.concatenate(keypoints).astype(np.float32),
        "scores": np.concatenate(scores).astype(np.float32),
        "box_scores": crops.box_scores[rows],
        "areas": (crops.input[0] * step * crops.input[1] * step).astype(np.float32),
    }
