"""Whom a training learns from, and whom it is judged by: the benchmark's test persons, or ones that are set aside."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.data.crops import ANNOTATIONS, WIDE, Crops, open_crops


@dataclass(frozen=True)
class Persons:
    """Persons or hands: crops to train on, and of them the rows; crops to validate on, and what scores them.

    annotations: COCO keypoints of all images to validate on.
    """

    train: Crops
    rows: NDArray[np.int64]
    validation: Crops
    annotations: dict[str, Any]


def open_persons(folder: Path, validation: str, wide: bool = False) -> Persons:
    """Open crops that `pack` wrote, to be judged by "test", its validation persons, or by "heldout" training persons.

    Held-out persons are those of whole images that `pack` has set aside, in their annotated boxes. wide: the validation
    persons with what is around their boxes; held-out ones have the margin of the training.
    """
    train = open_crops(folder, "train")
    annotations = json.loads((folder / ANNOTATIONS[validation]).read_text(encoding="utf-8"))
    if validation == "test":
        return Persons(train, np.arange(len(train.ids)), open_crops(folder, WIDE if wide else "val"), annotations)
    aside = np.isin(train.image_ids, [image["id"] for image in annotations["images"]])
    return Persons(train, np.flatnonzero(~aside), train, annotations)


def split_of(spec: dict[str, Any]) -> str:
    """The split, "val" or "train", of a benchmark whose persons a run's spec is judged by."""
    return {"test": "val", "heldout": "train"}[spec["validation"]]
