"""Fill data/raw/<dataset>, in the benchmark's own layout, from its owner, from the user's copy or with drawn data."""

import json
from pathlib import Path

from lib.data.fetch import LAYOUTS, Archive, from_local, from_official
from lib.files import atomic
from stages import NOT_CHOSEN, leave_out, load_spec, run


def main(dataset: str) -> None:
    """Write data/raw/<dataset> and, within it, SOURCE.json, which says where the data come from."""
    spec = load_spec(f"fetch/{dataset}")
    out = Path("data/raw") / dataset
    if spec == NOT_CHOSEN:
        return leave_out(out)
    with atomic(out) as raw:
        record = {"dataset": dataset, **fill(dataset, spec, raw)}
        (raw / "SOURCE.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def fill(dataset: str, spec: dict, raw: Path) -> dict:
    """Bring the benchmark's files into `raw`; return their source and the SHA-256 of archives by name."""
    official = [Archive(**entry | {"urls": tuple(entry["urls"])}) for entry in spec["official"]]
    if spec["source"] == "official":
        return {"source": "official", "archives": from_official(official, Path("data/downloads") / dataset, raw)}
    if spec["source"] == "synthetic":
        from lib.data import formats

        formats.get(dataset).write_synthetic(raw, **spec["synthetic"])
        return {"source": "synthetic", "archives": {}}
    folder = Path(spec["source"]).expanduser()
    return {"source": "local", "archives": from_local(folder, official, LAYOUTS[dataset], raw)}


if __name__ == "__main__":
    run(main)
