"""A launch behaves as the interpreter would, in a process that has PyTorch already."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lib.launch import parent

ROOT = Path(__file__).resolve().parents[1]
INHERITED = """
import json, os, resource
mask = os.umask(0)
limits = resource.getrlimit(resource.RLIMIT_NOFILE)
print(json.dumps([mask, os.getpriority(os.PRIO_PROCESS, 0), sorted(os.sched_getaffinity(0)), limits]))
"""
MODULE = """
import json, os, sys, time
loaded = "torch" in sys.modules
wish = sys.argv[1] if len(sys.argv) > 1 else ""
print(json.dumps([loaded, sys.argv[1:], os.environ.get("DVC_STAGE"), os.getcwd(), __name__]))
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


pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only on Linux are launches forks")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project of one module, and its servers for the tests of this file."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "lib").symlink_to(ROOT / "lib")
    (folder / "work.py").write_text(MODULE)
    (folder / "inherited.py").write_text(INHERITED)
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


def launch(folder: Path, *arguments: str, module: str = "work", **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "lib.launch", "-m", module, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **options)


def plain(folder: Path, *arguments: str, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "work", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, **options)


@pytest.mark.parametrize("arguments", [(), ("a", "-b"), ("message",), ("status",), ("raise",), ("read",)], ids=str)
def test_streams_arguments_environment_folder_and_status_are_those_of_the_interpreter(folder, arguments):
    options = {"env": os.environ | {"DVC_STAGE": "this"}, "input": "typed"}
    ours, expected = launch(folder, *arguments, **options), plain(folder, *arguments, **options)
    assert ours.stdout == expected.stdout.replace("[false", "[true")
    assert ours.returncode == expected.returncode
    first, last = (text.stderr.splitlines()[index] for text, index in ((ours, 0), (ours, -1)))
    assert [first, last] == [expected.stderr.splitlines()[0], expected.stderr.splitlines()[-1]]


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


def test_a_folder_that_was_deleted_and_made_anew_is_the_one_that_is_there_now(folder):
    launch(folder)
    before, moved = servers(folder), folder.with_name("moved away")
    folder.rename(moved)
    shutil.copytree(moved, folder, symlinks=True)
    (folder / "work.py").write_text("import os; print(os.path.samestat(os.stat('.'), os.stat(os.environ['PLACE'])))")
    try:
        assert launch(folder, env=os.environ | {"PLACE": str(folder)}).stdout == "True\n"
        assert servers(moved) == before
    finally:
        shutil.rmtree(folder)
        moved.rename(folder)


def test_launches_at_once_start_one_server(folder):
    before = set(servers(folder))
    new = os.environ | {"OMP_NUM_THREADS": "7"}  # OpenMP reads it when it is loaded
    threads = [threading.Thread(target=launch, args=(folder,), kwargs={"env": new}) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(servers(folder)) - before) == 1


def lessened() -> None:
    """Other limits, set in a process before it runs."""
    os.umask(0o027)
    os.nice(3)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 400))


def test_a_launch_has_the_limits_of_whoever_launches_it(folder):
    common = json.loads(launch(folder, module="inherited").stdout)  # a server with these limits is there
    command = [sys.executable, "-m", "inherited"]
    expected = subprocess.run(command, cwd=folder, capture_output=True, text=True, preexec_fn=lessened)
    ours = launch(folder, module="inherited", preexec_fn=lessened)
    assert json.loads(ours.stdout) == json.loads(expected.stdout)
    assert all(mine != other for mine, other in zip(json.loads(ours.stdout), common, strict=True))


def waiting(folder: Path) -> tuple[subprocess.Popen, int]:
    """A launch that waits for a minute, and the process that does."""
    (folder / "started").unlink(missing_ok=True)
    command = [sys.executable, "-m", "lib.launch", "-m", "work", "wait"]
    client = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while not (folder / "started").exists() or not (folder / "started").read_text():
        time.sleep(0.05)
    return client, int((folder / "started").read_text())


