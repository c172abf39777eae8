"""Model cards: what a stranger has to know of an exported student, in the format of Hugging Face's model cards."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lib.labels import Label
from lib.metrics.scores import HEADLINE, title_of, unit_of
from lib.papers import Paper, load_paper

# What the owners of the benchmarks say of their use, in short; lib/data/official.yaml says where they are.
TERMS = {
    "lsp": "pictures of Flickr's users, annotations without a stated licence; its authors ask to be cited "
    "(S. Johnson and M. Everingham, BMVC 2010, and CVPR 2011 for the extended set)",
    "mpii": "annotations under the Simplified BSD License; no commercial use, since the frames are other people's",
    "coco": "annotations under CC BY 4.0; pictures under the terms of Flickr and their photographers",
    "rhd": "for research only; commercial use is prohibited by its owners",
    "stb": "the MIT License in its owners' repository, which holds the pictures' addresses, not the pictures",
    "freihand": "for research only; commercial use is prohibited by its owners",
}
TOLD = dict.fromkeys(
    ("heatmap", "simcc", "offset", "coordinates", "queries"), "px of the picture, with a score each"
) | {"pose": "mm at the mean size of the hands trained on"}
READ = {
    "heatmap": "one heatmap per joint, of which the maximum is read",
    "simcc": "SimCC's classes of each joint's column and row",
    "offset": "one heatmap per joint, at whose maximum an offset is read",
    "coordinates": "the position of each joint as a share of the view",
    "queries": "queries, of which each joint is given one and its position",
    "pose": "the position of each joint in space, relative to the wrist and in units of one bone",
}


def card(label: Label, file: Path, model: Mapping[str, Any], parameters: int, checked: str) -> str:
    """The card of an exported student.

    model: build_model's spec of it. checked: in words, what it was compared with and how far they are apart.
    """
    paper = load_paper(label.paper)
    header = yaml.safe_dump(front_matter(label, paper, file), sort_keys=False, allow_unicode=True)
    sections = {
        f"# {label.run}, seed {label.seed}": summary(label, paper, model, parameters),
        "## Use": usage(label, file),
        "## Data": data(label, paper),
        "## Results": results(label, paper),
        "## Limits": limits(label),
        "## Check": f"{checked} Digest of the weights: `{label.digest}`.",
    }
    text = "\n\n".join(f"{title}\n\n{paragraphs}" for title, paragraphs in sections.items())
    return f"---\n{header}---\n\n{text}\n"


def front_matter(label: Label, paper: Paper, file: Path) -> dict[str, Any]:
    """The header that Hugging Face reads."""
    benchmark = paper.benchmarks[label.benchmark]
    header: dict[str, Any] = {
        "library_name": file.suffix.removeprefix("."),
        "pipeline_tag": "keypoint-detection",
        "license": "other",
        "license_name": "terms-of-the-training-data",
        "tags": ["pose-estimation", "knowledge-distillation", label.paper, label.output],
        "datasets": [label.benchmark],
        "metrics": [benchmark.metric],
    }
    if label.metrics:
        value = round(label.metrics[HEADLINE[label.benchmark]], 4)
        result = {
            "task": {"type": "keypoint-detection"},
            "dataset": {"type": label.benchmark, "name": benchmark.name, "split": "validation"},
            "metrics": [{"type": benchmark.metric, "value": value}],
        }
        header["model-index"] = [{"name": f"{label.run}_seed{label.seed}", "results": [result]}]
    return header


def summary(label: Label, paper: Paper, model: Mapping[str, Any], parameters: int) -> str:
    """What the network is, sees and tells."""
    height, width = label.input
    built = ", ".join(f"{key} {value}" for key, value in model.items() if key not in ("name", "joints"))
    subject = "one right hand; left ones are mirrored first" if label.output == "pose" else "one person"
    flip = ", the mean of the picture's and its mirror image's" if label.flip_test else ""
    return (
        f"A network of {parameters / 1e6:.2f} M parameters (`{model['name']}`: {built}), trained as `{label.run}` of "
        f"*{paper.title}* ({paper.venue}). It sees {width} × {height} px, the box of {subject}, and tells "
        f"{len(label.joints)} joints in {TOLD[label.output]}: {READ[label.output]}{flip}. Where the boxes are, another "
        "program has to say."
    )


def usage(label: Label, file: Path) -> str:
    """How to run it, and what goes in and comes out for other programs."""
    (height, width), joints = label.input, len(label.joints)
    command = (
        "In a checkout of the repository “Pose-network distillation, reproduced”, of which this student is:\n\n"
        f"```\npython -m stages.predict {file.name} photo.jpg --box x,y,width,height\n```"
    )
    if file.suffix != ".onnx":
        return f"{command}\n\nThe file's metadata hold, as JSON: {', '.join(Label.model_fields)}."
    outputs = f"`keypoints` (n, {joints}, 2) float32, px of that view, and `scores` (n, {joints})"
    if label.output == "pose":
        outputs = f"`pose` (n, {joints}, 3) float32, in units of {label.scale:g} mm"
    return (
        f"{command}\n\nThe graph takes `image` (n, {height}, {width}, 3) uint8, red, green, blue, and gives {outputs}. "
        f"The view is the box, widened about its centre to {width} : {height} and made {label.padding:g} times as "
        "large. The joints in their order, and all else, are in the file's metadata as JSON."
    )


def data(label: Label, paper: Paper) -> str:
    """What it was trained on and under which terms."""
    name = paper.benchmarks[label.benchmark].name
    if label.source == "synthetic":
        return f"Trained on pictures that this project has drawn in the layout of {name}. They are its own."
    terms = TERMS[label.benchmark]
    return f"Trained on {name}. Its terms: {terms}. The weights come with no licence beyond them."


def results(label: Label, paper: Paper) -> str:
    """The metrics of the validation."""
    if not label.metrics:
        return "Not measured: exported where the validation data are not."
    benchmark = paper.benchmarks[label.benchmark]
    drawn = ", drawn ones" if label.source == "synthetic" else ""
    rows = [f"{benchmark.metric}, {benchmark.persons}{drawn}:", "", "| metric | value | unit |", "|---|---|---|"]
    for metric, value in label.metrics.items():
        unit = unit_of(metric)
        rows.append(f"| {title_of(metric)} | {value:.{max(2, unit.decimals)}f} | {unit.symbol} |")
    return "\n".join(rows)


def limits(label: Label) -> str:
    """What not to expect."""
    lines = [
        "One box shows one person; of two, it may tell the wrong one, or half of each.",
        "Left and right are told by appearance, and may be swapped.",
        "Scores order this network's answers; they are no probabilities.",
    ]
    if label.output == "pose":
        lines = [
            "From one picture the size of a hand is not known: all lengths scale with it.",
            "Whether a hand is a left one has to be said (`--left`).",
        ]
    if label.source == "synthetic":
        lines.append("It has seen drawn pictures only, and proves nothing about photographs.")
    return "\n".join(f"* {line}" for line in lines)
