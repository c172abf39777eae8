"""The state from which an interrupted training continues, and what a training depends on."""

import hashlib
from collections.abc import Iterable
from pathlib import Path
from pickle import UnpicklingError

import torch

from lib.errors import InputError, first_line
from lib.files import atomic, sha256
from lib.weights import tensors


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
    """SHA-256 of what files hold, in their order; of networks the tensors alone, whatever the file says of them."""
    found = hashlib.sha256()
    for path in files:
        found.update(bytes.fromhex(tensors(path) if path.name == "weights.safetensors" else sha256(path)))
    return found.hexdigest()
