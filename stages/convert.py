"""Convert a benchmark's raw files to COCO-keypoints annotations: `python -m stages.convert <dataset>`."""

import time
from pathlib import Path

from lib.data import formats
from stages import NOT_CHOSEN, leave_out, load_spec, run


def main(dataset: str) -> None:
    out = Path("data/annotations") / dataset
    if load_spec(f"convert/{dataset}") == NOT_CHOSEN:
        return leave_out(out)
    start = time.perf_counter()
    counts = formats.get(dataset).convert(Path("data/raw") / dataset, out)
    summary = ", ".join(f"{count} {noun}" for noun, count in counts.items())
    print(f"{dataset}: {summary}, {time.perf_counter() - start:.1f} s")


if __name__ == "__main__":
    run(main)
