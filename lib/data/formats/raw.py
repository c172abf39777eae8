"""What the raw folder of every benchmark has: images, and SOURCE.json where fetch filled it."""

import json
from collections.abc import Iterable
from pathlib import Path

from lib.errors import InputError


def source(raw: Path) -> str:
    """Where the data come from: "synthetic", "official" or "local"."""
    record = raw / "SOURCE.json"
    return json.loads(record.read_text())["source"] if record.exists() else "local"


def require_images(folder: Path, names: Iterable[str]) -> None:
    """Raise InputError, with their number and the first ones, where images are not in `folder`."""
    names = list(names)
    found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
    missing = [name for name in names if name not in found]
    if missing:
        first = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise InputError(
            f"{folder} lacks {len(missing)} of the {len(names)} annotated images: {first}; extract their archive again"
        )
