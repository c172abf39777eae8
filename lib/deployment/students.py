"""A trained network with all that it takes to use it, on images of any size."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from lib.data.batches import MEAN, STD, Batches
from lib.data.crops import Crops
from lib.data.packing import crop_to_image, cut_out
from lib.deployment.photos import People
from lib.errors import InputError, first_line
from lib.labels import Label, read_label
from lib.named import find
from lib.tasks import Task
from lib.training.predict import predict
from lib.weights import load_weights

BATCH = 32
SUFFIXES = (".safetensors", ".onnx")


@dataclass(frozen=True)
class Student:
    """What a file says of its network, and the network with its decoding: lib.training.predict.predict takes it."""

    path: Path
    label: Label
    task: Task

    def crops(self, image: NDArray, people: People) -> Crops:
        """Cut people out of an image (H, W, 3) as validation crops are cut, without labels."""
        label, count = self.label, len(people.boxes)
        to_image = crop_to_image(people.boxes, label.crop, label.padding, label.crop, people.left)
        hand = {}
        if label.output == "pose":  # placed with the wrist at the origin
            pose = np.zeros((count, len(label.joints), 3), np.float32)
            hand = {"pose": pose, "root": pose[:, 0], "scale": np.full(count, label.scale, np.float32)}
        return Crops(
            images=np.stack([cut_out(image, matrix, label.crop) for matrix in to_image]),
            keypoints=np.zeros((count, len(label.joints), 2), np.float32),
            visible=np.zeros((count, len(label.joints)), bool),
            to_image=to_image,
            ids=np.arange(count),
            image_ids=np.full(count, people.image_id),
            box_scores=people.scores,
            joints=label.joints,
            flip_pairs=label.flip_pairs,
            upper_body=(),
            input=label.crop,
            **hand,
        )

    def predict(self, image: NDArray, people: People) -> dict[str, NDArray]:
        """Predict people of an image (H, W, 3) uint8 RGB exactly as validation does.

        Returns the arrays of `lib.training.predict.predict`; those of hands in mm from the wrist, with x to the right,
        y down and z away, at the mean scale of the hands trained on: from one picture a hand's size is not known.
        """
        crops = self.crops(image, people)
        return predict(self.task, self.batches(crops), self.label.flip_test)

    def batches(self, crops: Crops) -> Batches:
        """The network's views of crops."""
        sizes, antialias = {"student": self.label.input}, self.label.antialias
        device = next((parameter.device for parameter in self.task.parameters()), "cpu")
        return Batches(crops, sizes, BATCH, augmentation=None, seed=0, antialias=antialias, device=device)


def locate(place: Path) -> Path:
    """The file of a student: itself, that in the folder of a seed, or that of the first seed in the folder of a run."""
    if not place.exists():
        raise InputError(
            f"{place} not found: expected the folder of a run, models/<paper>/<run>, which its training makes, "
            f"or a file that ends in {' or '.join(SUFFIXES)}"
        )
    if place.is_dir():
        seeds = sorted(place.glob("seed*"), key=lambda path: (len(path.name), path.name))
        folder, place = place, (seeds[0] if seeds else place) / "weights.safetensors"
        if not place.is_file():
            raise InputError(
                f"{folder} holds no seed of a run: name a file in it, or train the run (dvc repro does it)"
            )
    if place.suffix not in SUFFIXES:
        raise InputError(f"{place} is no student: expected a file that ends in {' or '.join(SUFFIXES)}")
    return place


def open_student(place: Path, device: str = "cpu") -> Student:
    """Load a student from its file or folder; the device is where one of weights runs.

    Raises InputError where it cannot be found or read, and where it sees depth, which no photograph has.
    """
    path = locate(place)
    if path.suffix == ".onnx":
        from lib.deployment.graph import open_graph  # needs a package that only exports need

        label, task = open_graph(path)
    else:
        label, network = read_label(path), load_weights(path)
        task = student_of(path, label, network.to(device)).task
    if label.modality != "rgb":
        raise InputError(f"{path} sees {label.modality}: choose a student that sees pictures")
    return Student(path, label, task)


def student_of(path: Path, label: Label, network: nn.Module) -> Student:
    """A student of a network in memory. Raises InputError where the label of its file does not fit it."""
    if (network.joints, network.output) != (len(label.joints), label.output):
        raise InputError(f"{path} names other joints than its network tells: train it again")
    if (label.mean, label.std) != (tuple(MEAN), tuple(STD)):
        raise InputError(f"{path} expects grey levels less {label.mean} over {label.std}: export it as a graph")
    try:
        # A label has a run's input and codec, of which the task of labels alone is built.
        task = find("lib.tasks", label.output, f"the output of {path}").build(label, network, label.flip_pairs)
        device = next(network.parameters()).device
        task.eval().predict(torch.zeros(1, 3, *label.input, device=device))  # whether all of it fits together
        return Student(path, label, task)
    except (TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise InputError(f"{path} cannot be used ({first_line(error)}): train it again") from None
