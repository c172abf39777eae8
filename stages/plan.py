"""Say which stages a change re-runs, without running one, and what a profile's trainings cost.

python -m stages.plan [targets]                       # what dvc repro would run, why, and how long it took last time
python -m stages.plan --profile paper --tmacs 30      # hours on devices of 30 · 10^12 multiply-accumulates a second
"""

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from dataclasses import replace

from tabulate import tabulate

from lib.params import PARAMS, Params, load_params
from lib.params.checks import known
from lib.records import read_seconds
from stages import run
from stages.specs import chosen_runs, specs

DEVICES = (1, 8, 64)


def main(*words: str) -> None:
    parser = ArgumentParser("python -m stages.plan", description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", help="stages of dvc.yaml; none: all")
    parser.add_argument("--profile", help="what the trainings of this profile cost")
    parser.add_argument("--tmacs", type=float, default=30.0, help="10^12 multiply-accumulates a second of a device")
    arguments = parser.parse_args(words)
    params = load_params()
    if arguments.profile:
        known(f"{PARAMS}: profile", arguments.profile, params.profiles)
        common = params.common.model_copy(update={"profile": arguments.profile})
        print(estimate(replace(params, common=common), arguments.tmacs))
    else:
        print(preview(params, arguments.targets))


def preview(params: Params, targets: list[str]) -> str:
    """The stages that are out of date, one a line, and the sum of their last times."""
    from lib.graph.forecast import forecast

    stages = forecast(specs(params), targets)
    if not stages:
        return "Everything is up to date."
    rows, known_seconds = [], 0.0
    for stage in stages:
        seconds = read_seconds(stage.command)
        known_seconds += seconds or 0.0
        when = "runs" if stage.certain else "may run"
        rows.append([when, stage.name, f"{seconds:.0f} s" if seconds is not None else "", "; ".join(stage.reasons)])
    certain = sum(stage.certain for stage in stages)
    total = f"{certain} run, {len(stages) - certain} may follow; last time these took {known_seconds:.0f} s in all."
    return tabulate(rows, ["", "stage", "last time", "because"], "plain") + f"\n{total}"


def estimate(params: Params, tmacs: float) -> str:
    """Per paper: trainings, multiply-accumulates, hours of one device, the longest chain, and hours of several."""
    from lib.graph.costs import longest_chain, makespan, training_macs

    runs = {label: params.run(label) for label in params.labels}
    chosen, seeds = chosen_runs(params, runs), params.common.seeds
    rendered = params.synthesis().count
    hours = {label: training_macs(runs[label], runs, rendered) / (tmacs * 1e12) / 3600 for label in chosen}
    rows = []
    for name, papers in [*((paper, (paper,)) for paper in params.papers), ("all", tuple(params.papers))]:
        costs, needs = {}, {}
        for label in chosen:
            if runs[label].paper in papers:
                partners = [one for one in (runs[label].teacher, runs[label].init, runs[label].prior) if one]
                for seed in seeds:
                    costs[f"{label} {seed}"] = hours[label]
                    needs[f"{label} {seed}"] = [f"{one} {seed}" for one in partners]
        spans = [makespan(costs, needs, devices) for devices in DEVICES]
        macs = sum(costs.values()) * 3600 * tmacs * 1e12
        rows.append([name, len(costs), f"{macs:.2g}", *(f"{one:.3g}" for one in (longest_chain(costs, needs), *spans))])
    header = [
        "paper",
        "trainings",
        "MACs",
        "longest chain, h",
        *(f"{number} device{'s' * (number > 1)}, h" for number in DEVICES),
    ]
    text = (
        f"Profile {params.common.profile}, training alone, {tmacs:g} · 10^12 multiply-accumulates a second of a device:"
    )
    return f"{text}\n{tabulate(rows, header, 'plain')}"


if __name__ == "__main__":
    run(main)
