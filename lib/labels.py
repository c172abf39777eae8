"""Labels of weights files: their metadata, which tell whoever has a file what it sees and what it tells.

All metadata are JSON. Labels are not written by the safetensors library, which has its entries in any order: a file is
to be a function of its content. No training depends on this module: of one that is done, files stay as they are.
"""

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError

from lib.data.batches import MEAN, STD
from lib.errors import InputError, first_line
from lib.files import atomic
from lib.runs import Run
from lib.weights import METADATA, load_weights, read_header, read_model, require_file, save_weights, tensors, unreadable

SIDE = 1024  # px, at most, of what a network sees
Pair = tuple[int, int]
Size = tuple[int, int]


class Label(BaseModel):
    """What a user of a weights file has to know besides the network: where it comes from, what it sees and tells.

    paper, run, seed, branch: of the training, whose own network is branch 1. benchmark, source, crops: what it was
    trained on, where that came from, the name of its crops,
    and who it was validated on.

    A person box is cut from the image at `crop`, (height, width) in px, after it was widened and made `padding` times
    as large; the network sees that at `input`, sampled with or without `antialias`, grey levels less `mean` over `std`
    in the order red, green, blue. modality: "rgb", or "depth" in place of the image.

    joints are K names; flip_pairs and skeleton are pairs of their indices. output names the kind of codec, and `codec`
    has its fields but for the input's size. flip_test: outputs for the image and for the mirrored one are averaged.
    scale, of hands: mm per unit of a pose, the mean of the hands trained on.

    digest: `lib.weights.tensors` of the file; None only before it is written. metrics: of its validation, and note:
    what was done to it, both only where a file has left the pipeline. Before that a label is a function of the training
    alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    paper: str
    run: str
    seed: int
    branch: int
    benchmark: str
    source: str
    crops: str
    validation: Literal["test", "heldout"]
    joints: tuple[str, ...]
    flip_pairs: tuple[Pair, ...]
    skeleton: tuple[Pair, ...]
    crop: Size
    padding: float
    input: Size
    antialias: bool
    modality: Literal["rgb", "depth"]
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    output: Literal["heatmap", "simcc", "offset", "coordinates", "queries", "pose"]
    codec: dict[str, Any]
    flip_test: bool
    scale: float | None
    digest: str | None = None
    metrics: dict[str, float] | None = None
    note: str = ""


def label_weights(path: Path, label: Label) -> None:
    """Write a label, with the digest of the tensors, into the metadata of a weights file; the tensors stay as they are.

    The label is a function of the training's settings and of the file, so equal trainings leave equal files.
    """
    label = label.model_copy(update={"digest": tensors(path)})
    with path.open("rb") as source, atomic(path) as part:
        header = read_header(path, source)
        header[METADATA] |= {name: json.dumps(value) for name, value in label.model_dump(mode="json").items()}
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # the format aligns tensors to 8 bytes
        with part.open("wb") as target:
            target.write(len(text).to_bytes(8, "little") + text)
            shutil.copyfileobj(source, target, 2**20)


def label_seed(folder: Path, run: Run, seed: int, crops: Path) -> None:
    """Label all weights in the folder of one seed; crops: the folder that `pack` wrote, of the run's training.

    Trainings are kept by content and shared by all runs that ask for the same: only where a run's folder is put
    together does a file know whose it is.
    """
    meta, annotations = (json.loads((crops / name).read_text(encoding="utf-8")) for name in ("meta.json", "val.json"))
    scales = crops / "train" / "scale.npy"
    common = {
        **{"paper": run.paper, "run": run.name, "seed": seed, "crops": run.crops, "validation": run.validation},
        **{"benchmark": meta["dataset"]["dataset"], "source": meta["dataset"]["source"]},
        **{"joints": tuple(meta["joints"]), "flip_pairs": tuple(map(tuple, meta["flip_pairs"]))},
        "skeleton": tuple((a - 1, b - 1) for a, b in annotations["categories"][0]["skeleton"]),
        **{"crop": tuple(meta["input"]), "padding": meta["padding"], "input": run.input, "antialias": run.antialias},
        **{"modality": run.modality, "mean": tuple(MEAN), "std": tuple(STD)},
        **{"output": run.output, "codec": run.codec, "flip_test": run.flip_test},
        "scale": round(float(np.load(scales).mean(dtype=np.float64)), 2) if scales.exists() else None,
    }
    for branch in range(1, len(run.exports) + 1):
        place = folder / f"branch_{branch}" if branch > 1 else folder
        label_weights(place / "weights.safetensors", Label(**common, branch=branch))


def copy_weights(source: Path, target: Path, label: Label, dtype: torch.dtype) -> None:
    """Write a weights file again, numbers with fractions as `dtype`, with another label."""
    with atomic(target) as part:
        save_weights(part, load_weights(source).to(dtype), read_model(source))
        label_weights(part, label)


def read_label(path: Path) -> Label:
    """What a weights file says of itself. Raises InputError where it is absent, unlabelled or no weights file."""
    require_file(path)
    with path.open("rb") as file:
        metadata = read_header(path, file)[METADATA]
    return parse_label(path, {name: value for name, value in metadata.items() if name != "model"})


def parse_label(path: Path, metadata: dict[str, str]) -> Label:
    """The label in the metadata of a file. Raises InputError where it is incomplete or contradicts itself."""
    if "joints" not in metadata:
        raise InputError(
            f"{path} does not say what it sees and which joints it tells: it was written before weights said so, or by "
            "another program; train its run again (dvc repro does it)"
        )
    try:
        known = {name: json.loads(metadata[name]) for name in Label.model_fields if name in metadata}
        label = Label.model_validate_json(json.dumps(known), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise unreadable(path, f"its {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise unreadable(path, first_line(error)) from None
    pairs = (*label.flip_pairs, *label.skeleton)
    if not all(0 <= joint < len(label.joints) for pair in pairs for joint in pair):
        raise unreadable(path, f"it pairs joints that are not among its {len(label.joints)}")
    if not 1 <= label.padding <= 10 or min(*label.crop, *label.input, *label.std) <= 0:
        raise unreadable(path, "its sizes and scales are no positive numbers")
    if max(*label.crop, *label.input) > SIDE:
        raise unreadable(path, f"it sees images of more than {SIDE} px")
    return label
