"""Cut the people, or the hands, of a dataset out of its images."""

from pathlib import Path

from lib.data import formats
from lib.data.crops import pack
from lib.params import PackSpec
from stages import load_spec, run


def main(name: str) -> None:
    """Write data/crops/<name> from the annotations and images of its dataset."""
    spec = PackSpec.model_validate(load_spec(f"packs/{name}"))
    pack(
        Path("data/annotations") / spec.dataset,
        Path("data/raw") / spec.dataset,
        Path("data/crops") / name,
        read_depth=getattr(formats.get(spec.dataset), "read_depth", None),
        **spec.model_dump(exclude={"dataset"}),
    )


if __name__ == "__main__":
    run(main)
