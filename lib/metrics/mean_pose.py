"""The baseline that sees no image: everybody in the average pose."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def mean_pose(train: Mapping[str, Any], test: Mapping[str, Any], ids: NDArray) -> dict[str, NDArray]:
    """Predict for each test person the training persons' mean place of every joint, relative to the person box.

    train, test: COCO-keypoints JSON; ids (N,) of test annotations. A place is an offset from the box's centre in units
    of its longer side, averaged over the persons with that joint labelled.

    Returns ids and keypoints (N, K, 2) in image px.
    """
    labels = np.array([person["keypoints"] for person in train["annotations"]], np.float64)
    labels = labels.reshape(len(labels), -1, 3)
    centres, sides = boxes(train["annotations"])
    places = (labels[..., :2] - centres[:, None]) / sides[:, None, None]
    pose = np.average(places, axis=0, weights=np.repeat(labels[..., 2:] > 0, 2, axis=2))
    persons = {person["id"]: person for person in test["annotations"]}
    centres, sides = boxes([persons[number] for number in ids.tolist()])
    return {"ids": ids, "keypoints": centres[:, None] + pose * sides[:, None, None]}


def boxes(persons: list[Mapping[str, Any]]) -> tuple[NDArray, NDArray]:
    """Centres (N, 2) and longer sides (N,) of the persons' boxes in px."""
    box = np.array([person["bbox"] for person in persons], np.float64)
    return box[:, :2] + (box[:, 2:] - 1) / 2, box[:, 2:].max(axis=1)
