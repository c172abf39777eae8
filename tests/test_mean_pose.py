"""The image-blind baseline on poses whose mean is known."""

import numpy as np

from lib.metrics.mean_pose import mean_pose


def person(number: int, keypoints: list[list[float]], bbox: list[float]) -> dict:
    return {"id": number, "keypoints": np.ravel(keypoints).tolist(), "bbox": bbox}


def test_mean_of_the_labelled_places_in_units_of_the_box():
    # Boxes of 11 x 21 px at the origin: centre (5, 10), longer side 21.
    train = {
        "annotations": [
            person(1, [[5, 10, 2], [5, 0, 2]], [0, 0, 11, 21]),
            person(2, [[9, 10, 1], [0, 0, 0]], [0, 0, 11, 21]),  # second joint without a label
        ]
    }
    test = {
        "annotations": [person(7, [[0, 0, 2], [0, 0, 2]], [100, 200, 41, 42]), person(8, [[0, 0, 2]] * 2, [0, 0, 1, 1])]
    }
    predicted = mean_pose(train, test, np.array([7]))  # centre (120, 220.5), side 42
    np.testing.assert_array_equal(predicted["ids"], [7])
    np.testing.assert_allclose(predicted["keypoints"], [[[124, 220.5], [120, 200.5]]])
