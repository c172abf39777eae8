"""What the figures of a report show: people with their predictions, and joints whose label and teacher maps differ."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from lib.codecs.heatmap import HeatmapCodec
from lib.codecs.simcc import SimccCodec
from lib.data.batches import Batches, evenly_spaced, grey_levels
from lib.data.crops import Crops
from lib.metrics.oks import oks
from lib.metrics.pck import torso
from lib.metrics.scores import evaluated, head_sizes, matched
from lib.reporting.figures import Classes, Example, Panel, View
from lib.weights import load_weights

BATCH = 8
NEAR = 2.0  # heatmap px: the teacher's maximum is at the label
TOLERANCE = {"lsp": 0.2, "mpii": 0.5}  # of the torso, of the head size: a joint as near as that is right
LEAST = 16  # px from the middle to the side of the shown part
FRAME = 1.4  # side of the shown part of an image, relative to the person's longer side


def person_panels(
    annotations: Mapping[str, Any], predictions: Mapping[str, Mapping[str, NDArray]], images: Path, people: int = 4
) -> tuple[list[NDArray], list[list[Panel]]]:
    """Show `people` evenly spaced evaluated persons: their images (H, W, 3) uint8 and, per person, a panel per method.

    Persons without an extent are passed over. The first panel is the ground truth. predictions: by name of the method,
    as in predictions.npz, of the same images. images: folder of the annotations' file names.
    """
    files = {image["id"]: image["file_name"] for image in annotations["images"]}
    persons = evaluated(annotations, next(iter(predictions.values()))["images"])
    persons = [person for person in persons if min(person["area"], *person["bbox"][2:]) > 0]  # COCO has others
    method_panel = similar_pose if annotations["info"]["dataset"] == "coco" else right_joints
    shown, panels = [], []
    for row in evenly_spaced(people, len(persons)):
        person = persons[row]
        pixels = np.array(Image.open(images / files[person["image_id"]]).convert("RGB"))
        x, y, width, height = person["bbox"]
        reach = max(FRAME * max(width, height) / 2, LEAST)
        left, top = max(0, round(x + width / 2 - reach)), max(0, round(y + height / 2 - reach))
        shown.append(pixels[top : round(y + height / 2 + reach), left : round(x + width / 2 + reach)])
        seen = [Panel("ground truth", *labels(person))]
        seen += [method_panel(annotations, person, name, predicted) for name, predicted in predictions.items()]
        panels.append([replace(panel, keypoints=panel.keypoints - [left, top]) for panel in seen])
    return shown, panels


def labels(person: Mapping[str, Any]) -> tuple[NDArray, NDArray]:
    """Keypoints (K, 2) of an annotation in image px and which of them are labelled (K,)."""
    values = np.array(person["keypoints"], np.float64).reshape(-1, 3)
    return values[:, :2], values[:, 2] > 0


def right_joints(
    annotations: Mapping[str, Any], person: Mapping[str, Any], method: str, predicted: Mapping[str, NDArray]
) -> Panel:
    """What a method predicts for an annotation; the title counts the joints within TOLERANCE among the labelled."""
    one = {"ids": np.array([person["id"]]), "keypoints": predicted["keypoints"][predicted["ids"] == person["id"]]}
    found, truth, visible = matched(annotations, one)
    right = np.linalg.norm(found - truth, axis=-1) <= tolerance(annotations, one["ids"], truth, visible)
    return Panel(f"{method}: {(right & visible).sum()} of {visible.sum()}", found[0], np.ones_like(visible[0]))


def similar_pose(
    annotations: Mapping[str, Any], person: Mapping[str, Any], method: str, predicted: Mapping[str, NDArray]
) -> Panel:
    """The pose predicted in an annotation's image that is most similar to its labels; the title has the similarity.

    Predictions are of detections, so none is this person's by its id.
    """
    truth, visible = labels(person)
    poses = predicted["keypoints"][predicted["image_ids"] == person["image_id"]]
    if not len(poses):
        return Panel(f"{method}: nobody found", truth, np.zeros_like(visible))
    similarity = oks(poses, truth, np.array(person["area"]), visible)
    return Panel(f"{method}: OKS {similarity.max():.2f}", poses[similarity.argmax()], np.ones_like(visible))


def tolerance(annotations: Mapping[str, Any], ids: NDArray, truth: NDArray, visible: NDArray) -> NDArray:
    """How far in px the joints of each person may be off: (N, 1); ids (N,), truth (N, K, 2) px, visible (N, K)."""
    dataset = annotations["info"]["dataset"]
    length = head_sizes(annotations, ids) if dataset == "mpii" else torso(truth, visible)
    return TOLERANCE[dataset] * length[:, None]


@torch.no_grad()
def transfer_examples(crops: Crops, weights: Path, spec: Mapping[str, Any], people: int = 64) -> list[Example]:
    """Pick up to three joints among `people` evenly spaced training crops, one for each row of FPD's Fig. 3.

    A: label and teacher are farthest apart, among joints whose teacher maximum is above the median. B: the teacher's
    maximum is lowest, among joints where it lies at the label. C: it is highest, among joints without a label (no such
    row where all are labelled). spec: the teacher's spec.json. Which side is right is for the reader to see.
    """
    size = tuple(spec["input"])
    codec = HeatmapCodec(size, **spec["codec"])
    teacher = load_weights(weights).eval()
    rows = evenly_spaced(people, len(crops.ids))
    batches = list(Batches(crops, {"student": size}, BATCH, augmentation=None, seed=0, rows=rows).epoch(0))
    maps = torch.cat([teacher(batch.images["student"])[-1].float() for batch in batches])
    images = torch.cat([batch.images["student"] for batch in batches])
    labels = torch.cat([batch.keypoints for batch in batches])
    visible = torch.cat([batch.visible for batch in batches])
    targets = codec.encode(labels) * visible[..., None, None]
    found, peaks = codec.decode(maps)

    distance = (found - labels).norm(dim=-1) / codec.stride
    never = torch.tensor(-torch.inf)
    choices = {
        "(A) label and teacher far apart": torch.where(visible & (peaks > peaks.median()), distance, never),
        "(B) teacher softer than the label": torch.where(visible & (distance <= NEAR), -peaks, never),
        "(C) label missing, teacher sees the joint": torch.where(~visible, peaks, never),
    }
    examples = []
    for caption, value in choices.items():
        person, joint = divmod(int(value.argmax()), value.shape[1])
        if value[person, joint] == never:
            continue
        examples.append(
            Example(
                caption=f"{caption}: {crops.joints[joint].replace('_', ' ')}",
                image=grey_levels(images[person]),
                label=labels[person, joint].numpy() if visible[person, joint] else None,
                teacher=found[person, joint].numpy(),
                label_map=targets[person, joint].numpy(),
                teacher_map=maps[person, joint].numpy(),
            )
        )
    return examples


@torch.no_grad()
def class_examples(
    crops: Crops, groups: Sequence[Mapping[str, Path]], antialias: bool, people: int = 3
) -> tuple[list[list[View]], list[list[Classes]]]:
    """Show `people` evenly spaced crops to SimCC networks: per person, some views and one joint's classes along x.

    groups: weights by name, a teacher's and then students' of one input size. The views are those of the first teacher
    and of the last student of each group. Each group has its Classes; a teacher's m adjacent probabilities are added to
    one of the student's (CDKD Eq. 6, without temperature). The joint is the one whose maximum there is, by the first
    teacher, the median of all joints: neither an easy nor a hard one.
    """
    rows, joints = evenly_spaced(people, len(crops.ids)), None
    views: list[list[View]] = [[] for _ in rows]
    classes: list[list[Classes]] = [[] for _ in rows]
    for group in groups:
        networks = {name: load_weights(weights).eval() for name, weights in group.items()}
        (first, teacher), *_, (last, student) = networks.items()
        sizes = {"teacher": teacher.input_size, "student": student.input_size}
        settings = {"augmentation": None, "seed": 0, "rows": rows, "antialias": antialias}
        (batch,) = Batches(crops, sizes, people, **settings).epoch(0)
        seen = {name: batch.images["teacher" if name == first else "student"] for name in networks}
        outputs = {name: [axis.float().softmax(2) for axis in networks[name](seen[name])] for name in networks}
        codec, points = class_codec(student), batch.keypoints
        labelled, bins = batch.visible & codec.inside(points), codec.encode(points)[0].argmax(2)
        along_x = {name: x for name, (x, _) in outputs.items()}
        along_x[first] = along_x[first].unflatten(2, (codec.bins[0], -1)).sum(3)
        placed = {last: points}
        if joints is None:
            joints = along_x[first].amax(2).median(1).indices.tolist()
            m = teacher.input_size[1] / student.input_size[1]
            placed = {first: (points + 0.5) * m - 0.5, last: points}
        known = labelled[range(len(rows)), joints].tolist()
        for name, there in placed.items():
            found, _ = class_codec(networks[name]).decode(*outputs[name])
            for row, (joint, image) in enumerate(zip(joints, seen[name], strict=True)):
                title = f"{name} ({' × '.join(map(str, image.shape[1:]))})"
                panel = Panel(title, found[row].numpy(), np.ones(len(crops.joints), bool))
                label = float(there[row, joint, 0]) if known[row] else None
                views[row].append(View(grey_levels(image), panel, label))
        for row, joint in enumerate(joints):
            title = f"{crops.joints[joint].replace('_', ' ')}, {codec.bins[0]} classes of x"
            probabilities = {name: x[row, joint].numpy() for name, x in along_x.items()}
            classes[row].append(Classes(title, probabilities, int(bins[row, joint]) if known[row] else None))
    return views, classes


def class_codec(network: nn.Module) -> SimccCodec:
    """How a SimCC network's classes are read."""
    return SimccCodec(network.input_size, split=network.columns.out_features / network.input_size[1])
