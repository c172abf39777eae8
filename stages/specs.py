"""Resolve params.yaml into what each run trains, so that a change re-runs the trainings that it changes and no other.

A training depends on the file of its run in data/specs in place of the many keys that it comes from.
"""

import json
from pathlib import Path
from typing import Any

from lib.files import atomic
from lib.params import PAPERS, load_params
from stages import run

OUT = Path("data/specs")


def main() -> None:
    """Write data/specs/<paper>/<run>.json and, with all runs of a paper at its own scale, data/specs/<paper>.json."""
    params = load_params()
    with atomic(OUT) as part:
        for paper in PAPERS:
            (part / paper).mkdir(parents=True)
            full = {}
            for name in params.runs(paper):
                spec = params.train_spec(paper, name).model_dump(mode="json")
                write(part / paper / f"{name}.json", {"seeds": params.seeds, "spec": spec})
                full[name] = params.paper_spec(paper, name).model_dump(mode="json")
            write(part / f"{paper}.json", full)


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    run(main)
