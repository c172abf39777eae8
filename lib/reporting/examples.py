"""What the figures of a report show: people with their predictions, and joints whose label and teacher maps differ."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import MEAN, STD, Batches, evenly_spaced
from lib.data.crops import Crops
from lib.metrics import head_sizes, matched
from lib.metrics.pck import torso
from lib.reporting.figures import Example, Panel
from lib.training.checkpoint import load_weights

BATCH = 8
NEAR = 2.0  # heatmap px: the teacher's maximum is at the label
TOLERANCE = {"lsp": 0.2, "mpii": 0.5}  # of the torso, of the head size: a joint as near as that is right
FRAME = 1.4  # side of the shown part of an image, relative to the person's longer side


def person_panels(
    annotations: Mapping[str, Any], predictions: Mapping[str, Mapping[str, NDArray]], images: Path, people: int = 4
) -> tuple[list[NDArray], list[list[Panel]]]:
    """Show `people` evenly spaced predicted persons: their images (H, W, 3) uint8 and, per person, a panel per method.

    The first panel is the ground truth. predictions: by name of the method, as in predictions.npz, of the same persons.
    images: folder of the annotations' file names. A title counts the joints within TOLERANCE among the labelled.
    """
    persons = {person["id"]: person for person in annotations["annotations"]}
    files = {image["id"]: image["file_name"] for image in annotations["images"]}
    ids = next(iter(predictions.values()))["ids"]
    chosen = ids[evenly_spaced(people, len(ids))]
    shown, panels = [], []
    for number in chosen:
        person = persons[int(number)]
        pixels = np.array(Image.open(images / files[person["image_id"]]).convert("RGB"))
        x, y, width, height = person["bbox"]
        reach = FRAME * max(width, height) / 2
        left, top = max(0, round(x + width / 2 - reach)), max(0, round(y + height / 2 - reach))
        shown.append(pixels[top : round(y + height / 2 + reach), left : round(x + width / 2 + reach)])
        row = []
        for method, predicted in predictions.items():
            one = {"ids": number[None], "keypoints": predicted["keypoints"][predicted["ids"] == number]}
            found, truth, visible = matched(annotations, one)
            if not row:
                row.append(Panel("ground truth", truth[0] - [left, top], visible[0]))
            right = np.linalg.norm(found - truth, axis=-1) <= tolerance(annotations, one["ids"], truth, visible)
            title = f"{method}: {(right & visible).sum()} of {visible.sum()}"
            row.append(Panel(title, found[0] - [left, top], np.ones_like(visible[0])))
        panels.append(row)
    return shown, panels


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
    heatmap, size = spec["heatmap"], tuple(spec["input"])
    codec = HeatmapCodec(size, sigma=heatmap["sigma"], scaling=heatmap["scaling"])
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
        pixels = images[person].permute(1, 2, 0).numpy() * STD + MEAN
        examples.append(
            Example(
                caption=f"{caption}: {crops.joints[joint].replace('_', ' ')}",
                image=np.clip(np.rint(pixels), 0, 255).astype(np.uint8),
                label=labels[person, joint].numpy() if visible[person, joint] else None,
                teacher=found[person, joint].numpy(),
                label_map=targets[person, joint].numpy(),
                teacher_map=maps[person, joint].numpy(),
            )
        )
    return examples
