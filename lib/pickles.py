"""Pickles of numbers, read without running what they name: RHD's annotations and MANO's model are published as such."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import InputError


def load_pickle(path: Path | str) -> Any:
    """Read a pickle of plain Python values and arrays of numbers, of Python 2 (strings as Latin-1) or 3.

    Scipy's csc and csr matrices and chumpy's Ch and Select, in which MANO is published, become dense arrays; neither
    package is needed. NumPy's own constructors are not called either: given a buffer and the type "object", they take
    the buffer's bytes for addresses. Raises InputError, naming class and file, where anything else is needed, and where
    the file is absent or damaged.
    """
    try:
        with open(path, "rb") as file:
            return _value(_Unpickler(file, encoding="latin1").load())
    except FileNotFoundError:
        raise InputError(f"{path} not found: put the file there") from None
    except _RefusedError as error:
        raise InputError(
            f"{path} needs {error}, which is not admitted: expected numbers, take the published file"
        ) from None
    except Exception as error:  # damaged pickles raise anything
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{path} is no readable pickle of numbers ({reason}): get the file again") from None


class _RefusedError(Exception):
    """A pickle names something that is not admitted."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        try:
            return _ADMITTED[f"{module}.{name}"]
        except KeyError:
            raise _RefusedError(f"{module}.{name}") from None


class _State:
    """An object of which the pickle gives the state; `value` is what it stands for."""

    def __init__(self, *_: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_State):
    def value(self) -> NDArray:
        shape, dtype, fortran, raw = self.state[-4:]  # a version number may come before
        return _numbers(raw, dtype, shape, "F" if fortran else "C")


class _Rows(_State):
    """A scipy.sparse csr matrix."""

    def value(self) -> NDArray:
        return self.dense(*self.state["_shape"])

    def dense(self, rows: int, columns: int) -> NDArray:
        starts, indices, numbers = (_value(self.state[name]) for name in ("indptr", "indices", "data"))
        dense = np.zeros((rows, columns), numbers.dtype)
        np.add.at(dense, (np.repeat(np.arange(rows), np.diff(starts)), indices), numbers)
        return dense


class _Columns(_Rows):
    """A scipy.sparse csc matrix."""

    def value(self) -> NDArray:
        rows, columns = self.state["_shape"]
        return self.dense(columns, rows).T


class _Ch(_State):
    """An array of chumpy."""

    def value(self) -> NDArray:
        return _value(self.state["x"])


class _Select(_State):
    """Some numbers of another chumpy array."""

    def value(self) -> NDArray:
        whole, places, shape = (_value(self.state[name]) for name in ("a", "idxs", "preferred_shape"))
        return whole.ravel()[places].reshape(shape)


class _Dtype:
    """A type of numbers."""

    def __init__(self, name: str, *_: bool) -> None:
        self.dtype = np.dtype(name)
        if self.dtype.kind not in "biuf":
            raise _RefusedError(f"numpy's type {self.dtype}")

    def __setstate__(self, state: tuple) -> None:
        self.dtype = self.dtype.newbyteorder(state[1])


def _numbers(raw: Any, dtype: _Dtype, shape: Any, order: str) -> NDArray:
    """A writable array in the machine's byte order."""
    raw = raw.encode("latin1") if isinstance(raw, str) else raw
    return np.frombuffer(raw, dtype.dtype).astype(dtype.dtype.newbyteorder("=")).reshape(shape, order=order)


def _value(found: Any) -> Any:
    """Put values in the places of the objects that stand for them."""
    if isinstance(found, _State):
        return found.value()
    if isinstance(found, dict):
        return {key: _value(value) for key, value in found.items()}
    if isinstance(found, list | tuple):
        return type(found)(map(_value, found))
    return found


_ADMITTED: dict[str, Any] = {
    "numpy.ndarray": None,  # only ever the first argument of _reconstruct
    "numpy.dtype": _Dtype,
    **{
        f"numpy.{core}.{name}": admitted
        for core in ("core", "_core")
        for name, admitted in {
            "multiarray._reconstruct": _Array,
            "multiarray.scalar": lambda dtype, raw: _numbers(raw, dtype, 1, "C")[0],
            "numeric._frombuffer": _numbers,
        }.items()
    },
    **{f"scipy.sparse.{module}.csr_matrix": _Rows for module in ("csr", "_csr")},
    **{f"scipy.sparse.{module}.csc_matrix": _Columns for module in ("csc", "_csc")},
    "chumpy.ch.Ch": _Ch,
    "chumpy.reordering.Select": _Select,
    # How Python 2 and the older protocols write objects, bytes and sets.
    **{f"{module}._reconstructor": lambda kind, *_: kind() for module in ("copy_reg", "copyreg")},
    "_codecs.encode": lambda text, _: text.encode("latin1"),
    **{f"{module}.{name.__name__}": name for module in ("__builtin__", "builtins") for name in (object, set, bytes)},
}
