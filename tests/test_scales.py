"""A search over scales: people at several sizes, whose maps are averaged on one grid, give a second number."""

import json
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lib.codecs.heatmap import HeatmapCodec
from lib.data.batches import MEAN, STD, Batches
from lib.data.crops import WIDE, open_crops
from lib.data.packing import pack
from lib.errors import InputError
from lib.tasks.heatmap import Supervised, unzoomed
from lib.training.distributed import Process
from lib.training.predict import predict, search
from lib.training.seeds import fingerprint
from stages import evaluate, report
from stages.specs import specs
from tests import toy
from tests.markdown import cells, section
from tests.settings import load_changed

SIDE, ZOOMS = 64, (0.8, 1, 1.25)


@pytest.fixture
def load(tmp_path):
    return partial(load_changed, tmp_path)


# Settings


def test_no_run_has_one_unless_asked_and_then_it_costs_that_paper_alone(load):
    params = load({})
    assert {params.run(label).scales for label in params.labels} == {(1,)}
    before, after = specs(params), specs(load({"fpd.decoding.scales": [0.75, 1]}))
    differing = {name for name in before if before[name] != after[name]}
    assert differing == {
        "fpd",
        "pack/lsp",
        "pack/mpii",
        *(label for label in params.labels if label.startswith("fpd/")),
    }
    assert after["fpd/lsp_student"]["run"]["scales"] == (0.75, 1) and after["pack/lsp"]["smallest"] == 0.75
    assert before["pack/lsp"] == after["pack/lsp"] | {"smallest": 1}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("cdkd.decoding.scales", [0.8, 1], r"cdkd.decoding.scales is \[0.8, 1.0\]; only heatmaps .*simcc: set it to"),
        ("cmkg.decoding", {"scales": [0.8, 1]}, r"unknown key cmkg.decoding"),
        ("fpd.decoding.scales", [0.8, 1, 0.8], r"fpd.decoding.scales is \[0.8, 1.0, 0.8\]; every one once"),
        ("fpd.decoding.scales", [], r"fpd.decoding.scales"),
        ("fpd.decoding.scales", [0.1, 1], r"fpd.decoding.scales.0 is 0.1: .*greater than or equal to 0.5"),
    ],
)
def test_what_cannot_be_averaged_is_refused_in_a_line(load, key, value, message):
    with pytest.raises(InputError, match=message) as caught:
        load({key: value})
    assert "\n" not in str(caught.value)


# Maps


def test_literal_maps_come_back_onto_the_grid_of_size_one():
    ramp = torch.tensor([1.0, 2, 3, 4]).expand(4, 4)[None, None]
    # At half the size the map's middle is the view: pixels 0 to 3 lie at 0.75, 1.25, 1.75 and 2.25 of it.
    torch.testing.assert_close(unzoomed(ramp, 0.5), torch.tensor([1.75, 2.25, 2.75, 3.25]).expand(4, 4)[None, None])
    # At twice the size a pixel is two, and the outer ones are not seen: at -1.5, 0.5, 2.5 and 4.5.
    seen = torch.tensor([0.0, 1, 1, 0])
    torch.testing.assert_close(unzoomed(ramp, 2), (seen[:, None] * torch.tensor([0, 1.5, 3.5, 0]))[None, None])
    torch.testing.assert_close(unzoomed(ramp, 1), ramp)
    assert unzoomed(ramp.bfloat16(), 1).dtype == torch.float32


