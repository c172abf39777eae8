"""Run a module in a process that has PyTorch already: `python -m lib.launch -m stages.train fpd.lsp_student`.

With the profile `mini` a training takes seconds, of which the import of PyTorch was most. So the first launch leaves a
server behind that has imported it, and each launch is a fork of that server with its own arguments, environment and
streams, which imports the project's code anew. The server ends when nobody has asked for IDLE seconds. LAUNCH=python
does without.
"""

import hashlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

FOLDER = Path(".cache")
IDLE = 60.0
STARTS_WITHIN = 120.0
KILLED = 137
# Read by libraries when they are imported: a server serves those launches only that agree in them.
FIXED = ("OMP_", "MKL_", "KMP_", "CUDA_", "TORCH", "PYTHON", "LD_")


def main(*arguments: str) -> int:
    """Run `-m module arguments...` and return its exit status; 1 with a line of reason where that is not possible."""
    connection = connect(address())
    if connection is None:
        print("error: no server that launches trainings could be started; LAUNCH=python does without", file=sys.stderr)
        return 1
    with connection:
        request = {"arguments": arguments, "environment": dict(os.environ)}
        socket.send_fds(connection, [b"\n"], [0, 1, 2])
        connection.sendall(json.dumps(request).encode() + b"\n")
        return int(connection.recv(16) or KILLED)


def address() -> Path:
    """The socket of the server for this interpreter and environment; relative, because sockets' paths are short."""
    fixed = {name: value for name, value in os.environ.items() if name.startswith(FIXED)}
    key = hashlib.sha256(json.dumps([sys.executable, sorted(fixed.items())]).encode()).hexdigest()
    return FOLDER / f"launch-{key[:12]}.sock"


def connect(path: Path) -> socket.socket | None:
    """A connection to the server, which is started where there is none; None where it ends at once."""
    server, give_up = None, time.monotonic() + STARTS_WITHIN
    while time.monotonic() < give_up:
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
            return connection
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
        if server is None:
            command = [sys.executable, "-m", "lib.launch", "--serve", str(path)]
            nothing = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
            server = subprocess.Popen(command, start_new_session=True, **nothing)
        elif server.poll():
            return None
        time.sleep(0.05)
    return None


def serve(path: Path, idle: float = IDLE) -> None:
    """Fork a process for every launch that asks at a socket, until nobody has asked for so many seconds."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)  # of a server that was killed: it refused a connection
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
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
                listener.close()
                os._exit(answer(connection))
            connection.close()


def answer(connection: socket.socket) -> int:
    """Be the process of one launch: run what it asks for with its streams, send it the exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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
    threading.Thread(target=follow, args=(connection,), daemon=True).start()
    status = run(request["arguments"])
    connection.sendall(str(status).encode())
    return status


def follow(connection: socket.socket) -> None:
    """End with the launch: it is gone when its side of the connection is."""
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
