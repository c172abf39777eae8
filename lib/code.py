"""The code that a module runs: the files that importing it can load, and what in them can change a result."""

import ast
import hashlib
from pathlib import Path


def import_closure(module: str, root: Path) -> list[str]:
    """Paths, relative to `root`, of all its modules that importing `module` can load, sorted.

    Imports inside functions count; names that are no module of `root` are other people's packages.
    """
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        path = name.replace(".", "/")
        file = next((file for file in (f"{path}.py", f"{path}/__init__.py") if (root / file).is_file()), None)
        if file is None or file in seen:
            continue
        seen.add(file)
        waiting.append(name.rpartition(".")[0])  # a package's __init__ runs first
        for node in ast.walk(ast.parse((root / file).read_text())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return sorted(seen)


def digest(source: str) -> str:
    """SHA-256 of Python code without its comments, docstrings and layout, which change no result."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return hashlib.sha256(ast.unparse(tree).encode()).hexdigest()
