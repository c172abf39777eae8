"""The baseline that sees no image: everybody in the average pose."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import InputError
from lib.hands.joints import normalised, restored
from lib.metrics.scores import people


def mean_pose(train: Mapping[str, Any], test: Mapping[str, Any], ids: NDArray) -> dict[str, NDArray]:
    """Predict for each test person the training persons' mean place of every joint, relative to the person box.

    train, test: COCO-keypoints JSON; ids (N,) of test annotations. A place is an offset from the box's centre in units
    of its longer side, averaged over the persons with that joint labelled.

    Returns ids and keypoints (N, K, 2) in image px. Raises InputError for a joint that no training person has labelled,
    and for ids that are unknown or occur twice.
    """
    joints = train["categories"][0]["keypoints"]
    persons = [person for person in train["annotations"] if any(person["keypoints"][2::3])]
    labels = np.array([person["keypoints"] for person in persons], np.float64).reshape(-1, len(joints), 3)
    labelled = labels[..., 2] > 0
    never = [name for name, count in zip(joints, labelled.sum(axis=0), strict=True) if count == 0]
    if never:
        count, names = len(train["annotations"]), ", ".join(never)
        raise InputError(
            f"no mean pose: none of {count} training persons has a label of {names}; expected one at least"
        )
    centres, sides = boxes(persons)
    places = (labels[..., :2] - centres[:, None]) / sides[:, None, None]
    pose = np.average(places, axis=0, weights=np.repeat(labelled[..., None], 2, axis=2))
    centres, sides = boxes(people(test, ids))
    return {"ids": ids, "keypoints": centres[:, None] + pose * sides[:, None, None]}


def mean_hand(train: Mapping[str, Any], test: Mapping[str, Any], ids: NDArray) -> dict[str, NDArray]:
    """Predict for each test hand the mean training pose of a hand of its side, at its true root and scale.

    train, test: COCO-keypoints JSON with joints in mm; ids (N,) of test annotations. Left hands are mirrored for the
    mean, and of several cameras or versions only those of the test hands count.

    Returns ids and keypoints (N, 21, 3) in mm. Raises InputError where no training hand is of
    these, and for ids that are unknown or occur twice.
    """
    hands = people(test, ids)
    shown = {image["id"]: image.get("subset") for image in test["images"]}
    wanted = {shown[hand["image_id"]] for hand in hands}
    images = {image["id"] for image in train["images"] if image.get("subset") in wanted}
    known = [hand for hand in train["annotations"] if hand["image_id"] in images]
    if not known:
        raise InputError(f"no mean pose: none of {len(train['annotations'])} training hands is of the evaluated kind")
    poses, _, _ = normalised(joints(known))
    _, root, scale = normalised(joints(hands))
    mean = (poses * sides(known)).mean(axis=0)
    return {"ids": ids, "keypoints": restored(mean * sides(hands), root, scale)}


def joints(hands: Sequence[Mapping[str, Any]]) -> NDArray:
    """The hands' joints (N, 21, 3) in mm."""
    return np.array([hand["xyz"] for hand in hands], np.float64).reshape(len(hands), -1, 3)


def sides(hands: Sequence[Mapping[str, Any]]) -> NDArray:
    """What makes right hands of left ones and back: (N, 1, 3), -1 along x of a left hand, else 1."""
    return np.array([[[-1 if hand["side"] == "left" else 1, 1, 1]] for hand in hands])


def boxes(persons: Sequence[Mapping[str, Any]]) -> tuple[NDArray, NDArray]:
    """Centres (N, 2) and longer sides (N,) of the persons' boxes in px."""
    box = np.array([person["bbox"] for person in persons], np.float64).reshape(-1, 4)
    return box[:, :2] + (box[:, 2:] - 1) / 2, box[:, 2:].max(axis=1)
