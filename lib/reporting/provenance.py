"""Where the numbers of a report come from: the scale of the trainings beside the paper's, data, seeds, revision."""

from collections.abc import Mapping, Sequence

from lib.reporting import Result, Study
from lib.reporting.tables import NOT_RUN, markdown, network

NAMES = {
    "data": "data",
    "input": "network input, px",
    "teacher": "teacher, stacks × channels",
    "student": "student, stacks × channels",
    "epochs": "epochs",
    "optimizer": "optimiser, learning rate, batch",
    "train": "training persons",
    "evaluated": "evaluated persons",
    "seeds": "seeds",
    "hardware": "hardware of the trainings",
    "revision": "git revision",
    "torch": "PyTorch",
}


def scale(study: Study, people: int) -> dict[str, str]:
    """What was really trained, under the keys of NAMES; people: number of training persons that there are."""
    results, roles = study.results, study.benchmark.roles
    result = results.get(roles["distilled"]) or next(iter(results.values()))
    spec, optimizer = result.spec, result.spec["optimizer"]

    def role(name: str) -> str:
        if roles[name] not in results:
            return NOT_RUN
        model = results[roles[name]].spec["model"]
        stem = "" if model["stem"] == "newell" else f", {model['stem']} stem"
        return f"{network(model)}{stem}"

    return {
        "data": study.annotations["info"]["source"],
        "input": f"{spec['input'][0]} × {spec['input'][1]}",
        "teacher": role("teacher"),
        "student": role("distilled"),
        "epochs": str(spec["epochs"]),
        "optimizer": f"{optimizer['name']}, {optimizer['lr']:g}, batches of {spec['batch_size']}",
        "train": f"{min(spec['train_samples'] or people, people):,}",
        "evaluated": f"{len(next(iter(result.predictions.values()))['ids']):,}",
        "seeds": ", ".join(map(str, seeds_of(results))),
        **{key: environments(results, key) for key in ("hardware", "revision", "torch")},
    }


def scale_table(studies: Sequence[Study], here: Mapping[str, Mapping[str, str]], profile: str) -> str:
    """The scale of the trainings beside the paper's, two columns per benchmark; here: `scale` by benchmark."""
    header, rows = [f"profile `{profile}`"], [[name] for name in NAMES.values()]
    for study in studies:
        header += [f"{study.benchmark.name}: paper", f"{study.benchmark.name}: here"]
        for row, key in zip(rows, NAMES, strict=True):
            row += [study.benchmark.scale.get(key, ""), here[study.key][key]]
    return markdown(header, rows, len(header))


def warning(studies: Sequence[Study], here: Mapping[str, Mapping[str, str]]) -> str:
    """What the numbers of this report are: a plain statement for all benchmarks of the same source and scale."""
    groups: dict[tuple[str, bool], list[str]] = {}
    for study in studies:
        found, printed = here[study.key], study.benchmark.scale
        full = all(found[key] == printed[key] for key in ("input", "teacher", "student", "epochs"))
        groups.setdefault((study.annotations["info"]["source"], full), []).append(study.benchmark.name)
    return "\n\n".join(statement(" and ".join(names), *group) for group, names in groups.items())


def statement(names: str, source: str, full: bool) -> str:
    """What the numbers on these benchmarks are; source: of their images, full: at the paper's scale."""
    scaled = "at the paper's scale" if full else "on a smaller scale than the paper's"
    if source == "synthetic":
        return (
            f"**The numbers on {names} are no reproduction.** The images are synthetic, drawn by this project, and "
            f"the networks were trained {scaled}. The tables show that the whole pipeline runs, and nothing about the "
            "method on photographs: compare no line “ours” with a line “paper”."
        )
    if not full:
        return (
            f"**The numbers on {names} are no reproduction.** The images are the benchmark's ({source} copy), but "
            f"everything was trained {scaled}. Lines “ours” can be compared with each other, not with lines “paper”."
        )
    return f"{names}: the benchmark's images ({source} copy), trained {scaled}."


def notes(studies: Sequence[Study]) -> str:
    """What the data of each benchmark are, as the annotations say."""
    return "\n".join(f"* {study.benchmark.name} here: {study.annotations['info']['note']}." for study in studies)


def seeds_of(results: Mapping[str, Result]) -> list[int]:
    """All seeds that occur, ascending."""
    return sorted({seed for result in results.values() for seed in result.predictions})


def environments(results: Mapping[str, Result], key: str) -> str:
    """The different values of an entry of environment.json over the runs, in order of appearance."""
    return ", ".join(dict.fromkeys(str(result.environment[key]) for result in results.values()))
