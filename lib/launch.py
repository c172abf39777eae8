"""Start a module as trainings start: `python -m lib.launch -m stages.train fpd/lsp_student`.

With the profile `mini` a training takes seconds, of which the import of PyTorch was most. So the first launch leaves a
server behind that has imported it, and each launch is a fork of that server, which imports the project's code anew. A
server serves the launches that agree with its first one in what a process inherits: folder, limits, cores, niceness,
umask, control group, and those variables that are read when a library is loaded. It ends when nobody has asked for IDLE
seconds; a launch ends with whoever waits for it.

LAUNCH names another way, `torchrun --nproc-per-node=4` or `python`: it is split as a POSIX shell splits words, and no
shell reads it. Outside Linux, where a process with PyTorch is not safely forked, it is this interpreter.
"""

import fcntl
import hashlib
import json
import os
import resource
import runpy
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

IDLE = 60.0
STARTS_WITHIN = 120.0
KILLED = 137
# Read when the interpreter or a library is loaded; other variables are those of each launch.
FIXED = (
    *("CUDA_", "GLIBC_", "GOMP_", "KMP_", "LANG", "LC_", "LD_", "MALLOC_", "MKL_", "OMP_", "OPENBLAS_", "PYTHON"),
    *("PYTORCH_", "TORCH"),
)
LATER = ("CUDA_VISIBLE_DEVICES",)


def main(*arguments: str) -> int:
    """Run `-m module arguments...` and return its exit status; 1 with a line of reason where that is not possible."""
    try:
        if command := launcher():
            os.execvp(command[0], [*command, *arguments])
        if "DVC_STAGE" in os.environ:
            end_with_dvc()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # ends this process, and with it the launch
        return Fork(arguments, os.environ, (0, 1, 2)).wait()
    except OSError as error:
        print(f"error: cannot start a training: {error}; LAUNCH=python may do", file=sys.stderr)
        return 1


def end_with_dvc() -> None:
    """End this launch, and with it its training, when DVC is killed: its parent, or that of the shell between them."""
    shell = os.getppid()
    above, command = parent(shell)
    between = "lib.launch" in command

    def watch() -> None:
        while os.getppid() == shell and (not between or parent(shell)[0] == above):
            time.sleep(1)
        os._exit(KILLED)

    threading.Thread(target=watch, daemon=True).start()


def parent(process: int) -> tuple[int, str]:
    """The parent of a process and its command line; 0 and nothing where it is gone."""
    try:
        if Path("/proc/self/stat").exists():
            *_, fields = Path(f"/proc/{process}/stat").read_text(errors="replace").rpartition(")")
            return int(fields.split()[1]), Path(f"/proc/{process}/cmdline").read_text(errors="replace")
        asked = ["ps", "-o", "ppid=,args=", "-p", str(process)]
        number, command = subprocess.run(asked, capture_output=True, text=True).stdout.split(None, 1)
        return int(number), command
    except (OSError, ValueError):
        return 0, ""


def launcher() -> list[str]:
    """The words that LAUNCH says to start with; none where a fork is meant."""
    return shlex.split(os.environ.get("LAUNCH", "")) or ([] if sys.platform == "linux" else [sys.executable])


