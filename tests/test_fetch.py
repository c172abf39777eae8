"""data/raw is filled with the benchmark's own layout, whatever its source, or not at all."""

import hashlib
import json
import os
import stat
from pathlib import Path

import pytest

from lib.data import fetch
from lib.data.download import SIGNATURES, Archive, recognise
from lib.errors import InputError
from lib.params import load_params
from stages.fetch import main
from tests.web import LSP, LSPET, Served, packed, serving, tar, tree

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


def under(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def stage(server, tmp_path, monkeypatch):
    """`python -m stages.fetch` with the project's own settings but this source, the test server's addresses, and no
    known hashes; files named in `homeless` have no address. Returns what lies in data/raw.
    """
    monkeypatch.chdir(tmp_path)
    params = load_params(ROOT / "params.yaml")
    drawn = {"lsp": 4, "lspet": 2, "seed": 0}

    def stage(source: str, dataset: str = "lsp", homeless: str = "") -> dict[str, bytes]:
        official = []
        for archive in params.official[dataset]:
            urls = [] if archive["file"] == homeless else [f"{server.url}/{archive['file']}"]
            official.append(archive | {"sha256": None, "urls": urls})
        spec = {"code": {}, "source": source, "synthetic": drawn, "official": official}
        (tmp_path / "data/specs/fetch").mkdir(parents=True, exist_ok=True)
        (tmp_path / f"data/specs/fetch/{dataset}.json").write_text(json.dumps(spec))
        main(dataset)
        return tree(tmp_path / "data/raw")

    return stage


def source_of(files: dict[str, bytes], dataset: str) -> dict:
    return json.loads(files.pop(f"{dataset}/SOURCE.json"))


class TestLsp:
    def test_official(self, server, stage, tmp_path):
        first, second = packed(under("lsp_dataset", LSP)), packed(LSPET)
        server.files = {"/lsp_dataset.zip": Served(first, drops=[100]), "/lspet_dataset.zip": Served(second)}
        files = stage("official")
        assert source_of(files, "lsp") == {
            "dataset": "lsp",
            "source": "official",
            "archives": {
                "lsp_dataset.zip": hashlib.sha256(first).hexdigest(),
                "lspet_dataset.zip": hashlib.sha256(second).hexdigest(),
            },
        }
        assert files == under("lsp/lsp", LSP) | under("lsp/lspet", LSPET)
        server.files = {}
        assert source_of(again := stage("official"), "lsp")["source"] == "official"
        assert again == files

    def test_failure_leaves_nothing_half_written(self, server, stage, tmp_path):
        server.files = {"/lsp_dataset.zip": Served(packed(LSP)), "/lspet_dataset.zip": Served(packed({"../evil": b""}))}
        with pytest.raises(InputError, match="evil"):
            stage("official")
        assert tree(tmp_path / "data/raw") == {}
        assert os.listdir(tmp_path / "data/raw") == []

    @pytest.mark.parametrize("form", ["archives", "extracted", "mixed", "one archive", "one nested archive"])
    def test_local(self, stage, tmp_path, form):
        both = under("lsp", LSP) | under("lspet", LSPET)
        given = {
            "archives": {"lsp_dataset.zip": packed(LSP), "lspet_dataset.zip": packed(LSPET), "thesis.txt": b"mine"},
            "extracted": both | {"thesis.txt": b"mine", "lsp/.DS_Store": b"-"},
            "mixed": {"lsp_dataset.zip": packed(LSP), "lsp/old.jpg": b"the archive counts"} | under("lspet", LSPET),
            "one archive": {"mine.zip": packed(both)},
            "one nested archive": {"mine.zip": packed(under("mine", both))},
        }[form]
        user = written(tmp_path / "user", given)
        files = stage(str(user / "mine.zip" if form.startswith("one") else user))
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in given.items() if name.endswith(".zip")}
        assert source_of(files, "lsp") == {"dataset": "lsp", "source": "local", "archives": hashes}
        assert files == under("lsp", both)
        assert tree(user) == given
        for path in (tmp_path / "data/raw").rglob("*"):
            assert path.is_dir() or path.stat().st_nlink == 1  # nothing shared that a later step could change

    @pytest.mark.parametrize("missing", ["lsp", "lspet"])
    def test_local_folder_lacks_an_archive(self, stage, tmp_path, missing):
        for name in {"lsp", "lspet"} - {missing}:
            (tmp_path / f"{name}_dataset.zip").write_bytes(packed(LSP))
        expected = "lsp, lspet, or the official lsp_dataset.zip, lspet_dataset.zip"
        with pytest.raises(InputError, match=f"^source {tmp_path} lacks {missing}; expected there: {expected}$"):
            stage(str(tmp_path))
        assert os.listdir(tmp_path / "data/raw") == []

    def test_local_path_that_does_not_exist(self, stage, tmp_path):
        with pytest.raises(
            InputError, match=r"source /.*/offical does not exist; .*lsp_dataset\.zip.*lspet_dataset\.zip"
        ):
            stage("offical")
        assert os.listdir(tmp_path / "data/raw") == []

    def test_synthetic(self, stage):
        files = stage("synthetic")
        assert source_of(files, "lsp") == {"dataset": "lsp", "source": "synthetic", "archives": {}}
        assert {"lsp/lsp/joints.mat", "lsp/lspet/joints.mat"} < set(files)

    def test_replaces_what_was_there(self, stage, tmp_path):
        (tmp_path / "data/raw/lsp").mkdir(parents=True)
        (tmp_path / "data/raw/lsp/old").write_bytes(b"old")
        (tmp_path / "one.zip").write_bytes(packed(under("lsp", LSP) | under("lspet", LSPET)))
        assert "lsp/old" not in stage(str(tmp_path / "one.zip"))

    def test_read_only_copy(self, stage, tmp_path):
        user = written(tmp_path / "user", under("lsp", LSP) | under("lspet", LSPET))
        for path in (*user.rglob("*"), user):
            path.chmod(path.stat().st_mode & ~0o222)
        try:
            stage(str(user))
        finally:
            for path in (user, *user.rglob("*")):
                path.chmod(0o755)
        assert all(path.stat().st_mode & stat.S_IWUSR for path in (tmp_path / "data/raw").rglob("*"))


