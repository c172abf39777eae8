"""Run a module and note which parameters it reads: `python -m tests.record_params FILE module arguments...`."""

import json
import runpy
import sys
from pathlib import Path


def record(read: set[str]) -> None:
    """From the next load_params on, add the key path of every parameter that is read to `read`."""
    from lib import params as settings

    places: dict[int, str] = {}
    load, get = settings.load_params, settings.Section.__getattribute__

    def index(value: object, path: str) -> None:
        if isinstance(value, settings.Section):
            places[id(value)] = path
            for key in type(value).model_fields:
                index(getattr(value, key), f"{path}.{key}" if path else key)
        elif isinstance(value, dict):
            for key, part in value.items():
                index(part, f"{path}.{key}")

    def load_and_record(*arguments):
        loaded = load(*arguments)
        index(loaded, "")
        settings.Section.__getattribute__ = noting
        return loaded

    def noting(self, key):
        if id(self) in places and key in type(self).model_fields:
            read.add(f"{places[id(self)]}.{key}".lstrip("."))
        return get(self, key)

    settings.load_params = load_and_record


if __name__ == "__main__":
    file, module, *arguments = sys.argv[1:]
    read: set[str] = set()
    if Path("lib/params").is_dir():  # absent where a stage declares no dependency on it
        record(read)
    sys.argv = [module, *arguments]
    try:
        runpy.run_module(module, run_name="__main__")
    finally:
        # A section on the way to a deeper key was not read itself.
        ends = sorted(key for key in read if not any(other.startswith(f"{key}.") for other in read))
        with open(file, "w") as out:
            json.dump(ends, out)
