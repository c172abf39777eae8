"""Run the graph as `dvc repro` does, trainings side by side on all cores, or one on each GPU."""

import argparse
import signal
import sys
from pathlib import Path

from dvc.exceptions import DvcException
from dvc.utils.hydra import apply_overrides

from lib.errors import InputError, with_cause
from lib.files import locked
from lib.graph.cluster import Cluster
from lib.graph.records import Records
from lib.graph.view import View
from lib.graph.walk import Walk
from lib.graph.workers import Machine
from lib.params import PARAMS
from stages import load_spec, run

LOCK = Path(".cache/repro.lock")


def main(*arguments: str) -> None:
    """Run what the targets need and record it with DVC; exit status 1 where a stage failed."""
    parser = argparse.ArgumentParser(prog="python -m stages.repro", description=__doc__)
    parser.add_argument("targets", nargs="*", help="stages, as for dvc repro; all without")
    parser.add_argument(
        "--set-param", "-S", action="append", default=[], metavar="KEY=VALUE", help="as dvc exp run does"
    )
    parser.add_argument("--jobs", "-j", type=places, help="trainings at once; one per GPU, or all cores, without")
    parser.add_argument("--ray", metavar="ADDRESS", help="trainings are tasks of a Ray cluster that shares this folder")
    parser.add_argument("--gpus", type=float, help="GPUs of a training on the cluster, such as 0.25; 1 without")
    options = parser.parse_args(arguments)
    with locked(LOCK, "The graph of this folder", wait=False):
        try:
            if options.set_param:
                apply_overrides(PARAMS, options.set_param)
            records = Records(options.targets)
            machine = Cluster(options.ray, options.gpus, options.jobs) if options.ray else Machine(options.jobs)
            walk = Walk(records, machine, load_spec, View())
            for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(number) != signal.SIG_IGN:  # as nohup has it
                    signal.signal(number, walk.interrupt)
            done = walk.run()
        except DvcException as error:
            raise InputError(with_cause(error)) from None
        except KeyboardInterrupt:
            sys.exit("interrupted: the same command continues")
    if not done:
        sys.exit(report(walk))


def places(text: str) -> int:
    """A number of trainings as it is typed."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected 1 or more")
    return number


def report(walk: Walk) -> str:
    """What failed, with the end of what it printed, and what was left out for it."""
    lines = [f"{name} failed: {reason}" for name, reason in walk.failures.items()]
    skipped = [stage.addressing for stage, state in walk.state.items() if state == "skipped"]
    return "\n".join([*lines, f"not run, because they need it: {', '.join(skipped) or 'none'}"])


if __name__ == "__main__":
    run(main)
