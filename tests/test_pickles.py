"""Pickles: what Python 2, NumPy, SciPy and chumpy write is read, and nothing that a file names is ever executed."""

import builtins
import os
import pickle
import struct
import sys
import types

import numpy as np
import pytest
import scipy.sparse

from lib.errors import InputError
from lib.pickles import load_pickle

VALUES = {
    "float": np.linspace(0, 1, 6).reshape(2, 3),
    "single": np.float32([1.5, -2]),
    "unsigned": np.arange(4, dtype=np.uint32),
    "big endian": np.arange(3, dtype=">i2"),
    "fortran": np.asfortranarray(np.arange(12).reshape(3, 4)),
    "flags": np.array([True, False]),
    "number": np.float64(0.1),
    "whole": np.int16(-7),
    "nested": [(np.zeros((0, 3)), "lrotmin"), None, {"a": 1.5}],
}


def same(found, expected) -> None:
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for pair in zip(found, expected, strict=True):
            same(*pair)
    elif isinstance(expected, np.ndarray | np.generic):
        assert found.dtype == expected.dtype.newbyteorder("=")
        np.testing.assert_array_equal(found, expected, strict=not expected.dtype.str.startswith(">"))
        assert not isinstance(found, np.ndarray) or found.flags.writeable
    else:
        assert found == expected


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_arrays_of_every_protocol(tmp_path, protocol):
    path = tmp_path / "values.pickle"
    path.write_bytes(pickle.dumps(VALUES, protocol))
    same(load_pickle(path), VALUES)


def test_strings_of_python_2(tmp_path):
    """A dictionary as Python 2 pickles it: the array's bytes are a string, and NumPy's modules have their old names."""
    numbers = struct.pack("<2d", -1.0, 0.1)  # has bytes that are no ASCII
    path = tmp_path / "values.pickle"
    path.write_bytes(
        b"\x80\x02}U\x03xyzcnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR"
        b"(K\x01K\x02\x85cnumpy\ndtype\n(U\x02f8K\x00K\x01tR(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        b"\x89U\x10" + numbers + b"tbs."
    )
    found = load_pickle(path)
    assert list(found) == ["xyz"]
    assert found["xyz"].tolist() == [-1.0, 0.1]


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("kind", ["csc", "csr"])
def test_sparse_matrices_become_dense(tmp_path, protocol, kind):
    dense = np.array([[0, 1.5, 0, 2], [0, 0, 0, 0], [3, 0, -1, 0]])
    matrix = getattr(scipy.sparse, f"{kind}_matrix")(dense)
    content = pickle.dumps(matrix, protocol)
    path = tmp_path / "matrix.pickle"
    path.write_bytes(content)
    same(load_pickle(path), dense)
    if protocol < 4:  # names without a length before them: the module as it was called in Python 2's time
        path.write_bytes(content.replace(f"scipy.sparse._{kind}".encode(), f"scipy.sparse.{kind}".encode()))
        same(load_pickle(path), dense)


@pytest.fixture
def chumpy(monkeypatch) -> types.SimpleNamespace:
    """Classes with the names of chumpy's, whose state is what chumpy's leave in a file."""
    classes = {}
    for module, name in (("chumpy.ch", "Ch"), ("chumpy.reordering", "Select"), ("chumpy.ch_ops", "add")):
        made = type(name, (), {"__module__": module, "__init__": lambda self, **state: vars(self).update(state)})
        home = types.ModuleType(module)
        setattr(home, name, made)
        monkeypatch.setitem(sys.modules, module, home)
        classes[name] = made
    monkeypatch.setitem(sys.modules, "chumpy", types.ModuleType("chumpy"))
    return types.SimpleNamespace(**classes)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_chumpy_objects_become_arrays(tmp_path, chumpy, protocol):
    whole = np.arange(24.0).reshape(2, 3, 4)
    ch = chumpy.Ch(x=whole, _dirty_vars={"x"}, _itr=None, _depends_on_deps={}, _make_dense=False)
    places = np.arange(24).reshape(2, 3, 4)[:, :, :2].ravel()
    select = chumpy.Select(a=ch, idxs=places, preferred_shape=(2, 3, 2), _dirty_vars=set())
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps({"all": ch, "some": select}, protocol))
    same(load_pickle(path), {"all": whole, "some": whole[:, :, :2].copy()})


