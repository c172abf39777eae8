"""Resolve params.yaml into what each stage reads, so that a change re-runs the stages that it changes and no other.

No other stage reads params.yaml: each depends on its own files in data/specs in place of the many keys that they come
from.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from lib.files import atomic
from lib.params import PAPERS, load_params
from lib.params.sections import Data
from stages import SPECS, run

CODE = Path("data/code/train.json")


def main() -> None:
    """Write data/specs: data/<dataset>, packs/<crops>, <paper>/<run>, <paper>, synthesis and complexity, all .json.

    A run's file holds all that its training depends on besides crops and weights, the digest of its code included.
    <paper>.json holds all runs at the paper's own scale.
    """
    params = load_params()
    code = hashlib.sha256(CODE.read_bytes()).hexdigest()
    contents = {f"data/{name}": params.dataset(name).model_dump(mode="json") for name in Data.model_fields}
    contents |= {f"packs/{name}": params.pack_spec(name).model_dump(mode="json") for name in params.packs}
    contents["synthesis"] = params.synthesis_spec().model_dump(mode="json")
    contents["complexity"] = params.complexity.model_dump(mode="json")
    for paper in PAPERS:
        runs = {}
        for name in params.runs(paper):
            spec = params.train_spec(paper, name).model_dump(mode="json")
            contents[f"{paper}/{name}"] = {"seeds": params.seeds, "code": code, "spec": spec}
            runs[name] = params.paper_spec(paper, name).model_dump(mode="json")
        contents[paper] = {"profile": params.profile, "runs": runs}
    with atomic(SPECS) as part:
        for name, content in contents.items():
            write(part / f"{name}.json", content)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
