"""What the raw folder of every benchmark has: images, annotations, and SOURCE.json where fetch filled it."""

import json
import reprlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lib.errors import InputError

FARTHEST = 1e6  # px from an image's corner: what lies farther away is a mistake, not a label


def source(raw: Path) -> str:
    """Where the data come from: "synthetic", "official" or "local"."""
    record = raw / "SOURCE.json"
    return json.loads(record.read_text(encoding="utf-8"))["source"] if record.exists() else "local"


def require_images(folder: Path, names: Iterable[str]) -> None:
    """Raise InputError, with their number and the first ones, where images are not in `folder`."""
    names = list(names)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [name for name in names if name not in found]
    if missing:
        first = ", ".join(name[:100] for name in missing[:3]) + (", …" if len(missing) > 3 else "")
        raise InputError(
            f"{folder} lacks {len(missing)} of the {len(names)} annotated images: {first}; extract their archive again"
        )


def read_json(path: Path, remedy: str, keep: Callable[[dict], dict] | None = None) -> Any:
    """Content of a JSON file; `keep` is given every object of it and says what to take in its place.

    Raises InputError, which ends with `remedy`, where the file is missing, not JSON in UTF-8, or nested too deeply.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), object_hook=keep)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {remedy}") from None
    except RecursionError:
        raise InputError(f"{path} is not a readable JSON file: it is nested too deeply; {remedy}") from None
    except ValueError as error:
        raise InputError(f"{path} is not a readable JSON file: {error}; {remedy}") from None


def finite(value: Any, most: float = FARTHEST) -> bool:
    """Whether a value of a JSON file is a number from -most to most."""
    return type(value) in (int, float) and -most <= value <= most


def whole(value: Any, low: int, high: int = 2**63 - 1) -> bool:
    """Whether a value of a JSON file is a whole number from low to high."""
    return type(value) is int and low <= value <= high


def shown(value: Any) -> str:
    """A value for a message: the beginning of what is long."""
    return reprlib.repr(value)
