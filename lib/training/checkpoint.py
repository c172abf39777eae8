"""Weights that are kept, and the state from which an interrupted training continues."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from lib.errors import InputError
from lib.files import atomic, sha256
from lib.models import build_model


def save_weights(path: Path, model: nn.Module, spec: dict) -> None:
    """Write a model's parameters and buffers as safetensors, its build_model spec in the metadata under "model"."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, path, {"model": json.dumps(spec)})


def load_weights(path: Path, expected: dict | None = None) -> nn.Module:
    """Build the model that a weights file describes and fill it.

    Raises InputError where the file is absent or no weights file, or holds another model than the `expected` spec.
    """
    if not path.is_file():
        raise InputError(f"{path} not found: train that run first (dvc repro does it)")
    try:
        with safe_open(path, "pt") as file:
            spec = json.loads(file.metadata()["model"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        if expected is not None and spec != expected:
            raise InputError(f"{path} holds {spec}, this run needs {expected}: start from a run with the same model")
        model = build_model(spec)
        model.load_state_dict(tensors)
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise no_weights(path, error) from None
    return model


def no_weights(path: Path, error: Exception) -> InputError:
    """The error for a file of weights that cannot be read."""
    return InputError(f"{path} is not a weights file of this project ({first_line(error)}): train it again")


def save_state(path: Path, state: dict) -> None:
    """Write a training's state; a kill at any moment leaves the previous file or the new one."""
    with atomic(path) as part:
        torch.save(state, part)


def load_state(path: Path) -> dict:
    """Read what save_state wrote, tensors on the CPU. Raises InputError where it cannot be read."""
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, UnpicklingError, EOFError, ValueError) as error:
        raise unusable(path, error) from None


def unusable(path: Path, error: Exception) -> InputError:
    """The error for a state that cannot be read or does not fit the training."""
    return InputError(f"{path} does not fit this training ({first_line(error)}): delete it to start from the beginning")


def contents(files: Iterable[Path]) -> str:
    """SHA-256 of what files hold, in their order; of weights the tensors alone, whatever the file says of them."""
    found = hashlib.sha256()
    for path in files:
        found.update(bytes.fromhex(tensors(path) if path.suffix == ".safetensors" else sha256(path)))
    return found.hexdigest()


def tensors(path: Path) -> str:
    """SHA-256 of the tensors of a safetensors file: of its header but for the metadata, and of the rest.

    Raises InputError where it is none.
    """
    try:
        with safe_open(path, "pt"):
            pass  # a header that is whole
    except SafetensorError as error:
        raise no_weights(path, error) from None
    with path.open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        header.pop("__metadata__", None)
        found = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
        while block := file.read(1 << 20):
            found.update(block)
    return found.hexdigest()


def first_line(error: Exception) -> str:
    """The first line of an error's message, without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
