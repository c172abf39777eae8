"""Draw the example picture and its boxes: `python -m examples.draw`."""

import json
from pathlib import Path

import cv2
import numpy as np

from lib.data.people import group
from lib.data.scenes import background, photograph

FOLDER = Path(__file__).parent
SIZE = (260, 420)  # height and width in px
PLACES = np.array([[95.0, 120], [215, 125], [330, 128]])
SCALES = np.array([175.0, 185, 190])
SEED = 11


def main() -> None:
    """Write people.png, three drawn people, and people.json, their boxes in COCO's format."""
    rng = np.random.default_rng(SEED)
    image = background(rng, *SIZE)
    people = group(rng, image, PLACES, SCALES)
    cv2.imwrite(str(FOLDER / "people.png"), cv2.cvtColor(photograph(rng, image), cv2.COLOR_RGB2BGR))
    joints = people.points[:, :14]
    boxes = np.concatenate([joints.min(1), np.ptp(joints, axis=1)], axis=1).round(1).tolist()
    annotations = [{"id": number, "image_id": 1, "category_id": 1, "bbox": box} for number, box in enumerate(boxes, 1)]
    images = [{"id": 1, "file_name": "people.png", "width": SIZE[1], "height": SIZE[0]}]
    text = json.dumps({"images": images, "annotations": annotations}, indent=1)
    (FOLDER / "people.json").write_text(f"{text}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
