"""A launch behaves as the interpreter would, in a process that has PyTorch already."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MODULE = """
import json, os, sys, time
loaded = "torch" in sys.modules
wish = sys.argv[1] if len(sys.argv) > 1 else ""
print(json.dumps([loaded, sys.argv[1:], os.environ.get("WISH"), os.getcwd(), __name__]))
print("and this", file=sys.stderr)
if wish == "read": print(sys.stdin.read())
if wish == "message": sys.exit("error: one line")
if wish == "status": sys.exit(3)
if wish == "raise": raise ValueError("what happened")
if wish == "die": os.kill(os.getpid(), 9)
if wish == "wait":
    open("started", "w").write(str(os.getpid()))
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project of one module, and its server for the tests of this file."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "lib").symlink_to(ROOT / "lib")
    (folder / "work.py").write_text(MODULE)
    yield folder
    for pid in servers(folder):
        os.kill(pid, signal.SIGKILL)


def servers(folder: Path) -> list[int]:
    """Processes that serve in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if b"--serve" in (process / "cmdline").read_bytes() and (process / "cwd").resolve() == folder.resolve():
                found.append(int(process.name))
        except OSError:  # ended meanwhile
            continue
    return found


def launch(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lib.launch", "-m", "work", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **options)


def plain(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "work", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **options)


linux = pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks for processes in /proc, which is not there")


@linux
@pytest.mark.parametrize("arguments", [(), ("a", "-b"), ("message",), ("status",), ("raise",), ("read",)], ids=str)
def test_streams_arguments_environment_folder_and_status_are_those_of_the_interpreter(folder, arguments):
    options = {"env": os.environ | {"WISH": "this"}, "input": "typed"}
    ours, expected = launch(folder, *arguments, **options), plain(folder, *arguments, **options)
    assert ours.stdout == expected.stdout.replace("[false", "[true")
    assert ours.returncode == expected.returncode
    first, last = (text.stderr.splitlines()[index] for text, index in ((ours, 0), (ours, -1)))
    assert [first, last] == [expected.stderr.splitlines()[0], expected.stderr.splitlines()[-1]]


@linux
def test_all_launches_share_one_server_and_see_changed_code(folder):
    launch(folder)
    before = servers(folder)
    assert len(before) == 1
    (folder / "work.py").write_text("print('changed')")
    try:
        assert launch(folder).stdout == "changed\n"
    finally:
        (folder / "work.py").write_text(MODULE)
    assert servers(folder) == before


@linux
def test_a_killed_launch_takes_its_process_with_it(folder):
    (folder / "started").unlink(missing_ok=True)
    command = [sys.executable, "-m", "lib.launch", "-m", "work", "wait"]
    client = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "started").exists() or not (folder / "started").read_text():
        time.sleep(0.05)
    pid = int((folder / "started").read_text())
    client.kill()
    client.wait()
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@linux
def test_a_killed_process_is_a_failed_launch(folder):
    assert launch(folder, "die").returncode == 137


@linux
def test_a_server_that_was_killed_is_replaced(folder):
    launch(folder)
    (old,) = servers(folder)
    os.kill(old, signal.SIGKILL)
    while servers(folder):  # it may still take a connection
        time.sleep(0.05)
    assert launch(folder).returncode == 0
    assert servers(folder) != [old]


@linux
def test_threads_are_part_of_a_servers_environment(folder):
    """OpenMP reads its number of threads once, when it is loaded."""
    launch(folder)
    before = set(servers(folder))
    other = launch(folder, env=os.environ | {"OMP_NUM_THREADS": "7"})
    assert other.returncode == 0
    assert set(servers(folder)) > before


@linux
def test_an_idle_server_ends_and_leaves_no_socket(folder):
    (folder / ".cache").mkdir(exist_ok=True)
    command = [sys.executable, "-m", "lib.launch", "--serve", ".cache/idle.sock", "0.2"]
    assert subprocess.run(command, cwd=folder, timeout=120).returncode == 0
    assert not (folder / ".cache/idle.sock").exists()