def gone(pid: int) -> bool:
    """Whether a process ends within ten seconds."""
    deadline = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_launch_takes_its_process_with_it(folder, number):
    client, pid = waiting(folder)
    client.send_signal(number)
    assert client.wait(10) == -number
    assert gone(pid)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_killed_process_is_a_failed_launch(folder, number):
    client, pid = waiting(folder)
    os.kill(pid, number)
    assert client.wait(10) > 0
    assert launch(folder).returncode == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_server_ends_no_launch_and_is_replaced(folder, number):
    client, pid = waiting(folder)
    old = [server for server in servers(folder) if server != pid]
    for server in old:
        os.kill(server, number)
    assert all(map(gone, old))  # its socket, too
    assert client.poll() is None
    assert launch(folder).returncode == 0
    assert set(servers(folder)) - {pid, *old}
    client.kill()
    assert gone(pid)


def test_a_server_that_ends_leaves_nothing_in_the_process_that_started_it(folder):
    code = (
        "from lib.launch import address, connect; import os; connect(address(os.environ), os.environ); input(print())"
    )
    new = os.environ | {"OMP_NUM_THREADS": "9"}
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    process = subprocess.Popen([sys.executable, "-uc", code], cwd=folder, env=new, **pipes)
    assert process.stdout.readline()
    (server,) = (one for one in servers(folder) if parent(one)[0] == process.pid)
    os.kill(server, signal.SIGTERM)
    assert gone(server)
    process.communicate(b"\n")


def test_a_launcher_is_read_as_words(folder):
    (folder / "a launcher.py").write_text("import sys; print(sys.argv[1:])")
    done = launch(folder, "x", env=os.environ | {"LAUNCH": f"{sys.executable} 'a launcher.py' --processes=2 $HOME"})
    assert done.stdout == "['--processes=2', '$HOME', '-m', 'work', 'x']\n"


def test_a_launcher_that_is_absent_is_one_line(folder):
    done = launch(folder, env=os.environ | {"LAUNCH": "no-such-launcher"})
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1 and "LAUNCH=python" in done.stderr


def test_an_idle_server_ends_and_leaves_no_socket(folder, tmp_path):
    command = [sys.executable, "-m", "lib.launch", "--serve", str(tmp_path / "idle"), "0.2"]
    assert subprocess.run(command, cwd=folder, timeout=120).returncode == 0
    assert not (tmp_path / "idle").exists()


def heed_interrupts() -> None:
    """What a shell's background ignores counts again, as in a terminal's foreground."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def started(folder: Path) -> int:
    """The process of a launch that waits, once it runs."""
    while not (folder / "started").exists() or not (folder / "started").read_text():
        time.sleep(0.05)
    return int((folder / "started").read_text())


@pytest.mark.parametrize("shell", ["exec {command}", "{command}; true"], ids=["in place of the shell", "below a shell"])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_nothing_runs_on_after_dvc_was_killed(folder, shell, number):
    """DVC runs a shell with the stage's name in the environment; some shells give their place to the last command."""
    (folder / "started").unlink(missing_ok=True)
    command = shell.format(command=f"{sys.executable} -m lib.launch -m work wait")
    code = f"import subprocess; subprocess.run(['/bin/sh', '-c', {command!r}], env={dict(os.environ, DVC_STAGE='a')!r})"
    quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    dvc = subprocess.Popen([sys.executable, "-c", code], cwd=folder, preexec_fn=heed_interrupts, **quiet)
    pid = started(folder)
    dvc.send_signal(number)
    dvc.wait()
    assert gone(pid)


def test_after_dvc_was_killed_the_next_repro_works(folder):
    """DVC's lock names a process that is gone; nothing of the killed training is in the way."""
    (folder / "started").unlink(missing_ok=True)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "-q", "-f"], cwd=folder, check=True)
    command = f"{sys.executable} -m lib.launch -m work"
    (folder / "dvc.yaml").write_text(f"stages:\n  train:\n    cmd: {command} wait\n    outs: [result]\n")
    quiet = dict.fromkeys(("stdout", "stderr"), subprocess.DEVNULL)
    dvc = subprocess.Popen([sys.executable, "-m", "dvc", "repro"], cwd=folder, **quiet)
    pid = started(folder)
    dvc.kill()
    dvc.wait()
    assert gone(pid)
    (folder / "dvc.yaml").write_text(f"stages:\n  train:\n    cmd: {command} && touch result\n    outs: [result]\n")
    again = [sys.executable, "-m", "dvc", "repro"]
    done = subprocess.run(again, cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert (folder / "result").exists()
