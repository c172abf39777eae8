"""Rendered crops: what is in them, and that they are the same however they are made."""

import json
import os
import pickle
import shutil
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from lib.data.crops import ARRAYS, HANDS, open_crops
from lib.data.depth import LEVELS, REACH
from lib.data.warp import transform
from lib.errors import InputError
from lib.hands import scenes, synthesis
from lib.hands.joints import JOINTS, normalised, projected, restored
from lib.hands.mano import Mano, load_right
from lib.hands.procedural import procedural_hand, save_procedural
from lib.hands.render import render
from lib.hands.synthesis import CAMERA, Synthesis, synthesize
from stages.synthesize import main

SETTINGS = {
    **{"model": "procedural", "count": 7, "size": (48, 64), "backgrounds": None, "components": 10, "pose": 2.0},
    **{"shape": 0.03, "distance": (0.4, 0.8), "seed": 3},
}


@pytest.fixture(scope="module")
def hand():
    return procedural_hand()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The hand's file, instead of which a test would write the same again."""
    path = tmp_path_factory.mktemp("hand") / "hand.pkl"
    save_procedural(path)
    return lambda target: shutil.copyfile(path, target)


@pytest.fixture(autouse=True)
def quick(saved, monkeypatch):
    """One hand model for all tests, and chunks of two crops; processes that are forked have both, too."""
    monkeypatch.setattr(synthesis, "save_procedural", saved)
    monkeypatch.setattr(synthesis, "CHUNK", 2)


def made(folder, **changes):
    """Crops of the settings with some changed."""
    synthesize(folder / "crops", folder / "scratch", **{"processes": 1, **SETTINGS, **changes})
    return open_crops(folder / "crops", "train")


def same(crops, others, count=None):
    return all(
        np.array_equal(getattr(crops, name)[:count], getattr(others, name)[:count])
        for name in ("images", *ARRAYS, *HANDS, "depth")
    )


def write(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1])


