"""Fill data/raw/<dataset>, in the benchmark's own layout, from its owner, from the user's copy or with drawn data."""

import json
from pathlib import Path

from lib.data.fetch import LAYOUTS, from_local, from_official
from lib.files import atomic
from lib.params.sections import Data
from stages import load_spec, run


def main(dataset: str) -> None:
    """Write data/raw/<dataset> and, within it, SOURCE.json, which says where the data come from."""
    spec = load_spec(f"data/{dataset}")
    settings = Data.model_fields[dataset].annotation.model_validate(spec)
    origin = settings.source if settings.source in ("official", "synthetic") else "local"
    with atomic(Path("data/raw") / dataset) as raw:
        if origin == "official":
            archives = from_official(settings.official, Path("data/downloads") / dataset, raw)
        elif origin == "local":
            source = Path(settings.source).expanduser()
            archives = from_local(source, settings.official, LAYOUTS[dataset], raw)
        else:
            from lib.data import formats

            formats.get(dataset).write_synthetic(raw, **settings.synthetic.model_dump())
            archives = {}
        record = {"dataset": dataset, "source": origin, "archives": archives}
        (raw / "SOURCE.json").write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