IMAGES = {"015601864.jpg": b"first", "015599452.jpg": b"second"}
MAT = "mpii_human_pose_v1_u12_1.mat"
LISTS = {"valid.h5": b"\x89HDF\r\n\x1a\nvalid"}
MPII = under("images", IMAGES) | {MAT: b"RELEASE"} | under("annot", LISTS)
MPII_OFFICIAL = {
    "mpii_human_pose_v1.tar.gz": tar([*under("./images", IMAGES).items()]),
    "mpii_human_pose_v1_u12_2.zip": packed(under("mpii_human_pose_v1_u12_2", {MAT: b"RELEASE", "bsd.txt": b"..."})),
    **LISTS,
}


class TestMpii:
    def test_official(self, server, stage):
        server.files = {f"/{name}": Served(content) for name, content in MPII_OFFICIAL.items()}
        files = stage("official", "mpii")
        hashes = {name: hashlib.sha256(content).hexdigest() for name, content in MPII_OFFICIAL.items()}
        assert source_of(files, "mpii")["archives"] == hashes
        assert files == under("mpii", MPII | {"bsd.txt": b"..."})

    @pytest.mark.parametrize(
        ("given", "content"),
        [
            (MPII, MPII),
            (MPII_OFFICIAL, MPII | {"bsd.txt": b"..."}),
            (under("images", IMAGES) | LISTS, under("images", IMAGES) | under("annot", LISTS)),
            (files := under("images", IMAGES) | under("annot", {"valid.json": b"[]", "gt_valid.mat": b"-"}), files),
            (files | {"valid.h5": LISTS["valid.h5"]}, files | {"annot/valid.h5": LISTS["valid.h5"]}),
        ],
        ids=["the layout", "official files", "loose lists", "JSON", "JSON and a loose list"],
    )
    def test_local(self, stage, tmp_path, given, content):
        user = written(tmp_path / "user", given | {"thesis.txt": b"mine", "mpii_human_pose_v1.zip": b"mine"})
        files = stage(str(user), "mpii")
        assert source_of(files, "mpii")["source"] == "local"
        assert files == under("mpii", content)

    def test_images_behind_a_link(self, stage, tmp_path):
        (tmp_path / "elsewhere").mkdir()
        (written(tmp_path / "user", under("annot", LISTS)) / "images").symlink_to(
            written(tmp_path / "disk", IMAGES), target_is_directory=True
        )
        files = stage(str(tmp_path / "user"), "mpii")
        assert under("mpii/images", IMAGES).items() < files.items()
        assert not (tmp_path / "data/raw/mpii/images").is_symlink()

    def test_web_page_instead_of_a_list(self, stage, tmp_path):
        user = written(tmp_path / "user", under("images", IMAGES) | LISTS | {"valid.h5": b"<html>moved</html>"})
        with pytest.raises(InputError, match=f"^{user}/valid.h5: not an HDF5 file$"):
            stage(str(user), "mpii")
        assert os.listdir(tmp_path / "data/raw") == []

    def test_folder_of_something_else(self, stage, tmp_path):
        user = written(tmp_path / "user", under("val2017", IMAGES) | {"joints.mat": b"-"})
        with pytest.raises(InputError, match=rf"lacks images, annot; expected there: images, annot, {MAT}, or .*\.gz"):
            stage(str(user), "mpii")


