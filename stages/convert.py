"""Convert a benchmark's raw files to COCO-keypoints annotations: `python -m stages.convert <dataset>`."""

import time
from pathlib import Path

from lib.data import formats
from stages import run


def main(dataset: str) -> None:
    start = time.perf_counter()
    counts = formats.get(dataset).convert(Path("data/raw") / dataset, Path("data/annotations") / dataset)
    summary = ", ".join(f"{count} {noun}" for noun, count in counts.items())
    print(f"{dataset}: {summary}, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    run(main)
