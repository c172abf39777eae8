"""How long the default takes from a clean clone, one stage at a time and side by side, in turns.

    python -m tests.benchmarks.side_by_side [targets ...] [--rounds 3] [--folder FOLDER]

Each round clones the present commit twice and runs `dvc repro` in one clone, `python -m stages.repro` in the other.
Prints for each, in seconds: the time by the clock, and where the cores' time went: trainings, the other stages, DVC and
the walk themselves, and nothing (idle). Ends with status 1 where dvc.lock or a file of reports/ differ between any two.
The machine has to be Linux's and quiet: what else runs is counted as trainings.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from lib.records import FOLDER, STAGES

COMMANDS = {"dvc repro": ("dvc", "repro"), "stages.repro": ("stages.repro",)}
WIDTHS = {"clock": 8, "trainings": 11, "stages": 8, "DVC": 6, "idle": 6}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    options = parser.parse_args()
    walls: dict[str, list[float]] = {name: [] for name in COMMANDS}
    results = set()
    print(f"{'':14}" + "".join(f"{key:>{width}}" for key, width in WIDTHS.items()))
    for _ in range(options.rounds):
        for name, words in COMMANDS.items():
            with tempfile.TemporaryDirectory(dir=options.folder) as place:
                clone = Path(place) / "clone"
                git("clone", "-q", ".", str(clone))
                times = timed([sys.executable, "-m", *words, *options.targets], clone)
                results.add(git("diff", folder=clone))
            walls[name].append(times["clock"])
            print(f"{name:14}" + "".join(f"{times[key]:{width}.0f}" for key, width in WIDTHS.items()), flush=True)
    serial, parallel = (median(walls[name]) for name in COMMANDS)
    print(f"medians {serial:.0f} and {parallel:.0f} s, ratio {parallel / serial:.2f}")
    if len(results) > 1:
        sys.exit("results differ")


def timed(command: list[str], folder: Path) -> dict[str, float]:
    """Run a command in a clone; seconds by the clock, and of all cores."""
    began, before, own = time.monotonic(), cores(), children()
    with (folder.parent / "log").open("w") as log:
        if subprocess.run(command, cwd=folder, stdout=log, stderr=log).returncode:
            sys.exit(Path(log.name).read_text()[-2000:])
    busy, idle = (after - first for after, first in zip(cores(), before, strict=True))
    own = children() - own
    records = (folder / FOLDER / STAGES).glob("*.json")
    stages = sum(json.loads(record.read_text())["seconds"] for record in records)
    clock = time.monotonic() - began
    return {"clock": clock, "trainings": busy - own, "stages": stages, "DVC": own - stages, "idle": idle}


def cores() -> tuple[float, float]:
    """Seconds that the machine's cores were busy, and idle."""
    numbers = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, idle, waiting, hardware, software = (int(one) / os.sysconf("SC_CLK_TCK") for one in numbers[:7])
    return user + nice + system + hardware + software, idle + waiting


def children() -> float:
    """Seconds of the cores in commands that have ended, without trainings: a server of theirs forks them."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def git(*words: str, folder: Path = Path()) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
