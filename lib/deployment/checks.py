"""What an exported student is compared on, and how: on validation crops where there are some, else on drawn ones."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lib.data.batches import evenly_spaced
from lib.data.boxes import box_of
from lib.data.crops import ARRAYS, HANDS, Crops, open_crops
from lib.data.persons import open_persons
from lib.deployment.photos import people
from lib.deployment.students import Student
from lib.metrics.scores import score
from lib.training.predict import predict

CROPS = Path("data/crops")
HAND = (256, 256)  # px of a drawn hand's picture


def samples(student: Student, count: int) -> tuple[str, Crops]:
    """So many crops as the student takes them, and in words what they are."""
    folder = CROPS / student.label.crops
    if (folder / "val").is_dir():
        crops = open_crops(folder, "val")
        if (crops.joints, crops.input) == (student.label.joints, student.label.crop):
            rows = evenly_spaced(count, len(crops.ids))
            return f"{len(rows)} validation crops", chosen(crops, rows)
    drawn = drawn_hands(count) if student.label.output == "pose" else drawn_people(count)
    parts = [student.crops(image, people(number, [box])) for number, (image, box) in enumerate(drawn)]
    return f"{count} drawn {'hands' if student.label.output == 'pose' else 'people'}", joined(parts)


def joined(parts: list[Crops]) -> Crops:
    """Crops one after the other."""
    there = [name for name in (*ARRAYS, *HANDS, "images") if getattr(parts[0], name) is not None]
    return replace(parts[0], **{name: np.concatenate([getattr(part, name) for part in parts]) for name in there})


def drawn_people(count: int) -> Iterator[tuple[NDArray, list[float]]]:
    """Images (H, W, 3) uint8 of one drawn person each, and the boxes of their joints."""
    from lib.data.people import picture

    for number in range(count):
        one = picture(np.random.default_rng((2, number)))
        yield one.image, around(one.points[:14])


def drawn_hands(count: int) -> Iterator[tuple[NDArray, list[float]]]:
    """Images (H, W, 3) uint8 of one drawn right hand each, and the boxes of their joints."""
    from lib.data.formats.hands_synthetic import model
    from lib.data.scenes import background
    from lib.hands.joints import projected
    from lib.hands.scenes import compose, draw_hand

    camera = np.array([[280.0, 0, HAND[1] / 2], [0, 280, HAND[0] / 2], [0, 0, 1]])
    for number in range(count):
        rng = np.random.default_rng((3, number))
        hand = draw_hand(model(), rng, camera, HAND, (0.4, 0.7))
        yield compose(rng, [hand], camera, HAND, background(rng, *HAND)).image, around(projected(hand.xyz, camera))


def around(points: NDArray) -> list[float]:
    """The tight box x, y, width, height of points (K, 2)."""
    return box_of(points.min(0), points.max(0)).tolist()


def chosen(crops: Crops, rows: NDArray) -> Crops:
    """Some rows of crops."""
    there = [name for name in (*ARRAYS, *HANDS, "images") if getattr(crops, name) is not None]
    return replace(crops, depth=None, **{name: getattr(crops, name)[rows] for name in there})


@dataclass(frozen=True)
class Difference:
    """How far two students' answers are apart: the farthest and the mean joint, in px of the input, and the scores.

    Of hands the unit is that of a pose, and there are no scores.
    """

    position: float
    mean: float
    score: float
    unit: str

    def __str__(self) -> str:
        scores = "" if self.unit else f", scores by up to {self.score:.1g}"
        return f"up to {self.position:.2g} {self.unit or 'px'}, {self.mean:.1g} in the mean{scores}"


def differences(student: Student, second: Student, crops: Crops) -> Difference:
    """Compare two students on crops, on the first of them alone, too."""
    gaps: list[Tensor] = []
    scores = [0.0]
    for batch in student.batches(crops).epoch(0):
        for views in (batch.images["student"], batch.images["student"][:1]):
            answers = [one.task.predict(views, one.label.flip_test) for one in (student, second)]
            (points, confidence), (others, other) = answers
            gaps.append((points - others).norm(dim=-1).flatten())
            scores.append(0.0 if confidence is None else float((confidence - other).abs().max()))
    gap = torch.cat(gaps)
    return Difference(float(gap.max()), float(gap.mean()), max(scores), "of the scale" if student.label.scale else "")


def measured(student: Student, again: bool) -> dict[str, float] | None:
    """The metrics of the validation predictions beside a student's weights; None where they or their labels are not.

    again: of new predictions of the same persons.
    """
    beside, folder = student.path.with_name("predictions.npz"), CROPS / student.label.crops
    if not (beside.is_file() and folder.is_dir()):
        return None
    predictions, persons = dict(np.load(beside)), open_persons(folder, student.label.validation)
    if again:
        crops = persons.validation
        crops = chosen(crops, np.flatnonzero(np.isin(crops.image_ids, predictions["images"])))
        found = predict(student.task, student.batches(crops), student.label.flip_test)
        predictions = found | {"images": predictions["images"]}
    return score(persons.annotations, predictions)
