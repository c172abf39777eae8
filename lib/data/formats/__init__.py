"""One module per benchmark: `convert` reads its raw layout, `write_synthetic` writes people or hands in that layout."""

from types import ModuleType

from lib.data.formats import coco, freihand, lsp, mpii, rhd, stb
from lib.errors import InputError

_FORMATS = {"coco": coco, "freihand": freihand, "lsp": lsp, "mpii": mpii, "rhd": rhd, "stb": stb}


def get(name: str) -> ModuleType:
    """Return the module of the benchmark `name`; InputError names the known ones if it is none of them."""
    if name not in _FORMATS:
        raise InputError(f"unknown dataset {name!r}; known: {', '.join(_FORMATS)}")
    return _FORMATS[name]
