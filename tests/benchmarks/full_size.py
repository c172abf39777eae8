"""Time and memory of convert and pack on annotation files as large as MPII's and COCO's.

    python -m tests.benchmarks.full_size mpii    # 29,000 drawn people, about 5 minutes on two cores
    python -m tests.benchmarks.full_size coco    # 150,000 labelled people, about 10 minutes, 6 GB in the working folder

COCO's images are hard links to a few hundred drawn ones of about 260 px: real ones take longer to read and decode.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from multiprocessing import get_context
from pathlib import Path

from lib.data import formats
from lib.data.packing import pack

INPUT = (64, 64)  # of the network, px
COPIES = 256  # of each drawn image of COCO


def write_coco(dataset: str) -> None:
    """Draw a small COCO and repeat it, with new ids and names, up to the size of the real one."""
    raw, drawn = Path("raw"), Path("drawn")
    formats.get("coco").write_synthetic(drawn, train=320, val=50, seed=0)
    (raw / "annotations").mkdir(parents=True)
    (raw / "person_detection_results").mkdir()
    step = 10_000_000  # between the ids of two copies
    for split, copies in (("train", COPIES), ("val", 100)):
        path = Path(f"annotations/person_keypoints_{split}2017.json")
        document = json.loads((drawn / path).read_text())
        (raw / f"{split}2017").mkdir()
        images, people = [], []
        for copy in range(copies):
            for image in document["images"]:
                name = f"{image['id'] + copy * step:012d}.jpg"
                os.link(drawn / f"{split}2017" / image["file_name"], raw / f"{split}2017" / name)
                images.append(image | {"id": image["id"] + copy * step, "file_name": name})
            for person in document["annotations"]:
                keys = {"id": person["id"] + copy * 100 * step, "image_id": person["image_id"] + copy * step}
                people.append(person | keys)
        (raw / path).write_text(json.dumps(document | {"images": images, "annotations": people}))
    (result,) = (drawn / "person_detection_results").iterdir()
    boxes = json.loads(result.read_text())
    boxes = [box | {"image_id": box["image_id"] + copy * step} for copy in range(100) for box in boxes]
    (raw / "person_detection_results" / result.name).write_text(json.dumps(boxes))


def write_mpii(dataset: str) -> None:
    """Draw as many people as MPII has labelled ones."""
    formats.get("mpii").write_synthetic(Path("raw"), train=21_700, val=2_465, layout="mat", seed=0)


def convert(dataset: str) -> None:
    print(formats.get(dataset).convert(Path("raw"), Path("annotations")))


def cut(dataset: str) -> None:
    boxes = "detections" if dataset == "coco" else "annotations"
    pack(Path("annotations"), Path("raw"), Path("crops"), input=INPUT, padding=1.25, margin=1.5, boxes=boxes)


def measured(work, dataset: str) -> None:
    """Do `work` in a process of its own; print its seconds and peak memory."""
    began = time.perf_counter()
    process = get_context("spawn").Process(target=alone, args=(work, dataset))
    process.start()
    process.join()
    print(f"{work.__name__} {dataset}: {time.perf_counter() - began:.0f} s", flush=True)
    assert process.exitcode == 0


def alone(work, dataset: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work(dataset)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"{work.__name__} {dataset}: peak {peak / 2**20:.2f} GiB, {before / 2**20:.2f} GiB before", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=("mpii", "coco"))
    dataset = parser.parse_args().dataset
    with tempfile.TemporaryDirectory(dir=".") as folder:
        os.chdir(folder)
        try:
            measured(write_mpii if dataset == "mpii" else write_coco, dataset)
            measured(convert, dataset)
            measured(cut, dataset)
        finally:
            os.chdir("..")


if __name__ == "__main__":
    main()
