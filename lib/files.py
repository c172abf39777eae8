"""Files and folders that exist completely or not at all, and tables in CSV."""

import csv
import hashlib
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

LEFT_OUT = "not_run.txt"  # in the place of an output that params.yaml does not ask for
LITTER = ("__MACOSX", ".DS_Store", "._*")


def remove(path: Path) -> None:
    """Delete a file or a folder with its content; nothing happens where nothing is."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def atomic(path: Path | str) -> Iterator[Path]:
    """Yield a temporary neighbour of `path`; it replaces `path` on success and is deleted on failure.

    The caller creates a file or a folder at the yielded path. Parent folders are made. What a killed process left there
    is deleted first.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.part")
    remove(temporary)
    try:
        yield temporary
        if temporary.is_dir():
            remove(path)
        os.replace(temporary, path)
    finally:
        remove(temporary)


def is_litter(path: PurePath) -> bool:
    """Whether macOS put this file, or one of the folders it is in, beside the content."""
    return any(PurePath(part).match(pattern) for part in path.parts for pattern in LITTER)


def walk(folder: Path) -> Iterator[Path]:
    """Every file below a folder in the order of names, without macOS litter.

    Links are followed, but not to a folder that the link is in: that would have no end.
    """

    def below(place: Path, above: tuple[Path, ...]) -> Iterator[Path]:
        for path in sorted(place.iterdir()):
            if is_litter(PurePath(path.name)):
                continue
            if path.is_dir():
                real = path.resolve()
                if real not in above:
                    yield from below(path, (*above, real))
            else:
                yield path

    yield from below(folder, (folder.resolve(),))


def sha256(path: Path | str) -> str:
    """SHA-256 of a file's bytes as 64 hexadecimal digits."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows with a heading, the columns in the order of their first appearance; what a row lacks stays blank."""
    columns = dict.fromkeys(name for row in rows for name in row)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a CSV file with a heading."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))
