"""Cut the people, or the hands, of a dataset out of its images."""

from pathlib import Path

from lib.data import formats
from lib.data.packing import pack
from stages import NOT_CHOSEN, leave_out, load_spec, run


def main(name: str) -> None:
    """Write data/crops/<name> from the annotations and images of its dataset."""
    spec, out = load_spec(f"pack/{name}"), Path("data/crops") / name
    if spec == NOT_CHOSEN:
        return leave_out(out)
    dataset = spec.pop("dataset")
    del spec["code"]
    pack(
        Path("data/annotations") / dataset,
        Path("data/raw") / dataset,
        out,
        read_depth=getattr(formats.get(dataset), "read_depth", None),
        **spec | {"input": tuple(spec["input"])},
    )


if __name__ == "__main__":
    run(main)
