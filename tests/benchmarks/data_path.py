"""Speed of the data path, targets included, against a loader that does the usual work per sample.

    python -m tests.benchmarks.data_path [folder of JPEGs]

Without a folder the images are drawn. Prints people per second on the CPU and their ratio at 64 and 256 px input;
both take turns, so that a slow phase of the machine hits both.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import MEAN, STD, Augmentation, Batches
from lib.data.crops import open_crops
from lib.data.packing import pack

PEOPLE, JOINTS, BATCH, ROUNDS, SECONDS = 2048, 14, 32, 5, 2.0
PADDING, SIGMA, STRIDE = 1.25, 1.0, 4
AUGMENTATION = Augmentation(flip=True, scale=(0.75, 1.25), rotation=30.0)
PAIRS = [[0, 5], [1, 4], [2, 3], [6, 11], [7, 10], [8, 9]]


def draw_images(folder: Path) -> None:
    """Write pictures of about 200 px: smooth noise and a few shapes."""
    rng = np.random.default_rng(0)
    for number in range(PEOPLE):
        height, width = rng.integers(170, 230, 2)
        coarse = rng.integers(0, 256, (height // 12, width // 12, 3), dtype=np.uint8)
        image = cv2.resize(coarse, (int(width), int(height)), interpolation=cv2.INTER_CUBIC)
        for x, y, radius in rng.integers(5, 160, (12, 3)):
            cv2.circle(image, (int(x), int(y)), int(radius) // 5, rng.integers(0, 256, 3).tolist(), -1, cv2.LINE_AA)
        image = cv2.add(image, rng.integers(0, 20, image.shape, dtype=np.uint8))
        cv2.imwrite(str(folder / f"{number:04d}.jpg"), image)


def annotate(images: Path, out: Path) -> list[dict]:
    """Write train.json and val.json with one person of up to 170 px and random joints per image; return the people."""
    rng = np.random.default_rng(1)
    records, people = [], []
    for number, path in enumerate(sorted(images.glob("*.jpg"))[:PEOPLE]):
        height, width = cv2.imread(str(path)).shape[:2]
        extent = rng.uniform(0.6, 1, 2) * np.minimum(170, (width, height))
        corner = rng.uniform(0, 1, 2) * ((width, height) - extent)
        joints = corner + rng.uniform(0, 1, (JOINTS, 2)) * extent
        records.append({"id": number, "file_name": path.name, "height": height, "width": width})
        people.append(
            {
                "id": number,
                "image_id": number,
                "bbox": [*corner, *extent],
                "keypoints": np.column_stack([joints, np.full(JOINTS, 2)]).ravel().tolist(),
                "num_keypoints": JOINTS,
                "iscrowd": 0,
            }
        )
    joints = [str(joint) for joint in range(JOINTS)]
    category = {"id": 1, "keypoints": joints, "flip_pairs": PAIRS, "upper_body": [*range(6, JOINTS)]}
    document = {"info": {}, "images": records, "annotations": people, "categories": [category]}
    for split in ("train", "val"):
        (out / f"{split}.json").write_text(json.dumps(document))
    return [
        person | {"path": str(images / record["file_name"])} for person, record in zip(people, records, strict=True)
    ]


class PerSample(Dataset):
    """The usual loader: decode, warp from the whole image, normalise and draw the heatmaps, one sample at a time."""

    def __init__(self, people: list[dict], side: int) -> None:
        self.people, self.side = people, side

    def __len__(self) -> int:
        return len(self.people)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        person, side = self.people[index], self.side
        image = cv2.cvtColor(cv2.imread(person["path"]), cv2.COLOR_BGR2RGB)
        joints = np.array(person["keypoints"]).reshape(-1, 3)[:, :2]
        x, y, w, h = person["bbox"]
        if np.random.random() < 0.5:
            image = image[:, ::-1].copy()
            joints[:, 0] = image.shape[1] - 1 - joints[:, 0]
            for left, right in PAIRS:
                joints[[left, right]] = joints[[right, left]]
            x = image.shape[1] - x - w
        zoom = np.random.uniform(*AUGMENTATION.scale) * side / (max(w, h) * PADDING)
        angle = np.random.uniform(-1, 1) * AUGMENTATION.rotation
        matrix = cv2.getRotationMatrix2D((x + (w - 1) / 2, y + (h - 1) / 2), -angle, zoom)
        matrix[:, 2] += (side - 1) / 2 - np.array([x + (w - 1) / 2, y + (h - 1) / 2])
        view = cv2.warpAffine(image, matrix, (side, side), flags=cv2.INTER_LINEAR)
        pixels = torch.from_numpy(view.transpose(2, 0, 1).astype(np.float32) / 255)
        for channel, mean, std in zip(pixels, MEAN / 255, STD / 255, strict=True):
            channel.sub_(mean).div_(std)
        joints = joints @ matrix[:, :2].T + matrix[:, 2]
        return pixels, torch.from_numpy(self.heatmaps((joints + 0.5) / STRIDE - 0.5))

    def heatmaps(self, joints: np.ndarray) -> np.ndarray:
        """Draw a Gaussian patch of three sigma around every joint inside the map."""
        side, reach = self.side // STRIDE, int(3 * SIGMA)
        target = np.zeros((JOINTS, side, side), np.float32)
        offset = np.arange(-reach, reach + 1)
        patch = np.exp(-(offset[:, None] ** 2 + offset**2) / (2 * SIGMA**2))
        for heatmap, (x, y) in zip(target, np.rint(joints).astype(int), strict=True):
            left, right, top, bottom = x - reach, x + reach + 1, y - reach, y + reach + 1
            if right <= 0 or bottom <= 0 or left >= side or top >= side:
                continue
            rows, columns = slice(max(top, 0), min(bottom, side)), slice(max(left, 0), min(right, side))
            heatmap[rows, columns] = patch[
                rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
            ]
        return target


def rate(epoch: Callable[[], Iterable[int]]) -> float:
    """People per second of whole epochs that last SECONDS or longer; epoch() yields the size of each batch."""
    people, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < SECONDS:
        people += sum(epoch())
    return people / elapsed


def compare(side: int, people: list[dict], work: Path) -> None:
    crops = work / f"crops{side}"
    began = time.perf_counter()
    pack(work, Path(people[0]["path"]).parent, crops, input=(side, side), padding=PADDING, margin=1.5)
    packing = 2 * len(people) / (time.perf_counter() - began)
    batches = Batches(open_crops(crops, "train"), {"student": (side, side)}, BATCH, augmentation=AUGMENTATION, seed=0)
    codec, epochs = HeatmapCodec((side, side), sigma=SIGMA), iter(range(10**9))
    loader = DataLoader(
        PerSample(people, side), BATCH, shuffle=True, drop_last=True, num_workers=2, persistent_workers=True
    )
    paths = {
        "batches": lambda: (len(codec.encode(batch.keypoints)) for batch in batches.epoch(next(epochs))),
        "per sample": lambda: (len(images) for images, _ in loader),
    }
    for epoch in paths.values():
        sum(epoch())
    rounds = [{name: rate(epoch) for name, epoch in paths.items()} for _ in range(ROUNDS)]
    ours, usual = (median(one[name] for one in rounds) for name in paths)
    ratio = median(one["batches"] / one["per sample"] for one in rounds)
    print(f"{side} px: batches {ours:,.0f}/s, per sample {usual:,.0f}/s, ratio {ratio:.1f}; packing {packing:,.0f}/s")


def main(images: str | None = None) -> None:
    torch.set_num_threads(1)  # the threads and processes that load fill the cores; torch's own would spin between them
    with tempfile.TemporaryDirectory() as work:
        work = Path(work)
        folder = Path(images) if images else work / "images"
        if not images:
            folder.mkdir()
            draw_images(folder)
        people = annotate(folder, work)
        for side in (64, 256):
            compare(side, people, work)


if __name__ == "__main__":
    main(*sys.argv[1:])
