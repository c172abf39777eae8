"""Trainings that are killed at random moments end in the weights, bit by bit, of those that were left alone.

    python -m tests.benchmarks.kills [fpd/lsp_fpd ...] [--kills 20] [--folder FOLDER]

In a copy of the project with drawn data, each run is trained once with what it starts from, then again and again under
KILL, TERM and INT at random moments, with its state written after every step. Prints a line per run: kills, trainings
that came to their end between them, and whether all of these have the same weights and history.
"""

import argparse
import hashlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lib.params import Params, load_params

RUNS = ("fpd/lsp_fpd", "cdkd/lsp_cdkd_64", "cmkg/rhd_prior_l2")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TRAIN = """
import sys
from lib.training import loop
from stages.train import main
loop.CHECK_STEPS, loop.CHECKPOINT_SECONDS = 1, 0.0
main(sys.argv[1])
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", default=RUNS)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp())
    params = load_params()
    prepare(folder, params, options.runs)
    same = [endure(folder, label, options.kills) for label in options.runs]
    sys.exit(0 if all(same) else 1)


def prepare(folder: Path, params: Params, labels: list[str]) -> None:
    """The project with the data that the runs need and the trainings that they start from."""
    for name in ("lib", "stages"):
        shutil.copytree(name, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy("params.yaml", folder)
    needed = [label for one in labels for label in partners(params, one)]
    runs = [params.run(label) for label in dict.fromkeys((*needed, *labels))]
    stage(folder, "specs")
    for dataset in dict.fromkeys(run.dataset for run in runs):
        stage(folder, "fetch", dataset)
        stage(folder, "convert", dataset)
    for crops in dict.fromkeys(run.crops for run in runs):
        stage(folder, "pack", crops)
    if any(run.synthetic for run in runs):
        stage(folder, "synthesize")
    for label in dict.fromkeys(needed):
        stage(folder, "train", label)


def partners(params: Params, label: str) -> list[str]:
    """The runs that a run starts or learns from, their own first."""
    run = params.run(label)
    named = [one for one in (run.teacher, run.init, run.prior) if one]
    return [other for one in named for other in (*partners(params, one), one)]


def stage(folder: Path, *arguments: str) -> None:
    module, *rest = arguments
    subprocess.run([sys.executable, "-m", f"stages.{module}", *rest], cwd=folder, check=True)


def endure(folder: Path, label: str, kills: int) -> bool:
    """Kill a training so often; whether every one that ended is like the one that was left alone."""
    began = time.monotonic()
    training(folder, label).wait()
    seconds, expected = time.monotonic() - began, digest(folder, label)
    forget(folder, label)
    moments, done, ends, same = random.Random(label), 0, 0, True
    while done < kills:
        process = training(folder, label)
        time.sleep(moments.uniform(0, seconds))
        if process.poll() is None:
            process.send_signal(moments.choice(SIGNALS))
            done += process.wait() != 0
        else:
            ends, same = ends + 1, same and digest(folder, label) == expected
            forget(folder, label)
    training(folder, label).wait()
    same = same and digest(folder, label) == expected
    print(f"{label}: {done} kills, {ends + 1} trainings to the end, {'all alike' if same else 'NOT ALIKE'}", flush=True)
    return same


def training(folder: Path, label: str) -> subprocess.Popen:
    quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    # In a shell's background SIGINT is ignored, which children inherit.
    heed = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}
    return subprocess.Popen([sys.executable, "-c", TRAIN, label], cwd=folder, **quiet, **heed)


def digest(folder: Path, label: str) -> str:
    """Of the weights and histories of a run."""
    files = sorted((folder / "models" / label).glob("seed*/[wh]*"))
    return (
        hashlib.sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest() if files else ""
    )


def forget(folder: Path, label: str) -> None:
    """Remove a training and its state."""
    for place in (folder / "models" / label, folder / ".cache/training"):
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    main()
