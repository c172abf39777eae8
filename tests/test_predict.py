"""Predictions: rows, order and the way back to the image."""

import numpy as np
import pytest
import torch
from torch import nn

from lib.data.batches import Batches
from lib.data.crops import Crops
from lib.data.warp import invert, transform
from lib.tasks import Task
from lib.training.predict import predict

INPUT, VIEW = (32, 24), (64, 48)


class Known(Task):
    """Answers with what it was told, batch by batch, in px of the view."""

    def __init__(self, points: np.ndarray, scores: np.ndarray):
        super().__init__()
        self.student, self.answers = nn.Identity(), (torch.from_numpy(points), torch.from_numpy(scores))

    def forward(self, batch):
        raise AssertionError("predicting trains nothing")

    def predict(self, images, flip_test=False):
        answer = tuple(values[: len(images)] for values in self.answers)
        self.answers = tuple(values[len(images) :] for values in self.answers)
        return answer


def make_crops(people: int = 7) -> Crops:
    rng = np.random.default_rng(0)
    to_image = np.zeros((people, 2, 3))
    to_image[:, 0, 0] = to_image[:, 1, 1] = rng.uniform(0.5, 8, people)
    to_image[:, :, 2] = rng.uniform(-40, 400, (people, 2))
    return Crops(
        images=rng.integers(0, 256, (people, *INPUT, 3), dtype=np.uint8),
        keypoints=np.zeros((people, 3, 2), np.float32),
        visible=np.zeros((people, 3), bool),
        to_image=to_image,
        ids=np.arange(people) + 2**40,
        image_ids=np.arange(people) // 2 + 2**41,
        box_scores=rng.random(people, np.float32),
        joints=("a", "b", "c"),
        flip_pairs=(),
        upper_body=(),
        input=INPUT,
    )


@pytest.mark.parametrize("rows", [None, [1, 2, 5], [6]])
def test_every_row_returns_with_its_own_values(rows):
    crops, rng = make_crops(), np.random.default_rng(1)
    chosen = np.arange(7) if rows is None else np.array(rows)
    truth = rng.uniform(-50, 900, (len(chosen), 3, 2))
    view = (transform(invert(crops.to_image[chosen]), truth) + 0.5) * 2 - 0.5
    scores = rng.random((len(chosen), 3), np.float32)
    loader = Batches(
        crops, {"student": VIEW}, 2, augmentation=None, seed=0, rows=None if rows is None else chosen, path="cv2"
    )
    found = predict(Known(view, scores), loader, flip_test=False)
    assert list(found) == ["ids", "image_ids", "keypoints", "scores", "box_scores", "areas"]
    assert found["ids"].tolist() == (chosen + 2**40).tolist()
    assert found["image_ids"].tolist() == (chosen // 2 + 2**41).tolist()
    assert np.abs(found["keypoints"] - truth).max() < 1e-3 and np.array_equal(found["scores"], scores)
    assert np.array_equal(found["box_scores"], crops.box_scores[chosen])
    # The area of the input's outline in the image: its corners are half a pixel outside the outermost centres.
    corners = transform(crops.to_image[chosen], np.array([[[-0.5, -0.5], [23.5, 31.5]]]))
    np.testing.assert_allclose(found["areas"], np.prod(corners[:, 1] - corners[:, 0], axis=1), rtol=1e-6)
    for name in ("keypoints", "scores", "box_scores", "areas"):
        assert found[name].dtype == np.float32
    assert found["ids"].dtype == found["image_ids"].dtype == np.int64
