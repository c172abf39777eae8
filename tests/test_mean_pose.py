"""The image-blind baseline on poses whose mean is known."""

import numpy as np
import pytest

from lib.errors import InputError
from lib.metrics.mean_pose import mean_pose


def person(number: int, keypoints: list[list[float]], bbox: list[float], iscrowd: int = 0) -> dict:
    return {"id": number, "keypoints": np.ravel(keypoints).tolist(), "bbox": bbox, "iscrowd": iscrowd}


def document(*persons: dict) -> dict:
    return {"annotations": list(persons), "categories": [{"id": 1, "keypoints": ["head", "foot"]}]}


NOBODY = [[0, 0, 0]] * 2
# Boxes of 11 x 21 px at the origin: centre (5, 10), longer side 21.
TRAIN = (
    person(1, [[5, 10, 2], [5, 0, 2]], [0, 0, 11, 21]),
    person(2, [[9, 10, 1], [0, 0, 0]], [0, 0, 11, 21]),  # second joint without a label
)
TEST = document(person(7, [[0, 0, 2]] * 2, [100, 200, 41, 42]), person(8, NOBODY, [0, 0, 1, 1]))


def test_mean_of_the_labelled_places_in_units_of_the_box():
    predicted = mean_pose(document(*TRAIN), TEST, np.array([7]))  # centre (120, 220.5), side 42
    np.testing.assert_array_equal(predicted["ids"], [7])
    np.testing.assert_allclose(predicted["keypoints"], [[[124, 220.5], [120, 200.5]]])


def test_people_without_labels_add_nothing():
    crowd = person(3, NOBODY, [0, 0, 600, 400], iscrowd=1)
    point = person(4, NOBODY, [3, 3, 0, 0])
    expected = mean_pose(document(*TRAIN), TEST, np.array([8, 7]))["keypoints"]
    predicted = mean_pose(document(crowd, *TRAIN, point), TEST, np.array([8, 7]))
    np.testing.assert_array_equal(predicted["ids"], [8, 7])
    np.testing.assert_array_equal(predicted["keypoints"], expected)


def test_nobody_to_predict():
    assert mean_pose(document(*TRAIN), TEST, np.array([], np.int64))["keypoints"].shape == (0, 2, 2)


@pytest.mark.parametrize(
    ("persons", "ids", "message"),
    [
        ((TRAIN[1],), [7], "none of 1 training persons has a label of foot"),
        ((), [7], "none of 0 training persons has a label of head, foot"),
        (TRAIN, [7, 9], "annotation ids that the annotations lack, first 9"),
    ],
)
def test_refusals(persons, ids, message):
    with pytest.raises(InputError, match=message):
        mean_pose(document(*persons), TEST, np.array(ids))
