"""Trainings as tasks of a Ray cluster of three nodes on this machine, two of them with GPUs that only Ray sees."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lib.errors import InputError
from lib.graph.cluster import Cluster
from lib.launch import launcher
from tests.small_project import contents, dvc, environment, repro, trained, weights, write_project

ray = pytest.importorskip("ray", reason="Ray is not installed: pip install -r requirements-cluster.txt")
pytestmark = pytest.mark.skipif(bool(launcher()), reason="trainings are no forks here and do not end with a worker")
LONGER = contents(teacher={"epochs": 150})
PLACE = re.compile(r"fpd/(\w+): node (\w+) on \S+, process (\d+), GPU (\d)")


@pytest.fixture(scope="module")
def cluster():
    """A cluster of a head without GPUs and two nodes with two each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "num_gpus": 0})
    for _ in range(2):
        cluster.add_node(num_cpus=1, num_gpus=2)
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def serial(tmp_path_factory) -> dict[str, bytes]:
    """The weights of a run without Ray."""
    root = tmp_path_factory.mktemp("serial")
    write_project(root)
    (root / "runs.json").write_text(json.dumps(LONGER))
    dvc(root, "repro")
    return weights(root)


@pytest.mark.parametrize(
    ("has", "gpus", "told"),
    [({}, None, "0 CPUs, one takes 1"), ({"CPU": 4.0}, 1.0, "0 GPUs, one"), ({"GPU": 1.0}, 2.0, "1 GPUs, one takes 2")],
    ids=["nothing", "no GPU", "a GPU too few"],
)
def test_a_cluster_without_a_place_for_a_training_is_refused(monkeypatch, has, gpus, told):
    monkeypatch.setattr(ray, "init", lambda *_, **__: None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: has)
    monkeypatch.delenv("LAUNCH", raising=False)
    with pytest.raises(InputError, match=told):
        Cluster("auto", gpus)
    assert Cluster("auto", gpus, jobs=2).trainings.total == 2  # of a cluster that grows when it is asked


def start(root: Path, cluster, *arguments: str) -> subprocess.Popen:
    """A run on the cluster, left to itself."""
    command = [sys.executable, "-m", "stages.repro", "--ray", cluster.address, *arguments]
    return subprocess.Popen(command, cwd=root, env=environment(), stderr=subprocess.PIPE, text=True)


def places(root: Path, run: str) -> list[tuple[str, int, str]]:
    """Node, process and device of each attempt at a training, in its log."""
    log = root / f".cache/logs/{run}.log"
    found = PLACE.findall(log.read_text()) if log.exists() else []
    return [(node, int(process), device) for _, node, process, device in found]


def losing(root: Path, cluster, lose) -> int:
    """Train teacher and student; call `lose` with the teacher's place in the middle of it; the exit status."""
    write_project(root)
    (root / "runs.json").write_text(json.dumps(LONGER))
    with start(root, cluster, "student") as process:
        deadline = time.monotonic() + 120
        while not places(root, "teacher") or "seed 0: epoch" not in (root / ".cache/logs/teacher.log").read_text():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        lose(places(root, "teacher")[0])
        process.communicate(timeout=300)
    return process.returncode


def test_students_follow_their_teacher_on_devices_of_their_own(cluster, serial, tmp_path):
    write_project(tmp_path)
    (tmp_path / "runs.json").write_text(json.dumps(LONGER))
    process = start(tmp_path, cluster, "--jobs", "2")
    _, text = process.communicate(timeout=300)
    assert process.returncode == 0, text
    assert weights(tmp_path) == serial
    order = [line.split(":")[0] for line in text.splitlines()]
    assert order.index("teacher") < min(order.index("student"), order.index("student_half"))
    first = {run: places(tmp_path, run)[0] for run in ("teacher", "alone", "baseline", "student", "student_half")}
    assert {device for _, _, device in first.values()} <= {"0", "1"}
    for run in ("alone", "baseline"):  # beside the teacher, which takes longer than both
        assert first[run][::2] != first["teacher"][::2]


def test_a_killed_worker_is_replaced(cluster, serial, tmp_path):
    assert losing(tmp_path, cluster, lambda place: os.kill(place[1], signal.SIGKILL)) == 0
    attempts = places(tmp_path, "teacher")
    assert len(attempts) == 2 and attempts[0][1] != attempts[1][1]
    assert weights(tmp_path) == {run: serial[run] for run in ("teacher", "student")}
    assert dvc(tmp_path, "status", "student").strip() == "Data and pipelines are up to date."


def test_a_lost_node_is_done_without(cluster, serial, tmp_path):
    def lose(place):
        (node,) = (node for node in cluster.list_all_nodes() if node.node_id.startswith(place[0]))
        cluster.remove_node(node, allow_graceful=False)

    assert losing(tmp_path, cluster, lose) == 0
    attempts = places(tmp_path, "teacher")
    assert len(attempts) == 2 and attempts[0][0] != attempts[1][0]
    assert weights(tmp_path) == {run: serial[run] for run in ("teacher", "student")}


def test_without_a_cluster_one_line_says_so(tmp_path):
    write_project(tmp_path)
    process = repro(tmp_path, "--ray", "127.0.0.1:1")
    assert process.returncode == 1
    assert process.stderr.splitlines()[-1].startswith("error: no Ray cluster at 127.0.0.1:1")
    assert trained(tmp_path) == set()
