"""A project of a minute for tests of the graph: five real trainings of seconds, two students of one teacher."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from lib.runs import as_json
from tests import toy

ROOT = Path(__file__).resolve().parents[1]
TEACHER = {"name": "hourglass", "stacks": 2, "channels": 8, "stem": "pytorch-pose"}
TAUGHT = {"teacher": "fpd/teacher", "method": "fpd", "settings": {"alpha": 0.5, "loss": "mse", "variant": "paper"}}
RUNS = {
    "alone": {},
    "teacher": {"model": TEACHER},
    "baseline": {"epochs": 3},
    "student": TAUGHT,
    "student_half": {**TAUGHT, "epochs": 3},
}
SPECS = """
import json, pathlib
for run, content in json.loads(pathlib.Path("runs.json").read_text()).items():
    path = pathlib.Path(f"data/specs/fpd/{run}.json")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
"""
SCORE = """
import csv, json, pathlib
losses = {}
for path in pathlib.Path("models/fpd").glob("*/seed0/history.csv"):
    losses[path.parts[2]] = float(list(csv.DictReader(path.open()))[-1]["loss"])
pathlib.Path("scores.json").write_text(json.dumps(losses, indent=2, sort_keys=True))
"""


def contents(**changes: dict) -> dict:
    """runs.json: what each run trains; `changes` by run."""
    runs = {name: toy.run(name=name, threads=1, **{**RUNS[name], **changes.get(name, {})}) for name in RUNS}
    return {name: {"seeds": [0], "code": {}, "run": as_json(run)} for name, run in runs.items()}


def write_project(root: Path) -> None:
    """A DVC graph: specs, a training per run, score."""
    toy.write_dataset(root, train=8, val=3)
    (root / "specs.py").write_text(SPECS)
    (root / "score.py").write_text(SCORE)
    (root / "runs.json").write_text(json.dumps(contents(), indent=1))
    stages = {
        "specs": stage("python specs.py", ["specs.py", "runs.json"], [f"data/specs/fpd/{run}.json" for run in RUNS])
    }
    for run, changes in RUNS.items():
        deps = [f"data/specs/fpd/{run}.json", "data/crops/lsp", "data/annotations/lsp"]
        deps += ["models/fpd/teacher"] if "teacher" in changes else []
        stages[run] = stage(f"python -m lib.launch -m stages.train fpd/{run}", deps, [f"models/fpd/{run}"])
    stages["score"] = stage("python score.py", ["score.py", *(f"models/fpd/{run}" for run in RUNS)], [])
    stages["score"]["metrics"] = [{"scores.json": {"cache": False}}]
    write_graph(root, stages)


def write_graph(root: Path, stages: dict) -> None:
    """A git repository with these stages in its dvc.yaml, on this project's code."""
    for name in ("lib", "stages", "tests"):
        (root / name).symlink_to(ROOT / name)
    (root / "dvc.yaml").write_text(json.dumps({"stages": stages}, indent=1))
    (root / ".gitignore").write_text("/data\n/models\n/.cache\n/lib\n/stages\n/tests\n")
    (root / ".dvcignore").write_text("__pycache__/\n.cache/\n")
    for command in (["git", "init", "-q"], ["dvc", "init", "-q"], ["git", "add", "-A"]):
        subprocess.run(command, cwd=root, check=True, capture_output=True)
    commit = ["git", "-c", "user.name=Test", "-c", "user.email=test@example.org", "commit", "-qm", "Project"]
    subprocess.run(commit, cwd=root, check=True)


def clear(root: Path) -> None:
    """Take away all that is in a folder, not the folder, which a server of launches may be in."""
    for path in root.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def repro(root: Path, *arguments: str, **changes: str) -> subprocess.CompletedProcess:
    """`python -m stages.repro` in a project; `changes` to its environment."""
    command = [sys.executable, "-m", "stages.repro", *arguments]
    return subprocess.run(command, cwd=root, env=environment(**changes), capture_output=True, text=True, timeout=300)


def dvc(root: Path, *arguments: str) -> str:
    """What a command of DVC prints."""
    done = subprocess.run(["dvc", *arguments], cwd=root, env=environment(), capture_output=True, text=True, check=True)
    return done.stdout


def wait_for(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Wait until a condition holds; the test fails where it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def weights(root: Path, seed: str = "0") -> dict[str, bytes]:
    """The trained networks of a seed, by run; of all seeds, "*", by run and seed."""
    paths = root.glob(f"models/fpd/*/seed{seed}/weights.safetensors")
    return {"/".join(path.parts[-3 : -1 if seed == "*" else -2]): path.read_bytes() for path in paths}


def trained(root: Path) -> set[str]:
    """The stages that ran, by their logs, which are taken away."""
    logs = list((root / ".cache/logs").glob("*.log"))
    for log in logs:
        log.unlink()
    return {log.stem for log in logs}


def stage(command: str, deps: list[str], outs: list[str]) -> dict:
    """An entry of dvc.yaml."""
    return {"cmd": command, "deps": deps, "outs": outs}


def environment(**changes: str) -> dict[str, str]:
    """The environment of a command in the project: this interpreter's own programs first."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **changes}
