"""Weights files: safetensors that say what network they hold; lib/labels.py has what else they can say."""

import hashlib
import json
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from lib.errors import InputError, first_line
from lib.models import build_model

METADATA = "__metadata__"  # safetensors' name for it in the header
HEADER = 2**23  # bytes; a network of ten thousand tensors has a header of 1 MB


def save_weights(path: Path, model: nn.Module, spec: dict) -> None:
    """Write a model's parameters and buffers as safetensors, its build_model spec in the metadata under "model"."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, {"model": json.dumps(spec)})


def load_weights(path: Path, expected: dict | None = None) -> nn.Module:
    """Build the network that a weights file holds and fill it, in float32 whatever the file keeps them in.

    Raises InputError where the file is absent, no weights file or damaged, or holds another network than the `expected`
    spec.
    """
    require_file(path)
    with path.open("rb") as file:
        metadata = read_header(path, file)[METADATA]
    try:
        spec = json.loads(metadata["model"])
        with safe_open(path, "pt") as file:
            values = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if "digest" in metadata and json.loads(metadata["digest"]) != tensors(path):
            raise unreadable(path, "its tensors are not those that its digest was taken of")
        if expected is not None and spec != expected:
            raise InputError(f"{path} holds {spec}, this run needs {expected}: start from a run with the same model")
        # Without memory until the file's tensors are known to fit, and without numbers that no such file can have.
        most = max(len(values), *(side for value in values.values() for side in value.shape))
        if max(numbers(spec)) > most:
            raise unreadable(path, f"it describes a larger network than it holds: {spec}")
        try:
            model = build_empty(spec)
        except InputError as error:
            raise unreadable(path, str(error)) from None
        model.load_state_dict({name: loaded(value) for name, value in values.items()}, assign=True)
    except (SafetensorError, AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise unreadable(path, first_line(error)) from None
    return model


def build_empty(spec: dict) -> nn.Module:
    """The network of a build_model spec without memory for its numbers."""
    with torch.device("meta"):
        return build_model(spec)


def loaded(tensor: Tensor) -> Tensor:
    """A copy in memory of a tensor of a file, numbers with fractions in float32."""
    return tensor.to(torch.float32 if tensor.is_floating_point() else tensor.dtype, copy=True)


def numbers(spec: Any) -> list[float]:
    """All numbers in a network's spec."""
    if isinstance(spec, dict | list):
        return [number for part in (spec.values() if isinstance(spec, dict) else spec) for number in numbers(part)]
    return [spec] if isinstance(spec, int | float) else []


def read_model(path: Path) -> dict[str, Any]:
    """The build_model spec of the network in a weights file. Raises InputError where it is absent or none."""
    require_file(path)
    with path.open("rb") as file:
        return json.loads(read_header(path, file)[METADATA]["model"])


def read_header(path: Path, file: BinaryIO) -> dict[str, Any]:
    """The header of a weights file at its beginning, as safetensors keeps it; the data of the tensors follow.

    Raises InputError where there is none, or none with the metadata of this project.
    """
    size = int.from_bytes(file.read(8), "little")
    if not 2 <= size <= HEADER:
        raise unreadable(path, f"its header would be {size:,} bytes long")
    try:
        header = json.loads(file.read(size))
        json.loads(header[METADATA]["model"])
    except (ValueError, KeyError, TypeError, RecursionError):
        raise unreadable(path, "it does not say what network it holds") from None
    return header


def tensors(path: Path) -> str:
    """SHA-256 of a weights file without its metadata: of its tensors' names, types, shapes and values."""
    with path.open("rb") as file:
        header = read_header(path, file)
        header.pop(METADATA, None)
        hashed = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        while part := file.read(2**20):
            hashed.update(part)
    return hashed.hexdigest()


def require_file(path: Path) -> None:
    """Raise InputError where a weights file is not there."""
    if not path.is_file():
        raise InputError(f"{path} not found: train that run first (dvc repro does it)")


def unreadable(path: Path, reason: str) -> InputError:
    """The error for a file that is none of ours or is damaged."""
    return InputError(f"{path} is not a weights file of this project ({reason}): train it again")
