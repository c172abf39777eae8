"""The DVC graph as the tests see it: stages with their code, data and outputs."""

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
    outs: frozenset[str]

    @property
    def module(self) -> str:
        """The module that the command runs, by a launcher or not."""
        words = self.command.split()
        return words[len(words) - words[::-1].index("-m")]

    @property
    def arguments(self) -> list[str]:
        """The words behind the module."""
        return self.command.partition(self.module)[2].split()

    @property
    def spec(self) -> str:
        """The file that stands for its code and settings; the stage that writes them has none."""
        name = self.module.removeprefix("stages.")
        names = {"train": "/".join(self.arguments), "synthesize": name, "complexity": name}
        if name in ("fetch", "convert", "pack"):
            names[name] = f"{name}/{self.arguments[0]}"
        return f"data/specs/{names.get(name, f'code/{name}')}.json"


def load_stages(root: Path = ROOT) -> list[Stage]:
    """All stages of a repository's dvc.yaml, each after those it depends on."""
    stages = []
    with Repo(str(root)) as repo:
        import networkx

        order = networkx.dfs_postorder_nodes(repo.index.graph)
        for stage in order:
            deps = [dep.def_path for dep in stage.deps]
            outs = [out.def_path for out in stage.outs]
            stages.append(Stage(stage.addressing, stage.cmd, frozenset(deps), frozenset(outs)))
    return stages
