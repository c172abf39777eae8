"""Where the numbers of a report come from: the scale of the trainings beside the paper's, data, seeds, revision."""

from collections.abc import Mapping

from lib.papers import Paper
from lib.reporting import Result
from lib.reporting.tables import NOT_RUN, markdown

SCALE_NAMES = {
    "data": "data",
    "input": "network input, px",
    "teacher": "teacher, stacks × channels",
    "student": "student, stacks × channels",
    "epochs": "epochs",
    "optimizer": "optimiser, learning rate, batch",
    "train": "training persons",
    "test": "test persons",
    "seeds": "seeds",
    "hardware": "hardware of the trainings",
}


def scale(paper: Paper, results: Mapping[str, Result], info: Mapping[str, str], persons: Mapping[str, int]) -> dict:
    """What was really trained, under the keys of the paper's own `scale`; persons: number of train and test persons."""
    specs = {role: results[run].spec if run in results else None for role, run in paper.roles.items()}
    spec = specs["distilled"] or next(iter(results.values())).spec
    optimizer = spec["optimizer"]

    def network(role: str) -> str:
        if specs[role] is None:
            return NOT_RUN
        model = specs[role]["model"]
        stem = "" if model["stem"] == "newell" else f", {model['stem']} stem"
        return f"{model['stacks']} × {model['channels']}{stem}"

    return {
        "data": f"{info['dataset']}, {info['source']}: {info['note']}",
        "input": f"{spec['input'][0]} × {spec['input'][1]}",
        "teacher": network("teacher"),
        "student": network("distilled"),
        "epochs": str(spec["epochs"]),
        "optimizer": f"{optimizer['name']}, {optimizer['lr']:g}, batches of {spec['batch_size']}",
        "train": f"{persons['train']:,}",
        "test": f"{persons['test']:,}",
        "seeds": ", ".join(str(seed) for seed in seeds_of(results)),
        "hardware": environments(results, "hardware"),
    }


def scale_table(paper: Paper, here: Mapping[str, str], profile: str, results: Mapping[str, Result]) -> str:
    """The scale of the trainings beside the paper's, with profile, revision and versions."""
    rows = [["profile of params.yaml", "", f"`{profile}`"]]
    rows += [[name, paper.scale[key], here[key]] for key, name in SCALE_NAMES.items()]
    rows += [["git revision", "", environments(results, "revision")], ["PyTorch", "", environments(results, "torch")]]
    return markdown(["", "paper", "here"], rows, 3)


def warning(paper: Paper, here: Mapping[str, str], source: str) -> str:
    """What the numbers of this report are, in one plain statement."""
    full = all(here[key] == paper.scale[key] for key in ("input", "teacher", "student", "epochs"))
    scaled = "at the paper's scale" if full else "on a smaller scale than the paper's"
    if source == "synthetic":
        return (
            f"**These numbers are no reproduction.** The images are synthetic, drawn by this project, and the networks "
            f"were trained {scaled}. The tables show that the whole pipeline runs, and nothing about the method on "
            "photographs: compare no line “ours” with a line “paper”."
        )
    if not full:
        return (
            f"**These numbers are no reproduction.** The images are the benchmark's ({source} copy), but everything "
            f"was trained {scaled}. Lines “ours” can be compared with each other, not with lines “paper”."
        )
    return f"The benchmark's images ({source} copy), trained {scaled}."


def seeds_of(results: Mapping[str, Result]) -> list[int]:
    """All seeds that occur, ascending."""
    return sorted({seed for result in results.values() for seed in result.predictions})


def environments(results: Mapping[str, Result], key: str) -> str:
    """The different values of an entry of environment.json over the runs, in order of appearance."""
    return ", ".join(dict.fromkeys(str(result.environment[key]) for result in results.values()))
