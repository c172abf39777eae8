"""Resolve params.yaml and the code that each stage can load, so that a change re-runs what it can change and no other.

DVC follows no imports, and would parse params.yaml for every stage that names it. Stages depend on their own file in
data/specs in place of both.
"""

import json
from pathlib import Path
from typing import Any

from lib.code import digests
from lib.errors import InputError
from lib.files import atomic
from lib.papers import load_paper
from lib.params import Params, load_params
from lib.params.data import Data
from lib.params.reading import RESTORE
from lib.params.scales import FULL
from lib.runs import Run, as_json
from stages import NOT_CHOSEN, SPECS, run

ROOT = Path()


def main() -> None:
    """Write data/specs: a file for each stage of dvc.yaml, with its settings and the digests of its code."""
    try:
        params = load_params()
    except InputError as error:
        raise InputError(f"{error} ({RESTORE})") from None
    with atomic(SPECS) as part:
        for name, content in specs(params).items():
            path = part / f"{name}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def specs(params: Params) -> dict[str, Any]:
    """What each stage depends on, by the name of its file: <paper>/<run> of a training, <stage>/<item>, <stage>.

    <paper> holds all runs at the paper's own scale, for the stages that show them.
    """
    runs = {label: params.run(label) for label in params.labels}
    chosen = chosen_runs(params, runs)
    contents: dict[str, Any] = {}
    for label, one in runs.items():
        training = {"seeds": list(params.common.seeds), "code": run_code(one, runs), "run": as_json(one)}
        contents[label] = training if label in chosen else NOT_CHOSEN
    for paper in params.papers:
        full = {name: as_json(params.run(f"{paper}/{name}", FULL)) for name in params.papers[paper].runs}
        contents[paper] = {"profile": params.common.profile, "runs": full}
    contents |= data_specs(params, [runs[label] for label in chosen])
    contents["complexity"] = complexity(params)
    networks = sorted({f"lib.models.{one.model['name']}" for one in runs.values()})
    for stage, shown in (("evaluate", []), ("report", networks), ("summary", [])):  # figures show what networks do
        contents[f"code/{stage}"] = digests([f"stages.{stage}", *shown], ROOT)
    return contents


def chosen_runs(params: Params, runs: dict[str, Run]) -> list[str]:
    """Labels of the runs on the chosen benchmarks: all, or those of roles and headline claims with their partners."""
    chosen = [label for label, one in runs.items() if one.dataset in params.benchmarks]
    if params.rows == "all":
        return chosen
    headline: set[str] = set()
    for paper in params.papers:
        printed = load_paper(paper)
        names = {name for benchmark in printed.benchmarks.values() for name in benchmark.roles.values()}
        names |= {name for claim in printed.claims if claim.headline for name in claim.runs}
        headline |= {f"{paper}/{name}" for name in names} & set(chosen)
    waiting = list(headline)
    while waiting:
        one = runs[waiting.pop()]
        partners = {label for label in (one.teacher, one.init, one.prior) if label} - headline
        headline |= partners
        waiting += partners
    return [label for label in chosen if label in headline]


def run_code(one: Run, runs: dict[str, Run]) -> dict[str, str]:
    """Digests of the code that a training can load: the loop and the data path, its method and its networks.

    Metrics are left out: they draw the validation curve, which stays as it was when the run was trained. So are labels,
    what a weights file says of itself, which stay as they were when its folder was put together.
    """
    teacher = [runs[one.teacher].model] if one.teacher else []
    models = [one.model, *teacher, *one.settings.get("branches", ())]
    modules = ["stages.train", "lib.training.seeds", f"lib.tasks.{one.method}", f"lib.tasks.{one.output}"]
    modules += [f"lib.models.{model['name']}" for model in models]
    without = ["lib.labels", "lib.metrics", *([] if one.pretrained else ["lib.models.pretrained"])]
    return digests(modules, ROOT, without)


def data_specs(params: Params, chosen: list[Run]) -> dict[str, Any]:
    """The files of fetch, convert, pack and synthesize, for what the chosen runs need."""
    crops, contents = {one.crops for one in chosen}, {}
    for name in params.common.crops:
        settings = params.crops(name).model_dump(mode="json")
        settings["smallest"] = min([1.0, *(scale for one in chosen if one.crops == name for scale in one.scales)])
        code = code_of("pack", settings["dataset"])
        contents[f"pack/{name}"] = {"code": code, **settings} if name in crops else NOT_CHOSEN
    datasets = {params.common.crops[name].dataset for name in crops}
    for name in Data.model_fields:
        settings = params.data(name).model_dump(mode="json")
        fetch = {"code": code_of("fetch", name), **settings, "official": params.official[name]}
        contents[f"fetch/{name}"] = fetch if name in datasets else NOT_CHOSEN
        contents[f"convert/{name}"] = {"code": code_of("convert", name)} if name in datasets else NOT_CHOSEN
    rendered = {"code": digests(["stages.synthesize"], ROOT), **params.synthesis().model_dump(mode="json")}
    contents["synthesize"] = rendered if any(one.synthetic for one in chosen) else NOT_CHOSEN
    return contents


def code_of(stage: str, dataset: str) -> dict[str, str]:
    """Digests of the code with which a stage treats a benchmark."""
    return digests([f"stages.{stage}", f"lib.data.formats.{dataset}"], ROOT)


def complexity(params: Params) -> dict[str, Any]:
    """What the stage complexity counts and times: specs of networks of full size, and of their branches."""
    settings = params.common.complexity
    entries: dict[str, dict[str, Any]] = {"networks": {}, "training": {}}
    models = set()
    for part, found in entries.items():
        for name, entry in getattr(settings, part).items():
            size = (entry.input or settings.input,) * 2
            network = params.models[entry.model]
            models.add(network.name)
            found[name] = {"input": list(size), "model": {**network.spec(size), "joints": entry.joints}}
            if part == "training":
                others = network.branches(entry.auxiliary, entry.shared)
                found[name]["branches"] = [{**other.spec(size), "joints": entry.joints} for other in others]
                found[name] |= entry.model_dump(include={"shared", "aggregation", "variant"})
    code = digests(["stages.complexity", *(f"lib.models.{name}" for name in sorted(models))], ROOT)
    return {
        "code": code,
        **settings.model_dump(include={"batch_sizes", "repeats", "reference"}, mode="json"),
        **entries,
    }


if __name__ == "__main__":
    run(main)
