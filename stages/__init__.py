"""One module per DVC stage; each is run as `python -m stages.<name> [argument]` in the repository's root."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.errors import InputError

SPECS = Path("data/specs")


def load_spec(name: str) -> Any:
    """What params.yaml resolves to for a stage, data/specs/<name>.json. Raises InputError where there is none."""
    path = SPECS / f"{name}.json"
    if not path.is_file():
        raise InputError(f"{path} not found: no such entry in params.yaml, or python -m stages.specs has to run first")
    return json.loads(path.read_text())


def run(main: Callable[..., None]) -> None:
    """Call a stage's main with the command line's arguments; bad input ends it with one line and exit status 1."""
    try:
        main(*sys.argv[1:])
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        sys.exit(f"error: {error.strerror or error}{place}")
