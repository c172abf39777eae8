"""A user's file read in a process of its own: damaged ones make readers crash, run on or fill the memory."""

import os
import pickle
import resource
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from lib.errors import InputError

SECONDS = 5  # of a core; one more per MB of the file
MEMORY = 1 << 29  # bytes; 64 more per byte of the file

Value = TypeVar("Value")


def isolated(read: Callable[[Path], Value], path: Path) -> Value:
    """Return what `read(path)` returns, or raise the exception that it raises, both of which must be picklable.

    It runs in a fork of this process, with bounds on the time and, on Linux, on the memory that it takes. Raises
    InputError where that process dies, as of a segmentation fault, or exceeds a bound.
    """
    size = path.stat().st_size if path.is_file() else 0
    seconds, memory = SECONDS + (size >> 20), MEMORY + 64 * size
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        _answer(read, path, writing, seconds, memory)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        content = pipe.read()
    _, status = os.waitpid(child, 0)
    if status == 0:
        value, error = pickle.loads(content)
        if error is None:
            return value
        if not isinstance(error, MemoryError):
            raise error
    number = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    if number == signal.SIGXCPU:
        problem = f"takes more than {seconds} s of a core"
    elif number and number != signal.SIGKILL:
        problem = f"ends its reader ({signal.strsignal(number)})"
    else:
        problem = f"takes more than {memory / 2**30:.1f} GiB of memory"
    raise InputError(f"{path} is damaged: to read it {problem}; get the file again")


def _answer(read: Callable[[Path], Value], path: Path, writing: int, seconds: int, memory: int) -> None:
    """Write what `read(path)` returns or raises to a pipe, and end the process."""
    try:
        _limit(resource.RLIMIT_CORE, 0)
        _limit(resource.RLIMIT_CPU, seconds)
        pages = Path("/proc/self/statm")  # elsewhere than on Linux the system does not bound it
        if pages.exists():
            _limit(
                resource.RLIMIT_AS, int(pages.read_text(encoding="utf-8").split()[0]) * resource.getpagesize() + memory
            )
        try:
            answer = read(path), None
        except Exception as error:
            answer = None, error
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(answer, pipe, pickle.HIGHEST_PROTOCOL)
        os._exit(0)
    finally:
        os._exit(1)


def _limit(kind: int, wanted: int) -> None:
    """Lower a limit of this process; one that is lower already stays."""
    soft, hard = resource.getrlimit(kind)
    resource.setrlimit(kind, (wanted if soft == resource.RLIM_INFINITY else min(wanted, soft), hard))
