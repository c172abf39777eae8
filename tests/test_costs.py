"""What trainings cost, and how long several devices take for runs that wait for each other."""

import pytest

from lib.graph.costs import longest_chain, makespan, training_macs
from lib.metrics.complexity import count
from lib.models import build_model
from tests import toy

COSTS = {"teacher": 4.0, "student": 1.0, "taught": 2.0, "other": 3.0}
NEEDS = {"teacher": [], "student": [], "taught": ["teacher", "student"], "other": []}


def test_the_longest_chain_is_a_teacher_and_its_student():
    assert longest_chain(COSTS, NEEDS) == 6
    assert longest_chain({}, {}) == 0


@pytest.mark.parametrize("devices, hours", [(1, 10), (2, 6), (3, 6)])
def test_devices_work_on_what_the_most_waits_for(devices, hours):
    """Two devices: teacher, then taught on one; student, other on the other. Begun with `other` it would be 7."""
    assert makespan(COSTS, NEEDS, devices) == hours


def test_a_device_waits_for_what_is_not_ready():
    assert makespan({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": [], "b": ["a"], "c": ["b"]}, 8) == 3


def test_multiply_accumulates_of_a_training():
    """Forward and backward of the student, forward of the teacher, for every person and epoch."""
    small = toy.run(epochs=3, train_samples=100)
    large = toy.run(name="teacher", model={**small.model, "channels": 16}, train_samples=100)
    taught = toy.run(epochs=3, train_samples=100, teacher="fpd/teacher", method="fpd", teacher_input=(64, 64))
    one, other = (count(build_model({**run.model, "joints": 14}), (64, 64))["macs"] for run in (small, large))
    assert 0 < one < other
    runs = {"fpd/teacher": large}
    assert training_macs(small, runs, rendered=0) == 3 * one * 100 * 3
    assert training_macs(taught, runs, rendered=0) == (3 * one + other) * 100 * 3


def test_rendered_hands_and_all_people_where_no_number_is_set():
    run = toy.run(epochs=1, train_samples=None, synthetic="mano")
    macs = count(build_model({**run.model, "joints": 14}), (64, 64))["macs"]
    assert training_macs(run, {}, rendered=500) == 3 * macs * (11_000 + 500)