def logged(monkeypatch, folder, pause=0.0):
    """Note the process and the number of every crop that is drawn."""
    draw, path = Synthesis.row, folder / "drawn"

    def row(self, index):
        with path.open("a") as file:
            file.write(f"{os.getpid()} {index}\n")
        time.sleep(pause)
        return draw(self, index)

    monkeypatch.setattr(Synthesis, "row", row)
    return lambda: [tuple(map(int, line.split())) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def crops(saved, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "save_procedural", saved)
        patch.setattr(synthesis, "CHUNK", 16)
        return made(tmp_path_factory.mktemp("crops"), count=40, size=(96, 96), processes=2)


@pytest.fixture(scope="module")
def whole(saved, tmp_path_factory):
    """The crops of the settings, made without interruption."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthesis, "save_procedural", saved)
        return made(tmp_path_factory.mktemp("whole"))


def test_crops_have_the_form_of_those_of_a_benchmark(crops):
    assert crops.joints == JOINTS and crops.input == (96, 96)
    assert crops.images.shape == (40, 96, 96, 3) and crops.images.dtype == np.uint8
    assert crops.depth.shape == (40, 96, 96) and crops.depth.dtype == np.uint16
    kinds = {"keypoints": "f4", "visible": "?", "to_image": "f8", "ids": "i8", "image_ids": "i8", "box_scores": "f4"}
    for name, kind in (kinds | dict.fromkeys(HANDS, "f4")).items():
        assert getattr(crops, name).dtype == kind and len(getattr(crops, name)) == 40, name
    assert len(set(crops.ids.tolist())) == 40 and crops.visible.all() and (crops.box_scores == 1).all()


def test_keypoints_are_the_projected_joints(crops):
    xyz = restored(crops.pose, crops.root, crops.scale).astype(float)
    np.testing.assert_allclose(normalised(xyz)[0], crops.pose, atol=1e-3)
    np.testing.assert_allclose(transform(crops.to_image, crops.keypoints), projected(xyz, CAMERA), atol=2e-3)
    assert (crops.to_image[:, 0, 0] > 0).all() and (crops.to_image[:, [0, 1], [1, 0]] == 0).all()
    assert np.array_equal(crops.to_image[:, 0, 0], crops.to_image[:, 1, 1])


def test_a_hand_fills_its_share_and_lies_within_the_crop(crops):
    share = np.ptp(crops.keypoints, axis=1).max(1) / 96
    assert (share < 1 / 1.26).all() and (share > 1 / 1.6).all() and np.ptp(share) > 0.06
    assert (crops.keypoints > 2).all() and (crops.keypoints < 93).all()
    middles = (crops.keypoints.min(1) + crops.keypoints.max(1)) / 2
    assert (np.abs(middles - 47.5) < 0.06 * 96).all() and (np.ptp(middles, axis=0) > 0.07 * 96).all()


def test_depth_is_the_hands_from_its_root_in_its_scale(crops):
    """Joints inside the hand are behind its skin by a part of a finger's or the palm's thickness."""
    assert (crops.depth[:, 0, 0] == LEVELS).all()
    x, y = np.rint(crops.keypoints).astype(int).transpose(2, 0, 1)
    relative = (crops.depth[np.arange(40)[:, None], y, x] / LEVELS * 2 - 1) * REACH
    behind = (crops.pose[..., 2] - relative) * crops.scale[:, None]
    inner = [place for place in range(21) if place % 4 or place == 0]
    on_hand = crops.depth[np.arange(40)[:, None], y, x] < LEVELS
    assert on_hand[:, inner].all() and (behind[:, inner] > 3).all()
    assert 7 < np.median(behind[:, inner]) < 20


def test_depth_and_image_show_the_same_hand(hand, monkeypatch):
    """Where there is depth, the picture is the rendering; elsewhere it is the background."""
    monkeypatch.setattr(scenes, "photograph", lambda rng, image: image)
    monkeypatch.setattr(Synthesis, "_background", lambda self, rng: np.full((*self.size, 3), [1, 255, 3], np.uint8))
    arrays = {name: SETTINGS[name] for name in ("size", "components", "pose", "shape", "distance", "seed")}
    row = Synthesis(Mano(hand), backgrounds=(), **arrays).row(0)
    background = (row["images"] == [1, 255, 3]).all(-1)
    assert np.array_equal(background, row["depth"] == LEVELS)
    assert 0.03 < 1 - background.mean() < 0.5


def test_distances_and_sizes_are_those_asked_for(crops):
    middle = crops.root[:, 2] + (crops.pose[..., 2] * crops.scale[:, None]).mean(1)
    assert (middle > 399.9).all() and (middle < 800.1).all() and np.ptp(middle) > 250
    assert (crops.scale > 30).all() and (crops.scale < 60).all()


def test_the_report_can_say_which_hand_it_is(hand, tmp_path):
    path = tmp_path / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(hand))
    made(tmp_path, model=str(path), count=1)
    meta = json.loads((tmp_path / "crops/meta.json").read_text())
    assert meta["dataset"]["source"] == "synthetic" and "MANO_RIGHT.pkl" in meta["dataset"]["note"]
    assert meta["hand_model"]["file"] == "MANO_RIGHT.pkl" and len(meta["hand_model"]["sha256"]) == 64
    made(tmp_path, count=1)
    meta = json.loads((tmp_path / "crops/meta.json").read_text())
    assert "not MANO" in meta["dataset"]["note"] and meta["hand_model"] is None


@pytest.mark.parametrize("changes", [{"processes": 2}, {"processes": 5}, {"chunk": 3}, {"count": 9}])
def test_a_crop_depends_on_the_seed_and_its_number_alone(changes, whole, tmp_path, monkeypatch):
    changes = dict(changes)
    monkeypatch.setattr(synthesis, "CHUNK", changes.pop("chunk", 2))
    assert same(whole, made(tmp_path, **changes), SETTINGS["count"])


def test_another_seed_gives_other_crops(whole, tmp_path):
    poses = [*whole.pose, *made(tmp_path, seed=4).pose]
    assert len({pose.tobytes() for pose in poses}) == 2 * SETTINGS["count"]


def gone(pid):
    """Whether a process has ended, read or not by who adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def wait(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_killed_run_ends_all_its_processes_and_continues_to_the_same_crops(whole, tmp_path, monkeypatch):
    drawn = logged(monkeypatch, tmp_path, pause=0.1)
    process = get_context("fork").Process(target=made, args=(tmp_path / "killed",), kwargs={"processes": 2})
    process.start()
    wait(lambda: list((tmp_path / "killed/scratch").glob("*/rows/[0-9]*.npz")))
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    wait(lambda: all(gone(pid) for pid, _ in drawn()))
    assert not (tmp_path / "killed/crops").exists()
    rows = (tmp_path / "killed/scratch").glob("*/rows/[0-9]*.npz")
    done = {int(path.stem) + place for path in rows for place in (0, 1)}
    before = len(drawn())
    assert same(whole, made(tmp_path / "killed", processes=2))
    assert {number for _, number in drawn()[before:]} == set(range(7)) - done and done
    assert not (tmp_path / "killed/scratch").exists()


def test_an_error_leaves_no_crops_and_is_made_good_by_the_next_run(whole, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        draw = Synthesis.row

        def row(self, index):
            if index == 5:
                raise InputError("the sixth")
            return draw(self, index)

        patch.setattr(Synthesis, "row", row)
        with pytest.raises(InputError, match="the sixth"):
            made(tmp_path / "again")
    assert not (tmp_path / "again/crops").exists()
    drawn = logged(monkeypatch, tmp_path)
    assert same(whole, made(tmp_path / "again"))
    assert {4, 5} <= {number for _, number in drawn()} <= {4, 5, 6}  # 6 may have been under way


def test_other_settings_do_not_continue_unfinished_work(tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(synthesis.shutil, "move", lambda *paths: 1 / 0)
        patch.setattr(synthesis, "remove", lambda path: None)
        with pytest.raises(ZeroDivisionError):
            made(tmp_path)
    assert list((tmp_path / "scratch").glob("*/rows/*.npz"))
    assert same(made(tmp_path, pose=1.0), made(tmp_path / "fresh", pose=1.0))
    assert not (tmp_path / "scratch").exists()


def test_processes_can_be_forked_after_a_rendering_in_this_one(tmp_path):
    plane = scenes.Mesh(np.array([[-1.0, -1, 1], [1, -1, 1], [0, 1, 1]]), np.array([[0, 2, 1]]), np.ones((3, 3)))
    assert render([plane], CAMERA, (320, 320)).depth.max() == 1
    cv2.resize(np.zeros((2000, 2000, 3), np.uint8), (1500, 1500))
    threads = cv2.getNumThreads()
    made(tmp_path, processes=2)
    assert cv2.getNumThreads() == threads


def test_backgrounds_are_parts_of_the_users_images(tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "photograph", lambda rng, image: image)
    ramp = np.zeros((120, 90, 3), np.uint8)
    ramp[..., 0], ramp[..., 1], ramp[..., 2] = 2 * np.arange(90), 2 * np.arange(120)[:, None], 40
    write(tmp_path / "photos/deep/ramp.png", ramp)
    write(tmp_path / "photos/plain.jpg", np.full((50, 200, 3), [200, 100, 240], np.uint8))
    (tmp_path / "photos/notes.txt").write_text("no image")
    crops = made(tmp_path, backgrounds=str(tmp_path / "photos"), count=16)
    plain = np.array([abs(int(image[0, 0, 2]) - 240) < 8 for image in crops.images])
    assert 2 < plain.sum() < 14
    empty = crops.depth[plain] == LEVELS
    assert np.abs(crops.images[plain][empty].astype(int) - [200, 100, 240]).max() < 8
    corners = crops.images[~plain][:, [0, 0, -1], [0, -1, 0]].astype(int)
    across, down = corners[:, 1, 0] - corners[:, 0, 0], corners[:, 2, 1] - corners[:, 0, 1]
    # Crops are 48 x 64: half to all of the ramp's 90 columns, and 3/4 as many rows; neighbours differ by 2.
    assert (across > 80).all() and (across < 180).all() and np.ptp(across) > 10
    np.testing.assert_allclose(down / across, 0.75, atol=0.06)
    assert np.ptp(corners[:, 0, 0]) > 10 and np.ptp(corners[:, 0, 1]) > 10


def test_the_stage_renders_what_its_spec_says(whole, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data/specs").mkdir(parents=True)
    Path("data/specs/synthesize.json").write_text(json.dumps({"code": {}, **SETTINGS}))
    main()
    assert same(open_crops(Path("data/crops/mano"), "train"), whole)
    assert not Path(".cache/synthesis").exists()


def test_what_is_missing_is_one_clear_line(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="empty holds no image") as error:
        made(tmp_path, backgrounds=str(tmp_path / "empty"))
    assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="nowhere holds no image"):
        made(tmp_path, backgrounds=str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match=r"MANO_RIGHT.pkl not found") as error:
        made(tmp_path, model=str(tmp_path / "MANO_RIGHT.pkl"))
    assert "\n" not in str(error.value)
    (tmp_path / "empty/torn.png").write_bytes(b"\x89PNG")
    with pytest.raises(InputError, match=r"torn.png is not a readable image; take it out of the folder") as error:
        made(tmp_path, backgrounds=str(tmp_path / "empty"))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "crops").exists()


def mirrored(model: dict) -> dict:
    """The left hand of a right hand's model: x turned about in every array."""
    flip = np.array([-1.0, 1, 1])
    turns = np.tile(-flip, 15)  # axes of turns are no arrows: mirrored, they keep the part along the mirror's normal
    bends = np.tile(np.outer(flip, flip).ravel(), 15)
    return model | {
        "v_template": model["v_template"] * flip,
        "shapedirs": model["shapedirs"] * flip[:, None],
        "posedirs": model["posedirs"] * flip[:, None] * bends,
        "hands_mean": model["hands_mean"] * turns,
        "hands_components": model["hands_components"] * turns,
        "f": model["f"][:, ::-1],
    }


def test_a_left_hand_is_refused_by_its_name_and_by_its_shape(tmp_path):
    right = procedural_hand()
    left = mirrored(right)
    pose, shape, rotation = torch.randn(2, 45), torch.randn(2, 10), torch.randn(2, 3)
    _, joints = Mano(right)(pose, shape, rotation)
    _, others = Mano(left)(pose, shape, rotation * torch.tensor([1, -1, -1]))
    torch.testing.assert_close(joints * torch.tensor([-1, 1, 1]), others, rtol=0, atol=1e-5)  # it is the mirrored one
    for name, model in (("MANO_LEFT.pkl", right), ("mano_left_v1.pkl", right), ("hand.pkl", left)):
        (tmp_path / name).write_bytes(pickle.dumps(model, 2))
        with pytest.raises(InputError, match=rf"{name} is the model of a left hand: .* take MANO_RIGHT.pkl"):
            load_right(tmp_path / name)
    (tmp_path / "hand.pkl").write_bytes(pickle.dumps(right, 2))
    load_right(tmp_path / "hand.pkl")


def test_backgrounds_are_found_behind_links_and_without_litter(tmp_path):
    picture = np.full((50, 60, 3), 7, np.uint8)
    write(tmp_path / "elsewhere/deep/b.png", picture)
    write(tmp_path / "photos/a.png", picture)
    (tmp_path / "photos/._a.png").write_bytes(b"litter")
    (tmp_path / "photos/__MACOSX").mkdir()
    (tmp_path / "photos/__MACOSX/c.png").write_bytes(b"litter")
    (tmp_path / "photos/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/back").symlink_to(tmp_path / "photos")
    (tmp_path / "elsewhere/deep/again").symlink_to(tmp_path / "elsewhere/deep")
    found = [str(path.relative_to(tmp_path)) for path in synthesis._backgrounds(str(tmp_path / "photos"))]
    assert found == ["photos/a.png", "photos/more/deep/b.png"]