def test_other_chumpy_objects_are_refused(tmp_path, chumpy):
    path = tmp_path / "model.pickle"
    path.write_bytes(pickle.dumps(chumpy.add(a=1, b=2), 2))
    with pytest.raises(InputError, match=r"model\.pickle needs chumpy\.ch_ops\.add") as caught:
        load_pickle(path)
    assert "\n" not in str(caught.value)


class Calls:
    """An object whose unpickling calls a function."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, "system"), (builtins.eval, "eval"), (builtins.exec, "exec"), (builtins.open, "open")],
)
def test_nothing_is_executed(tmp_path, protocol, function, name):
    mark = tmp_path / "mark"
    argument = {os.system: f"touch {mark}", builtins.open: str(mark)}.get(function, f"open({str(mark)!r}, 'w')")
    attack = Calls(function, argument, *(["w"] if function is builtins.open else []))
    content = pickle.dumps({"xyz": np.zeros(3), "attack": [attack]}, protocol)
    path = tmp_path / "attack.pickle"
    path.write_bytes(content)
    with pytest.raises(InputError, match=rf"attack\.pickle needs \w+\.{name}, which is not admitted"):
        load_pickle(path)
    assert not mark.exists()
    pickle.loads(content)
    assert mark.exists()  # so the attack would have worked


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x04\x8c\x05numpy\x94\x8c\x0fndarray.__new__\x94\x93.",  # attributes of admitted classes
        b"cnumpy\nload\n.",
        b"cnumpy._core.multiarray\nfromfile\n.",
        b"c__builtin__\ngetattr\n.",
        b"ccopyreg\n__newobj__\n.",
        b"cscipy.sparse._csc\nnp\n.",
        b"clib.pickles\nload_pickle\n.",
    ],
)
def test_other_names_are_refused(tmp_path, content):
    path = tmp_path / "attack.pickle"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"attack\.pickle needs [\w.]+, which is not admitted"):
        load_pickle(path)


@pytest.mark.parametrize(
    "attack",
    [
        Calls(np.ndarray, (1,), Calls(np.dtype, "O"), b"\x08" * 8),  # NumPy would take the bytes for an address
        Calls(np.ndarray, (1,), Calls(np.dtype, "f8"), b"\x08" * 8),
        Calls(np.dtype, "f8,O"),
        np.array([None]),
        np.zeros(2, dtype="f4,f4"),
    ],
)
def test_only_numbers_in_arrays(tmp_path, attack):
    path = tmp_path / "attack.pickle"
    path.write_bytes(pickle.dumps(attack, 2))
    with pytest.raises(InputError, match=r"attack\.pickle"):
        load_pickle(path)


def test_arrays_whose_bytes_do_not_fit_their_shape(tmp_path):
    path = tmp_path / "short.pickle"
    path.write_bytes(pickle.dumps(np.zeros(4), 4).replace(b"\x8c\x02f8", b"\x8c\x02f4"))
    with pytest.raises(InputError, match=r"short\.pickle is no readable pickle of numbers"):
        load_pickle(path)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip", b"\x80\x02}q\x00(U\x01aK", b"]]\x81.", b"I1\nI2\nb."])
def test_damaged_files(tmp_path, content):
    path = tmp_path / "damaged.pickle"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"damaged\.pickle is no readable pickle of numbers \(.+\)") as caught:
        load_pickle(path)
    assert "\n" not in str(caught.value)


def test_lists_within_themselves(tmp_path):
    endless: list = []
    endless.append(endless)
    path = tmp_path / "endless.pickle"
    path.write_bytes(pickle.dumps(endless))
    with pytest.raises(InputError, match="recursion"):
        load_pickle(path)


def test_absent_file(tmp_path):
    with pytest.raises(InputError, match=r"none\.pickle not found"):
        load_pickle(tmp_path / "none.pickle")
