"""Cut the people of a dataset out of its images."""

from pathlib import Path

from lib.data.crops import pack
from lib.params import load_params
from stages import run


def main(name: str) -> None:
    """Write data/crops/<name> from the annotations and images of its dataset."""
    spec = load_params().pack_spec(name)
    pack(
        Path("data/annotations") / spec.dataset,
        Path("data/raw") / spec.dataset,
        Path("data/crops") / name,
        input=spec.input,
        padding=spec.padding,
        margin=spec.margin,
        boxes=spec.boxes,
    )


if __name__ == "__main__":
    run(main)
