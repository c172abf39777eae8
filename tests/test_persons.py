"""Persons who are set aside: whole images, a tenth, never trained on, and scored by their own annotations."""

import numpy as np
import pytest

from lib.data.packing import set_aside
from lib.data.persons import open_persons
from lib.training.distributed import Process
from lib.training.seeds import batches
from tests import toy


def document(count: int) -> dict:
    """Images 1, 2, ..., image n with n % 3 persons, whose ids are 10 n + 1 and so on."""
    images = [{"id": number} for number in range(1, count + 1)]
    people = [{"id": 10 * n + i, "image_id": n} for n in range(1, count + 1) for i in range(1, n % 3 + 1)]
    return {"info": "kept", "images": images, "annotations": people}


@pytest.mark.parametrize("count, aside", [(11000, 1100), (1000, 100), (90, 9), (20, 2), (3, 1)])
def test_a_tenth_of_the_images_is_set_aside_with_all_that_they_show(count, aside):
    everything = document(count)
    held = set_aside(everything)
    ids = {image["id"] for image in held["images"]}
    assert len(ids) == len(held["images"]) == aside
    assert held["annotations"] == [person for person in everything["annotations"] if person["image_id"] in ids]
    assert held["info"] == "kept" and len(everything["images"]) == count


def test_blocks_are_set_aside_all_over_the_benchmark():
    ids = [image["id"] for image in set_aside(document(2000))["images"]]
    assert ids == [200 * part + n for part in range(10) for n in range(181, 201)]


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    root = tmp_path_factory.mktemp("project")
    toy.write_dataset(root, train=40, val=6)
    return root / "data/crops/lsp"


def test_nobody_held_out_is_trained_on_and_all_are_validated_on(crops):
    persons = open_persons(crops, "heldout")
    held = {image["id"] for image in persons.annotations["images"]}
    assert held == {10, 20, 30, 40}
    trained = set(persons.train.image_ids[persons.rows].tolist())
    assert trained == set(range(1, 41)) - held and persons.validation is persons.train

    run = toy.run(validation="heldout", train_samples=12, batch_size=4)
    training, validation = batches(run, persons, np.array(sorted(held)), 0, Process())
    seen = {row for epoch in (1, 2) for batch in training.epoch(epoch) for row in batch.rows.tolist()}
    assert len(seen) == 12 and not held & set(persons.train.image_ids[sorted(seen)].tolist())
    judged = np.concatenate([batch.rows for batch in validation.epoch(0)])
    assert set(persons.train.image_ids[judged].tolist()) == held


def test_test_persons_leave_all_others_to_the_training(crops):
    persons = open_persons(crops, "test")
    assert persons.rows.tolist() == list(range(40)) and len(persons.validation.ids) == 6
    assert [image["id"] for image in persons.annotations["images"]] == list(range(1, 7))


def test_a_held_out_person_is_seen_in_its_box_as_a_test_person_is(crops):
    """Training crops have a margin; an unaugmented view shows the box alone."""
    persons = open_persons(crops, "heldout")
    (batch,) = batches(toy.run(validation="heldout"), persons, np.array([10, 20, 30, 40]), 0, Process())[1].epoch(0)
    margin = (persons.train.images.shape[1] - toy.SIDE) // 2
    visible = batch.visible.numpy()
    expected = persons.train.keypoints[batch.rows] - margin
    np.testing.assert_allclose(batch.keypoints.numpy()[visible], expected[visible], atol=1e-3)