BOXES = "COCO_val2017_detections_AP_H_56_person.json"
COCO = {
    "annotations/person_keypoints_train2017.json": b"{}",
    "annotations/person_keypoints_val2017.json": b"{}",
    "train2017/000000000009.jpg": b"first",
    "val2017/000000000139.jpg": b"second",
}


def coco_official() -> dict[str, bytes]:
    parts = ("train2017", "val2017", "annotations")
    part = {name: packed({path: content for path, content in COCO.items() if path.startswith(name)}) for name in parts}
    return {
        "train2017.zip": part["train2017"],
        "val2017.zip": part["val2017"],
        "annotations_trainval2017.zip": part["annotations"],
    }


class TestCoco:
    @pytest.mark.parametrize("boxes", ["served", "brought by hand"])
    def test_official(self, server, stage, tmp_path, boxes):
        server.files = {f"/{name}": Served(content) for name, content in coco_official().items()}
        if boxes == "served":
            server.files[f"/{BOXES}"] = Served(b"[]")
        else:
            written(tmp_path / "data/downloads/coco", {BOXES: b"[]"})
        files = stage("official", "coco", homeless="" if boxes == "served" else BOXES)
        assert source_of(files, "coco")["archives"].keys() == {*coco_official(), BOXES}
        assert files == under("coco", COCO | {f"person_detection_results/{BOXES}": b"[]"})

    @pytest.mark.parametrize("homeless", ["", BOXES])
    def test_official_without_the_optional_boxes(self, server, stage, tmp_path, homeless, capsys):
        server.files = {f"/{name}": Served(content) for name, content in coco_official().items()}
        files = stage("official", "coco", homeless)
        assert source_of(files, "coco")["archives"].keys() == coco_official().keys()
        assert files == under("coco", COCO)
        (line,) = (line for line in capsys.readouterr().err.splitlines() if BOXES in line)
        assert "put it into data/downloads/coco; going on without it" in line

    def test_official_without_a_needed_file(self, server, stage, tmp_path):
        server.files = {f"/{name}": Served(content) for name, content in coco_official().items()}
        del server.files["/train2017.zip"]
        with pytest.raises(InputError, match=r"cannot fetch train2017\.zip: .*HTTP status 404"):
            stage("official", "coco")
        assert os.listdir(tmp_path / "data/raw") == []

    def test_local_archives(self, stage, tmp_path):
        user = written(tmp_path / "user", coco_official() | {BOXES: b"[]"})
        files = stage(str(user), "coco")
        assert source_of(files, "coco")["archives"].keys() == {*coco_official(), BOXES}
        assert files == under("coco", COCO | {f"person_detection_results/{BOXES}": b"[]"})

    def test_local_piece_without_training_images(self, stage, tmp_path):
        piece = {name: content for name, content in COCO.items() if "train" not in name}
        files = stage(str(written(tmp_path / "user", piece | {"test2017/000000000001.jpg": b"-"})), "coco")
        assert source_of(files, "coco")["archives"] == {}
        assert files == under("coco", piece)


def test_the_real_archive(shared_data, tmp_path):
    entry = Archive(file="lsp_dataset.zip", folder="lsp", urls=("https://example.org",), sha256=None)
    fetch.from_local(shared_data / "lsp", [entry], {"lsp": True}, tmp_path)
    assert len(list((tmp_path / "lsp/images").glob("im????.jpg"))) == 2000
    assert (tmp_path / "lsp/joints.mat").stat().st_size == 432_888


@pytest.mark.parametrize("dataset", ["mpii", "coco"])
def test_the_real_pieces(shared_data, stage, dataset):
    piece = tree(shared_data / "samples" / dataset)
    piece.pop("mpii_human_pose_v1_sequences_keyframes.mat", None)  # of another release
    files = stage(str(shared_data / "samples" / dataset), dataset)
    assert source_of(files, dataset) == {"dataset": dataset, "source": "local", "archives": {}}
    assert files == under(dataset, piece)
    for name in files:
        if (suffix := Path(name).suffix) in SIGNATURES:
            recognise(Path("data/raw", name), f"x{suffix}", name)
