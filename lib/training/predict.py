"""Predictions in the coordinates of the original images."""

import numpy as np

from lib.data.batches import Batches
from lib.tasks import Task


def predict(task: Task, batches: Batches, flip_test: bool) -> dict[str, np.ndarray]:
    """Predict every row of `batches` (no augmentation), in float32.

    Returns ids (N,) of the annotations, keypoints (N, K, 2) float32 in original image px and scores (N, K) float32. The
    task is left in evaluation mode.
    """
    task.eval()
    rows, keypoints, scores = [], [], []
    for batch in batches.epoch(0):
        points, score = task.predict(batch.images["student"], flip_test)
        rows.append(batch.rows)
        keypoints.append(batches.to_image(points, batch.rows))
        scores.append(score.cpu().numpy())
    return {
        "ids": batches.crops.ids[np.concatenate(rows)],
        "keypoints": np.concatenate(keypoints).astype(np.float32),
        "scores": np.concatenate(scores).astype(np.float32),
    }
