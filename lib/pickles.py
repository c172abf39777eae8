"""Pickles of numbers, read without running what they name: RHD's annotations and MANO's model are published as such."""

import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lib.errors import InputError
from lib.isolation import isolated

MOST = 10_000_000  # values of a file that has less bytes: lists named again and again, or matrices of zeros


def load_pickle(path: Path | str) -> Any:
    """Read a pickle of plain Python values and arrays of numbers, of Python 2 (strings as Latin-1) or 3.

    Scipy's csc and csr matrices and chumpy's Ch and Select, in which MANO is published, become dense arrays; neither
    package is needed. NumPy's own constructors are not called either: given a buffer and the type "object", they take
    the buffer's bytes for addresses. Raises InputError, naming class and file, where anything else is needed, where the
    file is absent or damaged, and where a few bytes stand for more than could be written out with them.
    """
    return isolated(_load, Path(path))


def _load(path: Path) -> Any:
    try:
        with open(path, "rb") as file:
            value = _Values().of(_Unpickler(file, encoding="latin1").load())
        if _parts(value, {}) > (most := max(MOST, path.stat().st_size)):
            raise _RefusedError(f"more than {most:,} values")
        return value
    except FileNotFoundError:
        raise InputError(f"{path.absolute()} not found: put the file there") from None
    except _RefusedError as error:
        raise InputError(
            f"{path} needs {error}, which is not admitted: expected numbers, take the published file"
        ) from None
    except MemoryError:
        raise
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


class _Values:
    """Puts values in the places of the objects that stand for them; what is named several times is made once."""

    def __init__(self) -> None:
        self.made: dict[int, Any] = {}

    def of(self, found: Any) -> Any:
        if not isinstance(found, _State | dict | list | tuple):
            return found
        if id(found) not in self.made:
            if isinstance(found, _State):
                value = found.value(self)
            elif isinstance(found, dict):
                value = {key: self.of(part) for key, part in found.items()}
            else:
                value = type(found)(map(self.of, found))
            self.made[id(found)] = value
        return self.made[id(found)]


def _parts(value: Any, known: dict[int, int]) -> int:
    """How many numbers and other values there are in a value, each as often as it is named."""
    if isinstance(value, np.ndarray):
        return value.size
    if not isinstance(value, dict | list | tuple):
        return 1
    if id(value) not in known:
        inside = value.values() if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_parts(part, known) for part in inside)
    return known[id(value)]


class _Array(_State):
    def value(self, _: _Values) -> NDArray:
        shape, dtype, fortran, raw = self.state[-4:]  # a version number may come before
        return _numbers(raw, dtype, shape, "F" if fortran else "C")


class _Rows(_State):
    """A scipy.sparse csr matrix."""

    def value(self, values: _Values) -> NDArray:
        return self.dense(values, *self.state["_shape"])

    def dense(self, values: _Values, rows: int, columns: int) -> NDArray:
        if rows * columns > MOST:
            raise _RefusedError(f"a matrix of {rows} x {columns} numbers")
        starts, indices, numbers = (values.of(self.state[name]) for name in ("indptr", "indices", "data"))
        dense = np.zeros((rows, columns), numbers.dtype)
        np.add.at(dense, (np.repeat(np.arange(rows), np.diff(starts)), indices), numbers)
        return dense


class _Columns(_Rows):
    """A scipy.sparse csc matrix."""

    def value(self, values: _Values) -> NDArray:
        rows, columns = self.state["_shape"]
        return self.dense(values, columns, rows).T


class _Ch(_State):
    """An array of chumpy."""

    def value(self, values: _Values) -> NDArray:
        return values.of(self.state["x"])


class _Select(_State):
    """Some numbers of another chumpy array."""

    def value(self, values: _Values) -> NDArray:
        whole, places, shape = (values.of(self.state[name]) for name in ("a", "idxs", "preferred_shape"))
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


def _bytes(values: Sequence[int] = ()) -> bytes:
    """Bytes from their numbers; `bytes` itself takes a single number for a length."""
    return bytes(list(values))


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
    **{f"{module}.{name.__name__}": name for module in ("__builtin__", "builtins") for name in (object, set)},
    "__builtin__.bytes": _bytes,
    "builtins.bytes": _bytes,
}
