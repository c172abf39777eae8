"""Where and in what time a run was trained: beside the results, which are functions of their inputs alone.

DVC knows nothing of these files. What it restores from its cache has none, unless this machine trained it.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lib.files import atomic

FOLDER = Path(".cache/records")
STAGES = "stages"  # below it: how long each stage took
TRAINING = "stages.train"


def write_record(label: str, record: dict[str, Any]) -> None:
    """Keep the record of the run <paper>/<name>: by seed, `lib.environment.describe` and seconds, images_per_second."""
    with atomic(FOLDER / f"{label}.json") as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def read_record(label: str) -> dict[str, Any]:
    """The record of a run by seed; empty where it was not trained here."""
    path = FOLDER / f"{label}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def write_seconds(module: str, arguments: Sequence[str], seconds: float) -> None:
    """Keep how long a stage took the last time; a training's seeds have records of their own."""
    if module != TRAINING:
        write_record(stage_label(f"{module} {' '.join(arguments)}"), {"seconds": round(seconds, 2)})


def read_seconds(command: str) -> float | None:
    """How long the stage of a command of dvc.yaml took the last time; None where it never ran here.

    A training's seeds are summed: they are recorded when they are trained; the stage itself may only have found them.
    """
    call = command.rpartition("-m ")[2]
    module, _, arguments = call.partition(" ")
    if module == TRAINING:
        seeds = read_record(arguments).values()
        return sum(seed["seconds"] for seed in seeds) if seeds else None
    return read_record(stage_label(call)).get("seconds")


def stage_label(call: str) -> str:
    """The name of a stage's record; call: its module and arguments."""
    return f"{STAGES}/{call.strip().replace('/', '.')}"
