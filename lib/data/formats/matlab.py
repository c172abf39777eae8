"""MATLAB files, read in a process of their own: damage that SciPy's reader does not see makes it crash."""

from pathlib import Path
from typing import Any

import scipy.io

from lib.errors import InputError
from lib.isolation import isolated


def read_mat(path: Path, remedy: str) -> dict[str, Any]:
    """Variables of a MATLAB file; InputError, which ends with `remedy`, where it is missing or damaged."""
    return isolated(lambda file: load(file, remedy), path)


def load(path: Path, remedy: str, **options: Any) -> dict[str, Any]:
    """The same with options of SciPy's loadmat, in this process: for what `isolated` calls."""
    try:
        return scipy.io.loadmat(str(path), **options)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; {remedy}") from None
    except MemoryError:
        raise
    except Exception as error:  # SciPy raises whatever its parser stumbles over
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{path} is not a readable MATLAB file: {reason}; {remedy}") from None
