"""Which stages `dvc repro` would run, and why, told without running one."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import networkx
from dvc.exceptions import DvcException
from dvc.repo import Repo
from dvc.stage import Stage

from lib.errors import InputError, with_cause

SPECS = "data/specs"
SHOWN = 3  # reasons for one stage


@dataclass(frozen=True)
class Forecast:
    """One stage that is out of date. certain: it runs; else only if what it reads comes out differently."""

    name: str
    command: str
    certain: bool
    reasons: tuple[str, ...]


def forecast(specs: Mapping[str, Any], targets: list[str]) -> list[Forecast]:
    """The stages behind these targets, or all, that are out of date, in the order in which they would run.

    specs: what stages.specs would write now, by name. Raises InputError for unknown targets and a broken dvc.yaml.
    """
    fresh = {f"{SPECS}/{name}.json": json.dumps(content, indent=2) + "\n" for name, content in specs.items()}
    try:
        with Repo() as repo:
            graph = repo.index.graph
            wanted = {stage for target in targets for stage in repo.stage.collect(target)} if targets else set(graph)
            needed = wanted.union(*(networkx.descendants(graph, stage) for stage in wanted))
            order = [stage for stage in networkx.dfs_postorder_nodes(graph) if stage in needed]
            return list(outdated(order, graph, fresh))
    except DvcException as error:
        raise InputError(with_cause(error)) from None


def outdated(order: list[Stage], graph: networkx.DiGraph, fresh: Mapping[str, str]) -> Iterator[Forecast]:
    """Those that are out of date, each after those it depends on."""
    stale: dict[Stage, Forecast] = {}
    for stage in order:
        if stage.addressing == "specs":
            continue
        before = [stale[one] for one in graph.successors(stage) if one in stale]
        own = reasons(stage, fresh, {out for one in graph.successors(stage) if one in stale for out in paths(one.outs)})
        if own or before:
            follows = (f"after {', '.join(one.name for one in before[:SHOWN])}" + " …" * (len(before) > SHOWN),)
            stale[stage] = Forecast(stage.addressing, str(stage.cmd), bool(own), own or follows)
            yield stale[stage]


def reasons(stage: Stage, fresh: Mapping[str, str], remade: set[str]) -> tuple[str, ...]:
    """Why a stage runs whatever comes out of those before it; remade: paths that they write anew."""
    if not stage.deps or stage.deps[0].hash_info.value is None:
        return ("never ran",)
    found = [f"command changed to {stage.cmd}"] if stage.cmd_changed else []
    for dep in stage.deps:
        if dep.def_path in fresh:
            if hashlib.md5(fresh[dep.def_path].encode()).hexdigest() != dep.hash_info.value:
                found += differences(Path(dep.def_path), fresh[dep.def_path])
        elif dep.def_path.startswith(f"{SPECS}/"):
            found.append(f"{dep.def_path} is of nothing in params.yaml")
        elif not any(below(path, dep.def_path) for path in remade):
            found += [f"{dep.def_path} {'changed' if dep.exists else 'is missing'}"] if dep.changed_checksum() else []
    for out in stage.outs:
        if not out.exists:
            found.append(f"{out.def_path} is missing")
        elif out.changed_checksum():
            found.append(f"{out.def_path} was changed")
    return tuple(found[:SHOWN]) + (("…",) if len(found) > SHOWN else ())


def below(path: str, parent: str) -> bool:
    """Whether one path is another, or lies in it, either way round."""
    return f"{path}/".startswith(f"{parent}/") or f"{parent}/".startswith(f"{path}/")


def paths(outs: list) -> list[str]:
    """Their paths as dvc.yaml has them."""
    return [out.def_path for out in outs]


def differences(path: Path, fresh: str) -> list[str]:
    """What of a spec changed: dotted keys with old and new values, files of code by name."""
    if not path.is_file():
        return [f"{path.name} is new"]
    old, new = flat(json.loads(path.read_text(encoding="utf-8"))), flat(json.loads(fresh))
    found = []
    for key in dict.fromkeys([*old, *new]):
        if old.get(key) != new.get(key):
            values = f"{old.get(key, 'nothing')} → {new.get(key, 'nothing')}"
            found.append(key.removeprefix("code/") if key.startswith("code/") else f"{key}: {values}")
    return found or ["settings or code changed since it ran"]


def flat(content: Any, key: str = "") -> dict[str, Any]:
    """Nested mappings as one, by dotted keys; of code by path."""
    if not isinstance(content, dict):
        return {key: content}
    separator = "/" if key == "code" else "."
    return {
        name: value
        for part, one in content.items()
        for name, value in flat(one, f"{key}{separator}{part}" if key else part).items()
    }