class Colours(nn.Module):
    """A network that knows the answer: joint k is where colour channel k is bright."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        grey = images * torch.tensor(STD, dtype=torch.float32)[:, None, None]
        return [F.avg_pool2d((grey + torch.tensor(MEAN, dtype=torch.float32)[:, None, None]) / 255, 4)]


class Told(nn.Module):
    """A network whose maps are its images."""

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        return [images]


# Red, green and blue, px of the image; the last is at the corner of its box, which a view of size 1.25 leaves out.
DOTS = np.array([[[70, 84], [90, 98], [63, 77]], [[160, 190], [195, 163], [152, 150]]])


def photograph(folder: Path) -> None:
    """Two people in a grey picture of 260 px, each with a blurred dot of red, green and blue in a box of 64 px."""
    image, (y, x) = np.full((260, 260, 3), 20.0), np.mgrid[:260, :260]
    for joints in DOTS:
        image += 230 * np.exp(-((x[..., None] - joints[:, 0]) ** 2 + (y[..., None] - joints[:, 1]) ** 2) / 72)
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images/1.png"), image[..., ::-1].round().astype(np.uint8))
    people = [
        {"id": number, "image_id": 1, "bbox": [corner, corner, SIDE, SIDE], "iscrowd": 0, "num_keypoints": 3}
        | {"keypoints": [value for x, y in joints.tolist() for value in (x, y, 2)]}
        for number, (corner, joints) in enumerate(zip((50, 147), DOTS, strict=True), start=1)
    ]
    category = {"id": 1, "keypoints": ["red", "green", "blue"], "flip_pairs": [], "upper_body": []}
    document = {"info": {"dataset": "lsp", "source": "synthetic"}, "annotations": people, "categories": [category]}
    document["images"] = [{"id": 1, "file_name": "1.png", "width": 260, "height": 260}]
    for split in ("train", "val"):
        (folder / f"{split}.json").write_text(json.dumps(document))


@pytest.fixture(scope="module")
def photographed(tmp_path_factory) -> Path:
    """Crops of the two, and what smaller views need."""
    folder = tmp_path_factory.mktemp("photograph")
    photograph(folder)
    sizes = {"input": (SIDE, SIDE), "padding": 1.0, "margin": 1.0}
    pack(folder, folder / "images", folder / "crops", **sizes, smallest=0.5)
    pack(folder, folder / "images", folder / "plain", **sizes)
    return folder


def test_only_a_folder_of_its_own_is_added_and_shows_the_image(photographed):
    files = {
        name: {path.relative_to(photographed / name): path.read_bytes() for path in (photographed / name).rglob("*.*")}
        for name in ("crops", "plain")
    }
    added = files["crops"].keys() - files["plain"].keys()
    assert added and all(path.parts[0] == WIDE for path in added)
    assert all(files["crops"][path] == content for path, content in files["plain"].items())
    image = cv2.imread(str(photographed / "images/1.png"))[..., ::-1]
    wide, crops = (open_crops(photographed / "crops", split) for split in (WIDE, "val"))
    assert np.array_equal(wide.images[0], image[18:146, 18:146])  # twice the box, about the same middle
    assert np.array_equal(crops.images[0], image[50:114, 50:114]) and wide.ids.tolist() == crops.ids.tolist()
    assert np.array_equal(wide.images[1], image[115:243, 115:243])


def views(folder: Path, zooms: tuple[float, ...]) -> list[Batches]:
    crops = open_crops(folder / "crops", WIDE)
    common = {"augmentation": None, "seed": 0, "path": "cv2"}
    return [Batches(crops, {"student": (SIDE, SIDE)}, 2, **common, zoom=zoom) for zoom in zooms]


def test_a_view_shows_people_so_many_times_as_large_and_what_is_around_them(photographed):
    image = cv2.imread(str(photographed / "images/1.png"))[..., ::-1].astype(np.float64)
    (batch,) = views(photographed, (0.5,))[0].epoch(0)
    quarters = image[18:146, 18:146].reshape(SIDE, 2, SIDE, 2, 3).mean((1, 3))  # a pixel of the view is four
    found = batch.images["student"][0].permute(1, 2, 0).numpy() * STD + MEAN
    assert np.abs(found - quarters).max() <= 0.51
    # A joint is as far from the middle of the view as half its distance from that of the box, at 81.5.
    np.testing.assert_allclose(batch.keypoints[0].numpy(), (DOTS[0] - 81.5) / 2 + 31.5, atol=1e-4)


@pytest.mark.parametrize("flip_test", [False, True])
def test_a_network_that_knows_finds_the_same_places_at_all_sizes(photographed, flip_test):
    task = Supervised(Colours(), HeatmapCodec((SIDE, SIDE), sigma=1, scaling="peak"), ())
    zoomed = views(photographed, ZOOMS)
    for one in zoomed:
        (batch,) = one.epoch(0)
        place = unzoomed(task.tested(batch.images["student"], flip_test), one.zoom).flatten(2).argmax(2)
        found = torch.stack((place % 16, place // 16), 2).numpy()
        gaps = np.abs(found - ((DOTS - np.array([50, 147])[:, None, None] + 0.5) / 4 - 0.5)).reshape(6, 2).max(1)
        assert gaps[:5].max() < 1 and (gaps[5] < 1) == (one.zoom <= 1), one.zoom
    found = search(task, zoomed, flip_test)
    assert np.abs(found["keypoints"] - DOTS).max() < 2  # half a pixel of the map, which is 4
    alone = predict(task, views(photographed, (1,))[0], flip_test)
    assert list(found) == list(alone) and all(np.array_equal(found[k], alone[k]) for k in ("ids", "areas"))
    same = search(task, views(photographed, (1,)), flip_test)
    np.testing.assert_allclose(same["scores"], alone["scores"], rtol=1e-5)
    assert np.array_equal(same["keypoints"], alone["keypoints"])


def test_the_mean_is_of_maps_and_not_of_places():
    """The view at size 1 has two peaks, that at half the size decides for the lower one."""
    views = {1: torch.zeros(1, 1, 8, 8), 0.5: torch.zeros(1, 1, 8, 8)}
    views[1][..., 2, 2], views[1][..., 5, 5] = 1.0, 0.8
    views[0.5][..., 4:6, 4:6] = 0.8  # pixels 5 and 6 of the map of size 1 lie there, at 4.25 and 4.75
    codec = HeatmapCodec((32, 32), sigma=1, scaling="peak", refinement="none")
    task = Supervised(Told(), codec, ())
    assert task.predict(views[1])[0].tolist() == [[[9.5, 9.5]]]
    keypoints, scores = task.search(views, flip_test=False)
    assert keypoints.tolist() == [[[21.5, 21.5]]] and scores.item() == pytest.approx(0.8)


# Trainings and reports


def test_a_search_is_added_to_a_training_and_changes_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    toy.write_dataset(tmp_path, train=8, val=5)
    plain = toy.run(epochs=1)
    before = fingerprint(plain, 0, {}, Process(), {})
    toy.train(plain, 0)
    raw, annotations = tmp_path / "data/raw/lsp", tmp_path / "data/annotations/lsp"
    pack(
        *(annotations, raw, tmp_path / "data/crops/lsp"),
        **{"input": (SIDE, SIDE), "padding": 1.0, "margin": 1.5, "smallest": min(ZOOMS)},
    )
    assert fingerprint(plain, 0, {}, Process(), {}) == before  # a run without a search does not depend on its crops
    toy.train(toy.run(epochs=1, scales=ZOOMS, name="searched"), 0)
    one, other = (Path("models/fpd") / name / "seed0" for name in ("student", "searched"))
    assert not (one / "scales.npz").exists()
    found, second = dict(np.load(other / "predictions.npz")), dict(np.load(other / "scales.npz"))
    for name, values in dict(np.load(one / "predictions.npz")).items():
        assert np.array_equal(found[name], values), name
    for name in ("ids", "image_ids", "images", "areas"):
        assert np.array_equal(found[name], second[name])
    assert second["keypoints"].shape == found["keypoints"].shape and (second["scores"] != found["scores"]).any()


def test_both_numbers_are_reported(tree):
    folder = Path("models/fpd/lsp_student")
    spec = json.loads((folder / "spec.json").read_text())
    (folder / "spec.json").write_text(json.dumps(spec | {"scales": [0.8, 1.0, 1.25]}))
    for seed in (0, 1):  # predictions of a better run stand for those of the search
        better = (Path("models/fpd/lsp_fpd") / f"seed{seed}/predictions.npz").read_bytes()
        (folder / f"seed{seed}/scales.npz").write_bytes(better)
    evaluate.main("fpd")
    details = json.loads(Path("reports/metrics/fpd.details.json").read_text())
    assert details["lsp_student_scales"]["seeds"] == details["lsp_fpd"]["seeds"]
    assert [name for name in details if name.endswith("_scales")] == ["lsp_student_scales"]
    report.main("fpd")
    text = section(Path("reports/fpd.md").read_text(), "LSP: search over scales")
    assert "at 0.8, 1, 1.25 times its size" in text
    (row,) = [cells(line) for line in text.splitlines() if line.startswith("| `")]
    assert row == ["`lsp_student`", "**80.0 ± 14.1**", "**95.0 ± 7.1**", "+15.0"]
