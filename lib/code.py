"""The code that can change a result: the files that a module can load, and what in them counts."""

import ast
import hashlib
import json
from collections.abc import Collection, Iterable
from functools import cache
from pathlib import Path
from typing import Any

from lib.errors import InputError

# What these do reaches no output: error texts, progress, provenance, starting processes.
SILENT = frozenset({"lib.errors", "lib.environment", "lib.launch", "lib.records", "lib.training.progress"})

EMPTY_WORDS = ("ctx", "kind", "type_comment")  # fields of a syntax tree that follow from others, or say nothing


def digests(modules: Iterable[str], root: Path, without: Collection[str] = ()) -> dict[str, str]:
    """Digests by path, relative to `root`, of all its files that importing these modules can load, sorted.

    SILENT modules and those of `without`, with what is below them, are left out, and so is what only they load.
    """
    return {
        path: _file_digest(root / path, (root / path).stat().st_mtime_ns) for path in closure(modules, root, without)
    }


def closure(modules: Iterable[str], root: Path, without: Collection[str] = ()) -> list[str]:
    """Paths, relative to `root`, of all its modules that importing these can load, sorted.

    Imports inside functions count; names that are no module of `root` are other people's packages.
    """
    left_out = SILENT.union(without)
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if any(name == one or name.startswith(f"{one}.") for one in left_out):
            continue
        path = name.replace(".", "/")
        file = next((file for file in (f"{path}.py", f"{path}/__init__.py") if (root / file).is_file()), None)
        if file is None or file in seen:
            continue
        seen.add(file)
        waiting.append(name.rpartition(".")[0])  # a package's __init__ runs first
        waiting += _imports(root, file, (root / file).stat().st_mtime_ns)
    return sorted(seen)


@cache
def _imports(root: Path, file: str, changed: int) -> tuple[str, ...]:
    """Names that a file, as it was at a time, imports. Raises InputError where it is no Python."""
    try:
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise InputError(f"{file}, line {error.lineno}: not Python: {error.msg}") from None
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = file.split("/")[: -node.level] if node.level else []  # of a relative import
            module = ".".join([*above, *([node.module] if node.module else [])])
            found += [module, *(f"{module}.{alias.name}" for alias in node.names)]
    return tuple(found)


@cache
def _file_digest(path: Path, changed: int) -> str:
    return digest(path.read_text(encoding="utf-8"))


def digest(source: str) -> str:
    """SHA-256 of what in Python code can change a result, the same on every version of Python.

    Comments, docstrings, layout and what raised errors say do not count.
    """
    return hashlib.sha256(json.dumps(_plain(ast.parse(source))).encode()).hexdigest()


def _plain(node: Any) -> Any:
    """A syntax tree as lists and texts: fields that are empty or that only some versions have are left out."""
    if isinstance(node, list):
        return [_plain(one) for one in node]
    if not isinstance(node, ast.AST):
        return ascii(node)
    if isinstance(node, ast.Constant):
        return ["Constant", ascii(node.value)]
    if isinstance(node, ast.Raise):
        return ["Raise", _plain(node.exc.func if isinstance(node.exc, ast.Call) else node.exc)]
    fields = dict(ast.iter_fields(node))
    documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    if documented and ast.get_docstring(node, clean=False) is not None:
        fields["body"] = node.body[1:] or [ast.Pass()]
    if isinstance(node, ast.JoinedStr):
        fields["values"] = _joined(node.values)
    kept = {name: value for name, value in fields.items() if name not in EMPTY_WORDS and value not in (None, [])}
    return [type(node).__name__, *([name, _plain(value)] for name, value in kept.items())]


def _joined(values: list[ast.expr]) -> list[ast.expr]:
    """The parts of an f-string, neighbouring texts as one: versions of Python cut them differently."""
    parts: list[ast.expr] = []
    for value in values:
        last = parts[-1] if parts else None
        if isinstance(value, ast.Constant) and isinstance(last, ast.Constant):
            parts[-1] = ast.Constant(str(last.value) + str(value.value))
        elif not (isinstance(value, ast.Constant) and value.value == ""):
            parts.append(value)
    return parts
