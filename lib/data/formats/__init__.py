"""One module per benchmark: `convert` reads its raw layout, `write_synthetic` writes people or hands in that layout."""

from types import ModuleType

from lib.errors import InputError
from lib.named import find


def get(name: str) -> ModuleType:
    """Return the module of the benchmark `name`; InputError where there is none."""
    module = find("lib.data.formats", name, "dataset")
    if not hasattr(module, "convert"):
        raise InputError(f"dataset is {name!r}, which is a part of a benchmark's reader")
    return module
