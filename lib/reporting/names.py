"""Names for what was trained: networks in a few words, settings as params.yaml has them, decisions with both."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lib.papers import Paper
from lib.reporting.markdown import markdown

AS_PRINTED = "the paper's network and input"
CONVOLUTIONS = {"basic": 2, "bottleneck": 3}  # of a ResNet's block
HRNET = {"blocks": 4, "modules": [1, 4, 3], "stem": 64}  # of every published one
RESNET = {"width": 64, "channels": 256}  # SimpleBaseline's


def run_names(
    runs: Iterable[str],
    specs: Mapping[str, Mapping[str, Any]],
    full: Mapping[str, Mapping[str, Any]],
    settings: Mapping[str, str],
) -> dict[str, tuple[str, str]]:
    """Of those runs that were trained, network and input where not the paper's, and the name, settings in brackets.

    specs: spec.json by trained run; full: the same at the paper's scale; settings: as in a Table.
    """
    names = {}
    for run in runs:
        if run not in specs:
            continue
        spec = specs[run]
        shown = ((trained_network(one), f"{pixels(one['input'])} px") for one in (spec, full[run]))
        details = [here for here, there in zip(*shown, strict=True) if here != there]
        own = [f"{name} {setting(spec, key)}" for name, key in settings.items()] if spec["settings"] else []
        names[run] = ", ".join(details) or AS_PRINTED, f"`{run}` ({', '.join(own)})" if own else f"`{run}`"
    return names


def network(model: Mapping[str, Any]) -> str:
    """A model in a few words: stacks × channels, encoder × channels of the decoder, HRNet-W<width> or ResNet-<depth>.

    Then follows what an HRNet or a ResNet has other than the published ones, and a splitting factor other than 2.
    """
    if "modules" in model:
        name, own = f"HRNet-W{model['width']}", HRNET
    elif "blocks" in model:
        layers = CONVOLUTIONS[model.get("block", "bottleneck")] * sum(model["blocks"]) + 2  # and first and last layer
        name, own = f"ResNet-{layers}", RESNET
    else:
        return f"{model['stacks'] if 'stacks' in model else model['encoder']} × {model['channels']}"
    published = {**own, "split": 2}
    others = {key: model[key] for key, value in published.items() if model.get(key, value) != value}
    return ", ".join([name, *(f"{key} {text_of(value)}" for key, value in others.items())])


def pixels(sides: Sequence[int]) -> str:
    """An image's height × width."""
    return " × ".join(map(str, sides))


def trained_network(spec: Mapping[str, Any]) -> str:
    """What a run trains: its network, and the branches around it where there are several."""
    branches = spec["settings"].get("branches")
    if not branches:
        return network(spec["model"])
    models = [spec["model"], *branches]
    text = f"{network(spec['model'])}, {len(models)} branches"
    if "stacks" not in spec["model"]:
        return text
    stacks = [str(model["stacks"]) for model in models]
    shown = ", ".join(stacks if len(set(stacks)) > 1 else stacks[:1])
    return f"{text} of {shown} {'stack' if shown == '1' else 'stacks'}, {spec['settings']['shared']} shared"


def decision_table(paper: Paper, specs: Sequence[Mapping[str, Any]]) -> str:
    """What the paper leaves open, what is done here and why, and what the runs of these specs were trained with.

    Methods have settings of their own: a run without a setting is left out of its values.
    """
    header = ["left open by the paper", "here", "because", "trained with"]
    rows = []
    for decision in paper.decisions:
        values = {key: [setting(spec, key) for spec in specs if has(spec, key)] for key in decision.get("used", ())}
        used = [f"`{key}: {' / '.join(dict.fromkeys(found))}`" for key, found in values.items() if found]
        rows.append([decision["question"], decision["decision"], decision["reason"], "<br>".join(used)])
    return markdown(header, rows, len(header))


def has(spec: Mapping[str, Any], key: str) -> bool:
    """Whether a spec has a value at a dotted key; that of another method may not."""
    part, _, rest = key.partition(".")
    return part in spec and (not rest or has(spec[part], rest))


def setting(spec: Mapping[str, Any], key: str) -> str:
    """The value at a dotted key of a spec."""
    value: Any = spec
    for part in key.split("."):
        value = value[part]
    return text_of(value)


def text_of(value: Any) -> str:
    """A value as params.yaml would have it."""
    if isinstance(value, list):
        return f"[{', '.join(map(text_of, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return value if isinstance(value, str) else json.dumps(value)
