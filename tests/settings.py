"""The project's params.yaml, changed."""

import copy
from pathlib import Path

from ruamel.yaml import YAML

from lib.params import Params, load_params

CONTENT = YAML(typ="safe").load(Path("params.yaml"))


def load_changed(folder: Path, changes: dict[str, object]) -> Params:
    """Load params.yaml with values replaced at dotted paths, from a folder; ... deletes the key."""
    content = copy.deepcopy(CONTENT)
    for path, value in changes.items():
        *parents, last = path.split(".")
        place = content
        for key in parents:
            place = place[key]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    file = folder / "params.yaml"
    YAML().dump(content, file)
    return load_params(file)
