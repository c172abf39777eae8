"""The real pieces of MPII and COCO in the layout of data/raw, half of their images for training."""

import json
from pathlib import Path

import h5py
import numpy as np


def link_mpii(data: Path, raw: Path) -> dict[str, list[str]]:
    """Build data/raw/mpii (layout of train.h5 and valid.h5) in `raw`; return the image names of "train" and "valid"."""
    sample = data / "samples/mpii"
    names = sorted(path.name for path in (sample / "images").iterdir())
    halves = {"train": names[:20], "valid": names[20:]}
    (raw / "annot").mkdir(parents=True)
    (raw / "images").symlink_to(sample / "images")
    with h5py.File(sample / "annot/valid.h5") as file:
        for split, half in halves.items():
            rows = np.isin(file["imgname"][()], np.array(half, "S13"))
            with h5py.File(raw / f"annot/{split}.h5", "w") as part:
                for name in file:
                    part[name] = file[name][()][rows]
    return halves


def link_coco(data: Path, raw: Path) -> dict[str, set[int]]:
    """Build data/raw/coco with detections in `raw`; return the image ids of "train" and "val"."""
    sample = data / "samples/coco"
    document = json.loads((sample / "annotations/person_keypoints_val2017.json").read_text())
    names = sorted(path.name for path in (sample / "val2017").iterdir())
    (raw / "annotations").mkdir(parents=True)
    (raw / "person_detection_results").mkdir()
    kept = {}
    for split, half in (("train", names[:10]), ("val", names[10:])):
        (raw / f"{split}2017").mkdir()
        for name in half:
            (raw / f"{split}2017" / name).symlink_to(sample / "val2017" / name)
        images = [image for image in document["images"] if image["file_name"] in half]
        kept[split] = {image["id"] for image in images}
        people = [person for person in document["annotations"] if person["image_id"] in kept[split]]
        content = document | {"images": images, "annotations": people}
        (raw / f"annotations/person_keypoints_{split}2017.json").write_text(json.dumps(content))
    (result,) = (sample / "person_detection_results").iterdir()
    detections = [box for box in json.loads(result.read_text()) if box["image_id"] in kept["val"]]
    (raw / "person_detection_results" / result.name).write_text(json.dumps(detections))
    return kept
