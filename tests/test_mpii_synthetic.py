"""Synthetic MPII: both layouts show the same people, with the oddities of the original."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io

from lib.data.formats import mpii
from tests.mpii_files import MAT


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory) -> Path:
    """Both layouts of the same people, and what they are converted to: {mat,json}/ and {mat,json}-out/."""
    folder = tmp_path_factory.mktemp("synthetic")
    for layout in ("mat", "json"):
        mpii.write_synthetic(folder / layout, train=24, val=30, layout=layout, seed=3)
        mpii.convert(folder / layout, folder / f"{layout}-out")
    return folder


def documents(synthetic: Path, split: str) -> tuple[dict, dict]:
    return tuple(json.loads((synthetic / f"{layout}-out/{split}.json").read_text()) for layout in ("mat", "json"))


def test_synthetic_layouts_give_equal_annotations(synthetic: Path):
    """But for what JSON does not say: which labels are occluded, and the heads of training people."""
    for split, images in (("train", 24), ("val", 30)):
        mat, listed = documents(synthetic, split)
        assert mat["images"] == listed["images"] and len(mat["images"]) == images
        assert len(mat["annotations"]) == len(listed["annotations"])
        assert any(1 in a["keypoints"][2::3] for a in mat["annotations"])
        for a, b in zip(mat["annotations"], listed["annotations"], strict=True):
            a["keypoints"][2::3] = [2 * (v > 0) for v in a["keypoints"][2::3]]
            assert a.keys() - b.keys() == ({"head_size", "head_box"} if split == "train" else set())
            assert {name: a[name] for name in b} == b


def test_synthetic_people_come_back_as_written(synthetic: Path):
    for split, file in (("train", "train.json"), ("val", "valid.json")):
        rows = json.loads((synthetic / "json/annot" / file).read_text())
        rows.sort(key=lambda row: (row["image"], row["center"]))
        people = documents(synthetic, split)[0]["annotations"]
        for row, person in zip(rows, people, strict=True):
            x, y, v = np.reshape(person["keypoints"], (16, 3)).T
            labelled = np.array(row["joints_vis"]) == 1
            np.testing.assert_array_equal(v > 0, labelled)
            np.testing.assert_array_equal(np.column_stack((x, y))[labelled] + 1, np.array(row["joints"])[labelled])
            left, top, width, height = person["bbox"]
            centre = left + (width - 1) / 2 + 1, top + (height - 1) / 2 + 1 - 15 * row["scale"]
            np.testing.assert_allclose(centre, row["center"])
            np.testing.assert_allclose((width, height), 200 * row["scale"])
            np.testing.assert_allclose(person["head_size"], 25 * row["scale"], atol=1e-4)  # true of MPII itself
            # the box, enlarged as the networks see it, holds the person
            away = np.abs(np.column_stack((x, y)) - (left + width / 2, top + height / 2))[labelled]
            assert (away < 1.25 * width / 2).mean() > 0.85


def test_synthetic_mat_has_the_oddities_of_the_original(synthetic: Path):
    release = scipy.io.loadmat(synthetic / "mat" / MAT)["RELEASE"]
    assert release.shape == (1, 1) and release["annolist"][0, 0].shape == (1, 24 + 30 + 4)
    flags, annolist = release["img_train"][0, 0][0], release["annolist"][0, 0][0]
    assert (flags == 0).sum() == 2
    people = [image["annorect"] for image in annolist]
    assert {array.shape for array in people} >= {(0, 0), (1, 1), (1, 2), (1, 3)}
    fields = {array.dtype.names for array in people if array.size}
    assert {"annopoints" in names for names in fields} == {True, False}
    known = [array for array in people if "annopoints" in (array.dtype.names or ())]
    labelled = [annopoints for array in known for annopoints in array["annopoints"][0]]
    assert {annopoints.size for annopoints in labelled} == {0, 1}
    points = [annopoints["point"][0, 0][0] for annopoints in labelled if annopoints.size]
    assert {"is_visible" in array.dtype.names for array in points} == {True, False}
    kinds = {
        point["is_visible"].dtype.kind if point["is_visible"].size else "empty"
        for array in points
        if "is_visible" in array.dtype.names
        for point in array
    }
    assert kinds == {"U", "f", "empty"}
    with h5py.File(synthetic / "mat/annot/valid.h5") as file:
        names = file["imgname"][()].tolist()
    at = [image["image"]["name"][0, 0][0] for image in annolist]
    of_val = [array.size for array, name in zip(people, at, strict=True) if name in {key.decode() for key in names}]
    assert len(set(names)) == len(of_val) == 30 and len(names) < sum(of_val)


def test_synthetic_bytes_depend_on_the_settings_only(synthetic: Path, tmp_path: Path):
    mpii.write_synthetic(tmp_path / "again", train=24, val=30, layout="mat", seed=3)
    mpii.write_synthetic(tmp_path / "less", train=2, val=1, layout="json", seed=3)
    mpii.write_synthetic(tmp_path / "other", train=2, val=1, layout="json", seed=4)

    def files(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    full, less, other = files(synthetic / "mat"), files(tmp_path / "less"), files(tmp_path / "other")
    assert files(tmp_path / "again") == full
    pictures = {name for name in less if name.endswith(".jpg")}
    assert len(pictures) == 2 + 1 + 4
    assert all(full[name] == less[name] != other[name] for name in pictures)
    assert len({less[name] for name in pictures}) == len(pictures)
