"""One module per DVC stage; each is run as `python -m stages.<name> [argument]` in the repository's root."""

import inspect
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lib.errors import InputError
from lib.files import LEFT_OUT, atomic
from lib.records import write_seconds

SPECS = Path("data/specs")
NOT_CHOSEN = {"chosen": False}  # the spec of what params.yaml leaves out: nothing in it can change


def load_spec(name: str) -> Any:
    """What params.yaml resolves to for a stage, data/specs/<name>.json. Raises InputError where there is none."""
    path = SPECS / f"{name}.json"
    if not path.is_file():
        raise InputError(f"{path} not found: no such entry in params.yaml, or python -m stages.specs has to run first")
    return json.loads(path.read_text(encoding="utf-8"))


def leave_out(out: Path) -> None:
    """Write in the place of an output that params.yaml does not ask for it."""
    with atomic(out) as folder:
        folder.mkdir()
        (folder / LEFT_OUT).write_text("left out by benchmarks or rows of params.yaml\n", encoding="utf-8")


def check_words(main: Callable[..., None], words: Sequence[str]) -> None:
    """Refuse words that a stage's main does not take, and answer -h and --help where it reads none itself."""
    signature = inspect.signature(main)
    if any(one.kind is one.VAR_POSITIONAL for one in signature.parameters.values()):
        return
    stage = sys.modules[main.__module__]
    if {"-h", "--help"} & set(words):
        print(stage.__doc__)
        sys.exit()
    try:
        signature.bind(*words)
    except TypeError as error:
        usage = " ".join(["python -m", stage.__spec__.name, *(f"<{name}>" for name in signature.parameters)])
        raise InputError(f"{error}; expected {usage}") from None


def run(main: Callable[..., None]) -> None:
    """Call a stage's main with the command line's arguments; bad input ends it with one line and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # what the terminal's encoding lacks
    began = time.monotonic()
    try:
        check_words(main, sys.argv[1:])
        main(*sys.argv[1:])
        if len(sys.argv) <= 2:  # as the stages of dvc.yaml are called
            write_seconds(sys.modules["__main__"].__spec__.name, sys.argv[1:], time.monotonic() - began)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)  # as a shell has it
    except InputError as error:
        sys.exit(f"error: {error}")
    except OSError as error:
        place = f": {error.filename}" if error.filename else ""
        sys.exit(f"error: {error.strerror or error}{place}")
