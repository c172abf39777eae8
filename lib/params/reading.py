"""YAML into sections, errors as one line that names the key."""

import json
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, TypeAdapter, ValidationError

from lib.errors import InputError
from lib.named import suggestion
from lib.params.parsing import parse

RESTORE = "dvc exp run -S leaves a refused value in the file: set it right, or git checkout params.yaml"


def read_yaml(path: Path) -> dict[str, Any]:
    """The content of a YAML file that is a mapping; InputError, one line, where it is none."""
    content = parse(path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: the file is {shown(content)}; expected a mapping")
    return content


def validated(kind: Any, content: Any, path: Path | str, key: str = "") -> Any:
    """Content as a section or another type; InputError with the file, the key path, the value and what is allowed."""
    adapter = TypeAdapter(kind)
    try:
        return adapter.validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        raise InputError(f"{path}: {describe(error.errors()[0], kind, key)}") from None


def describe(error: dict[str, Any], kind: Any, key: str) -> str:
    """One validation error of pydantic as one line."""
    location, section = resolve([part for part in error["loc"] if part != "[key]"], kind)
    path = ".".join(str(part) for part in ([key] if key else []) + location) or "the file"
    if error["type"] == "extra_forbidden":
        siblings = list(section.model_fields)
        return f"unknown key {path}{suggestion(str(location[-1]), siblings)}; known here: {', '.join(siblings)}"
    if error["type"] == "missing":
        return f"missing key {path}"
    if error["type"] in ("union_tag_invalid", "union_tag_not_found"):
        key = f"{path}.{error['ctx']['discriminator'].strip(chr(39))}"
        if error["type"] == "union_tag_not_found":
            return f"missing key {key}"
        tag, allowed = error["ctx"]["tag"], error["ctx"]["expected_tags"].replace("'", "")
        return f"{key} is {tag!r}{suggestion(tag, allowed.split(', '))}; known: {allowed}"
    message = (
        error["msg"]
        .replace("Tuple", "List")
        .replace("tuple", "list")
        .replace("array", "list")
        .replace("an object", "a mapping")
        .replace(" after validation", "")
    )
    return f"{path} is {shown(error['input'])}: {message[0].lower()}{message[1:]}"


def shown(value: Any) -> str:
    """A value of the file, short."""
    return "a mapping" if isinstance(value, dict) else repr(value)


def resolve(location: list[str | int], kind: Any) -> tuple[list[str | int], Any]:
    """The keys and indices of pydantic's location, and the section of the last one.

    Where a key holds one of several sections pydantic adds the chosen one's name to the location.
    """
    keys: list[str | int] = []
    section = kind
    for part in location:
        if get_origin(kind) is Annotated:
            kind = get_args(kind)[0]
        if get_origin(kind) is UnionType:
            chosen = [one for one in get_args(kind) if part in tags(one)]
            kind = chosen[0] if chosen else next(one for one in get_args(kind) if one is not type(None))
            if chosen:
                continue
        keys.append(part)
        section = kind
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            kind = kind.model_fields[part].annotation if part in kind.model_fields else None
        else:
            arguments = get_args(kind) or (None,)
            kind = arguments[-1] if isinstance(part, str) else arguments[0]
    return keys, section


def tags(section: Any) -> list[str]:
    """What the keys of a section may be that take one of several words: its name among them."""
    fields = section.model_fields.values() if isinstance(section, type) and issubclass(section, BaseModel) else ()
    return [word for field in fields for word in get_args(field.annotation)]