def start(arguments: Sequence[str], environment: Mapping[str, str], output: int) -> "subprocess.Popen | Fork":
    """Start `-m module arguments...` beside this process, all it prints going to the file descriptor `output`."""
    if command := launcher():
        return subprocess.Popen(
            [*command, *arguments], env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    with open(os.devnull) as nothing:
        return Fork(arguments, environment, (nothing.fileno(), output, output))


class Fork:
    """A launch seen from outside, with methods of subprocess.Popen. It ends when the process of this object does."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], streams: tuple[int, int, int]):
        self.returncode: int | None = None
        self.connection = connect(address(environment), environment)
        request = {"arguments": list(arguments), "environment": dict(environment), "folder": os.getcwd()}
        socket.send_fds(self.connection, [b"\n"], streams)
        self.connection.sendall(json.dumps(request).encode() + b"\n")

    def wait(self) -> int:
        """The exit status, when there is one; KILLED for a process that left none."""
        if self.returncode is None:
            with self.connection, suppress(ConnectionResetError):
                self.returncode = int(self.connection.recv(16) or KILLED)
        return KILLED if self.returncode is None else self.returncode

    def poll(self) -> int | None:
        """The exit status; None while there is none."""
        if self.returncode is None and select.select([self.connection], [], [], 0)[0]:
            self.wait()
        return self.returncode

    def terminate(self) -> None:
        """End the process at once."""
        self.connection.close()
        self.returncode = KILLED if self.returncode is None else self.returncode


def address(environment: Mapping[str, str]) -> Path:
    """The socket of the server for launches by a process such as this one, with this environment.

    In a folder of this user's on a disk of this machine: a project's own folder may be one of several machines, and the
    path of a socket has to be short. Raises OSError where somebody else has that folder.
    """
    folder = Path(tempfile.gettempdir()) / f"launch-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.lstat().st_uid != os.getuid() or folder.is_symlink():
        raise OSError(f"{folder} belongs to somebody else")
    os.umask(umask := os.umask(0o077))
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in dir(resource) if name.startswith("RLIMIT_")}
    fixed = {name: value for name, value in environment.items() if name.startswith(FIXED) and name not in LATER}
    inherited = [
        *(sys.executable, os.getcwd(), fixed, limits, umask),
        *(os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0))),
        Path("/proc/self/cgroup").read_text(encoding="utf-8"),
    ]
    return folder / hashlib.sha256(json.dumps(inherited, sort_keys=True).encode()).hexdigest()[:16]


def connect(path: Path, environment: Mapping[str, str]) -> socket.socket:
    """A connection to the server, which is started where there is none. Raises OSError where none can be had."""
    server, give_up = None, time.monotonic() + STARTS_WITHIN
    while time.monotonic() < give_up:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
        if server is None or server.poll() == 0:  # none yet, or one that found another, which is at its end
            command = [sys.executable, "-m", "lib.launch", "--serve", str(path)]
            nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            server = subprocess.Popen(command, env=environment, start_new_session=True, **nothing)
            threading.Thread(target=server.wait, daemon=True).start()  # a server may end before this process does
        elif server.poll():
            break
        time.sleep(0.1)
    raise OSError("the server that forks them did not start")


def serve(path: Path, idle: float = IDLE) -> None:
    """Fork a process for every launch that asks at a socket, until nobody has asked for so many seconds.

    Whoever holds the lock beside the socket is the only server; another one returns at once.
    """
    with path.with_suffix(".lock").open("w") as lock, socket.socket(socket.AF_UNIX) as listener:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        path.unlink(missing_ok=True)  # of a server that was killed
        listener.bind(str(path))
        listener.listen()
        with suppress(ImportError):  # a launch says what is wrong
            import cv2  # noqa: F401
            import pycocotools.coco  # noqa: F401
            import safetensors.torch  # noqa: F401
            import timm  # noqa: F401
            import torch._dynamo  # noqa: F401

        signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the forks
        listener.settimeout(idle)
        while True:
            try:
                connection, _ = listener.accept()
            except TimeoutError:
                if not path.exists():
                    return
                path.unlink()  # nobody new comes; who came just before is served in the last round
                listener.settimeout(0.5)
                continue
            if os.fork() == 0:
                lock.close()
                listener.close()
                os._exit(answer(connection))
            connection.close()


def answer(connection: socket.socket) -> int:
    """Be the process of one launch: run what it asks for with its streams, send it the exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    _, streams, *_ = socket.recv_fds(connection, 1, 3)
    with connection.makefile("rb") as file:
        request = json.loads(file.readline())
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    # The server's own objects remember that they wrote to /dev/null, which can be sought in.
    sys.stdout, sys.stderr = (open(number, "w", 1, errors="backslashreplace", closefd=False) for number in (1, 2))  # noqa: SIM115
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])  # the server's own may have been deleted and made anew
    threading.Thread(target=follow, args=(connection,), daemon=True).start()
    status = run(request["arguments"])
    with suppress(OSError):
        connection.sendall(str(status).encode())
    return status


def follow(connection: socket.socket) -> None:
    """End with the launch: it is gone when its side of the connection is."""
    with suppress(OSError):
        connection.recv(1)
    os._exit(KILLED)


def run(arguments: list[str]) -> int:
    """Run `-m module arguments...` as the interpreter would; return its exit status."""
    _, module, *rest = arguments
    sys.argv = [module, *rest]
    status: object = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as exit:
        status = exit.code or 0
    except BaseException:
        traceback.print_exc()
        status = 1
    if not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return status


if __name__ == "__main__":
    if sys.argv[1] == "--serve":
        serve(Path(sys.argv[2]), *map(float, sys.argv[3:]))
    else:
        sys.exit(main(*sys.argv[1:]))
