"""Pickles of any kind end within bounds of time and memory, as a value or as one line that names the file."""

import faulthandler
import os
import pickle
import random
import resource
import signal
import sys
import time

import numpy as np
import pytest
import scipy.sparse

from lib import isolation
from lib.errors import InputError
from lib.isolation import isolated
from lib.pickles import load_pickle

SECONDS = 1  # of a core, instead of 5: so the suite does not wait
UNIT = 1024 if sys.platform == "linux" else 1  # bytes, of ru_maxrss
FRAMES = {number: {"xyz": np.full((42, 3), number, np.float32), "K": np.eye(3)} for number in range(3)}
HEADER = b"\x80\x04"
NESTED = 60


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(isolation, "SECONDS", SECONDS)


def attempt(path, content: bytes) -> object:
    """Read a pickle; its time and memory stay within the bounds, and an error is one line that names the file."""
    path.write_bytes(content)
    own, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    try:
        return load_pickle(path)
    except InputError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return error
    finally:
        assert time.perf_counter() - start < 10 * SECONDS
        most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss - own
        assert most * UNIT < isolation.MEMORY + 64 * len(content) + (1 << 28)


def laughs(beginning: bytes, twice: bytes, end: bytes = b".") -> bytes:
    """A value, made anew out of two references to it and so on, so that it has 2 ** NESTED parts in a few bytes."""
    return (
        HEADER + beginning + b"".join(b"q" + bytes([n]) + twice.replace(b"?", bytes([n])) for n in range(NESTED)) + end
    )


def sparse(shape: tuple[int, int]) -> bytes:
    matrix = scipy.sparse.csc_matrix(np.eye(3))
    matrix._shape = shape
    return pickle.dumps(matrix, 2)


BOMBS = {
    "lists of lists": laughs(b"]", b"0]h?ah?a"),
    "tuples of tuples": laughs(b")", b"0h?h?\x86"),
    "dictionaries of dictionaries": laughs(b"}", b"0}K\x00h?sK\x01h?s"),
    "a tuple of tuples as a key": laughs(b")", b"0h?h?\x86", b"q\xff0}h\xffK\x01s."),
    "a tuple of tuples in a set": laughs(b")", b"0h?h?\x86", b"q\xff0c__builtin__\nset\n]h\xffa\x85R."),
    "bytes of a length": HEADER + b"cbuiltins\nbytes\nJ\xff\xff\xff\x7f\x85R.",
    "bytes of a length, Python 2's": b"c__builtin__\nbytes\n(I2000000000\ntR.",
    "a sparse matrix of zeros": sparse((10**6, 10**6)),
    "a sparse matrix of a negative shape": sparse((-1, 3)),
    "a sparse matrix of too few columns": sparse((3, 1)),
    "a place far away in the memo": HEADER + b"]r\xff\xff\xff\x3f.",
    "another place far away in the memo": HEADER + b"]r\xff\xff\xff\x0f.",
    "a frame without an end": HEADER + b"\x95" + b"\xff" * 7 + b"\x7f]",
    "bytes without an end": HEADER + b"\x8e" + b"\xff\xff\xff\xff\xff\x00\x00\x00",
    "bytes of 3 GB": HEADER + b"\x8e" + (3 * 10**9).to_bytes(8, "little"),
    "text of 3 GB": HEADER + b"\x8d" + (3 * 10**9).to_bytes(8, "little"),
    "a byte array of 3 GB": b"\x80\x05\x96" + (3 * 10**9).to_bytes(8, "little"),
    "a number of 100,000 digits": b"I" + b"9" * 100_000 + b"\n.",
    "a long of 100,000 digits": b"L" + b"9" * 100_000 + b"L\n.",
    "10,000 levels": b"]" * 10_000 + b"a" * 9_999 + b".",
    "2,000,000 marks": b"(" * 2_000_000 + b".",
    "endless calls of itself": HEADER + b"cchumpy.ch\nCh\n)\x81q\x00}X\x01\x00\x00\x00xh\x00sb.",
    "an array of a shape without end": HEADER
    + b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01J\xff\xff\xff\x7f\x85"
    + b"cnumpy\ndtype\nX\x02\x00\x00\x00f8\x89\x88\x87R\x89C\x08abcdefghtb.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(tmp_path, name):
    assert isinstance(attempt(tmp_path / "bomb.pickle", BOMBS[name]), InputError)


@pytest.mark.parametrize("seed", range(6))
def test_mutations(tmp_path, seed):
    """Twenty each: bytes changed, cut out, put in twice, in pickles of all protocols."""
    draw = random.Random(seed)
    matrix = scipy.sparse.csr_matrix(np.eye(4))
    for number in range(20):
        content = bytearray(pickle.dumps([FRAMES, {"model": matrix}][number % 2], draw.choice((0, 2, 4, 5))))
        for _ in range(draw.choice((1, 1, 2, 8))):
            at, length = draw.randrange(len(content)), draw.randrange(1, 40)
            piece = content[at : at + length]
            content[at : at + length] = draw.choice((b"", piece * 2, draw.randbytes(len(piece)), draw.randbytes(1)))
        attempt(tmp_path / f"{number}.pickle", bytes(content))


def test_what_is_named_twice_is_read_once_and_stays(tmp_path):
    array = np.arange(6.0)
    path = tmp_path / "shared.pickle"
    path.write_bytes(pickle.dumps({"a": array, "b": array, "c": [array, [array]]}))
    found = load_pickle(path)
    for copy in (found["a"], found["b"], found["c"][0], found["c"][1][0]):
        np.testing.assert_array_equal(copy, array)


def crash(path):
    faulthandler.disable()  # pytest's
    os.kill(os.getpid(), signal.SIGSEGV)


def fill(path):
    return bytearray(8 << 30)


def spin(path):
    while True:
        pass


@pytest.mark.parametrize(
    ("read", "problem"),
    [
        (crash, r"ends its reader \(Segmentation fault"),
        (spin, r"takes more than 1 s of a core"),
        pytest.param(
            fill,
            r"takes more than 0\.5 GiB of memory",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="memory is bounded on Linux"),
        ),
    ],
)
def test_a_reader_that_dies_is_one_line(tmp_path, read, problem):
    path = tmp_path / "data.mat"
    path.write_bytes(b"...")
    with pytest.raises(InputError, match=rf"data\.mat is damaged: to read it {problem}.*; get the file again$"):
        isolated(read, path)


def test_values_and_errors_come_back(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(b"abc")
    assert isolated(lambda file: {"content": file.read_bytes()}, path) == {"content": b"abc"}
    with pytest.raises(InputError, match=r"^mine$"):
        isolated(lambda file: (_ for _ in ()).throw(InputError("mine")), path)
