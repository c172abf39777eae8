"""Modules that are found by name: a method, a network, a codec, a benchmark or a paper is the file of its name."""

from collections.abc import Iterable
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from types import ModuleType

from lib.errors import InputError

ROOT = Path(__file__).resolve().parents[1]


def names(package: str) -> tuple[str, ...]:
    """Names of the modules of a package of this project, such as "lib.tasks", sorted."""
    folder = ROOT.joinpath(*package.split("."))
    return tuple(sorted(path.stem for path in folder.glob("*.py") if path.stem != "__init__"))


def find(package: str, name: str, key: str, listed: str | None = None) -> ModuleType:
    """The module `name` of a package; InputError, which begins with `key`, where there is none.

    listed: another package, whose modules' names are the ones that are told.
    """
    if name not in names(package):
        known = names(listed or package)
        raise InputError(f"{key} is {name!r}{suggestion(str(name), known)}; known: {', '.join(known)}")
    return import_module(f"{package}.{name}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """` (did you mean ...?)` where a known name is near, else nothing."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f" (did you mean {near[0]}?)" if near else ""
