"""YAML text into plain values, within bounds: any file is read in a moment or refused with one line."""

import math
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent

from lib.errors import InputError

BYTES = 1 << 20  # of a file; params.yaml has 30,000
DEPTH = 50  # of mappings and lists in each other
VALUES = 100_000  # of a file, those that aliases repeat counted as often; params.yaml has 2,500
ANCHORS = 1_000  # that aliases may name
WHOLE = 2**63 - 1  # the greatest whole number
LONGEST = 10_000  # characters of a text


def parse(path: Path) -> Any:
    """The content of a YAML file of one document: mappings by text, lists, texts, finite numbers, true, false and null.

    YAML 1.2, so 1e-3 is a number as it is for DVC. Raises InputError, which names the line or the key, where the file
    is absent, not UTF-8, too large or too deep, stands for more than could be written out, or holds anything else.
    """
    text = read(path)
    try:
        bound(text, path)
        content = YAML(typ="safe").load(text)
    except MarkedYAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(str(error.problem or error.context).split())
        raise InputError(f"{path}{line}: not YAML: {problem}; expected YAML 1.2: mend the line") from None
    except InputError:
        raise
    except Exception as error:  # what the parser and the makers of dates, sets and numbers stumble over
        reason = " ".join(str(error).split())[:100] or type(error).__name__
        raise InputError(f"{path}: not YAML: {reason}; expected YAML 1.2: mend or restore the file") from None
    check(content, [], path)
    return content


def read(path: Path) -> str:
    """The text of a file; InputError where it is absent, too large, not UTF-8, or has characters that no text has."""
    try:
        with open(path, "rb") as file:
            raw = file.read(BYTES + 1)
    except FileNotFoundError:
        raise InputError(f"{path} not found: run in the repository's root") from None
    if len(raw) > BYTES:
        raise InputError(f"{path} has more than {BYTES:,} bytes; expected a file of settings: restore it")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}, line {line}: not UTF-8; save the file in that encoding") from None
    odd = next((at for at, char in enumerate(text) if char < " " and char not in "\n\r\t"), None)
    if odd is not None:
        line = text.count("\n", 0, odd) + 1
        raise InputError(f"{path}, line {line}: the character {text[odd]!r} is no text; take it out, save as UTF-8")
    return text


def bound(text: str, path: Path) -> None:
    """Refuse a text that is too deep or stands for too many values, from its tokens alone, before anything is built."""
    open_nodes: list[tuple[str | None, int]] = []  # anchor, and how many values came before
    sizes: dict[str, int] = {}  # values within an anchored node
    values = 0
    for event in YAML(typ="safe").parse(text):
        where = f"{path}, line {event.start_mark.line + 1}"
        if isinstance(event, AliasEvent):
            if event.anchor not in sizes and any(anchor == event.anchor for anchor, _ in open_nodes):
                raise InputError(f"{where}: *{event.anchor} is within &{event.anchor} itself; write out what is meant")
            values += sizes.get(event.anchor, 0)
        elif isinstance(event, NodeEvent):
            values += 1
            if isinstance(event, CollectionStartEvent):
                open_nodes.append((event.anchor, values))
            elif event.anchor:
                sizes[event.anchor] = 1
        elif isinstance(event, CollectionEndEvent):
            anchor, before = open_nodes.pop()
            if anchor:
                sizes[anchor] = values - before + 1
        if len(open_nodes) > DEPTH:
            raise InputError(f"{where}: more than {DEPTH} levels; expected a few: take the brackets or indents out")
        if values > VALUES or len(sizes) > ANCHORS:
            most = f"more than {VALUES:,} values, aliases counted, or {ANCHORS:,} anchors"
            raise InputError(f"{where}: {most}; write out what is meant")


def check(value: Any, keys: list[str], path: Path) -> None:
    """Refuse, by its key, what is neither text nor a finite number of the usual size nor one of YAML's plain kinds."""
    where = f"{path}: {'.'.join(keys) or 'the file'}"
    if isinstance(value, dict):
        for key, inside in value.items():
            if not isinstance(key, str):
                raise InputError(f"{where} has the key {str(key)[:50]}, no text; expected a name: put it in quotes")
            check(key, [*keys, key[:50]], path)
            check(inside, [*keys, key[:50]], path)
    elif isinstance(value, list):
        for number, inside in enumerate(value):
            check(inside, [*keys, str(number)], path)
    elif isinstance(value, str):
        if len(value) > LONGEST:
            raise InputError(f"{where} is a text of {len(value):,} characters; expected {LONGEST:,} at most")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{where} is {value}; expected a finite number")
    elif isinstance(value, int):
        if abs(value) > WHOLE:
            raise InputError(f"{where} is a number of {value.bit_length()} bits; expected {WHOLE:,} at most")
    elif value is not None:
        raise InputError(f"{where} is a {kind(value)}; expected text, a number, true, false, null, a list or a mapping")


def kind(value: Any) -> str:
    """What a value of YAML is, in a word."""
    names = {"datetime": "date", "TimeStamp": "date", "tuple": "list", "NoneType": "null", "bytes": "text of bytes"}
    names |= {"int": "number", "float": "number", "bool": "truth value"}
    return names.get(type(value).__name__, type(value).__name__)
