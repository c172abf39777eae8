"""The DVC graph as the tests see it: stages with their code, data, parameters and outputs."""

import ast
from dataclasses import dataclass
from pathlib import Path

from dvc.repo import Repo

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Stage:
    """One resolved stage of dvc.yaml; paths are relative to the repository's root."""

    name: str
    command: str
    deps: frozenset[str]
    params: frozenset[str]
    outs: frozenset[str]

    @property
    def module(self) -> str:
        """The module that the command runs."""
        words = self.command.split()
        return words[words.index("-m") + 1]

    @property
    def code(self) -> frozenset[str]:
        """The Python files among the dependencies, folders unfolded."""
        files = (ROOT / dep for dep in self.deps if dep.startswith(("lib/", "stages/")))
        unfolded = [path for file in files for path in (file.rglob("*.py") if file.is_dir() else [file])]
        return frozenset(str(path.relative_to(ROOT)) for path in unfolded if path.suffix == ".py")


def load_stages() -> list[Stage]:
    """All stages of dvc.yaml, each after those it depends on."""
    stages = []
    with Repo(str(ROOT)) as repo:
        import networkx

        order = networkx.dfs_postorder_nodes(repo.index.graph)
        for stage in order:
            params = [key for dep in stage.deps if getattr(dep, "params", None) for key in dep.params]
            deps = [dep.def_path for dep in stage.deps if not getattr(dep, "params", None)]
            outs = [out.def_path for out in stage.outs]
            stages.append(Stage(stage.addressing, stage.cmd, frozenset(deps), frozenset(params), frozenset(outs)))
    return stages


def import_closure(module: str) -> frozenset[str]:
    """All files of lib/ and stages/ that importing a module can load, imports inside functions included."""
    seen: set[str] = set()
    waiting = [module]
    while waiting:
        name = waiting.pop()
        file = next(
            (
                f
                for f in (f"{name.replace('.', '/')}.py", f"{name.replace('.', '/')}/__init__.py")
                if (ROOT / f).is_file()
            ),
            None,
        )
        if file is None or file in seen:
            continue
        seen.add(file)
        waiting.append(name.rpartition(".")[0])  # a package's __init__ runs first
        for node in ast.walk(ast.parse((ROOT / file).read_text())):
            if isinstance(node, ast.Import):
                waiting += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                waiting += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return frozenset(seen)
