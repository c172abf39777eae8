"""data/raw is filled with the benchmark's own layout, whatever its source, or not at all."""

import hashlib
import io
import json
import os
import re
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from lib.data import fetch
from lib.errors import InputError
from lib.params import Archive
from stages.fetch import main
from tests.web import LSP, LSPET, Served, packed, serving, tree

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


def under(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


def tar(members: list[tarfile.TarInfo | tuple[str, bytes]], mode="w:gz") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for member in members:
            if isinstance(member, tuple):
                info = tarfile.TarInfo(member[0])
                info.size = len(member[1])
                archive.addfile(info, io.BytesIO(member[1]))
            else:
                archive.addfile(member)
    return buffer.getvalue()


def tar_link(kind: bytes, target: str) -> tarfile.TarInfo:
    link = tarfile.TarInfo("images/link")
    link.type, link.linkname = kind, target
    return link


def zip_link(target: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        link = zipfile.ZipInfo("images/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, target)
    return buffer.getvalue()


def encrypted(archive: bytes) -> bytes:
    """The zip archive with its first member marked as encrypted, in both of its headers."""
    marked = bytearray(archive)
    marked[6] |= 1
    marked[archive.index(b"PK\1\2") + 8] |= 1
    return bytes(marked)


LITTERED = {"__MACOSX/images/._im0001.jpg": b"-", ".DS_Store": b"-", "images/.DS_Store": b"-", "images/._x": b"-"}


PAYLOAD = packed({"noise": bytes(i * i % 251 for i in range(20_000))})


class TestExtract:
    def unpack(self, folder: Path, content: bytes) -> dict[str, bytes]:
        (folder / "x").write_bytes(content)
        fetch.extract(folder / "x", folder / "out")
        return tree(folder / "out")

    @pytest.mark.parametrize("prefix", ["", "lsp_dataset/", "./lsp_dataset/"])
    @pytest.mark.parametrize("form", ["zip", "w:", "w:gz", "w:xz"])
    def test_plain_littered_and_with_a_top_level_folder(self, tmp_path, prefix, form):
        files = {f"{prefix}{name}": content for name, content in LSP.items()} | LITTERED
        assert self.unpack(tmp_path, packed(files) if form == "zip" else tar([*files.items()], form)) == LSP

    def test_only_one_top_level_folder_is_stripped(self, tmp_path):
        assert self.unpack(tmp_path, packed({"a/images/1.jpg": b"1"})) == {"images/1.jpg": b"1"}

    def test_a_single_file_stays(self, tmp_path):
        assert self.unpack(tmp_path, packed({"joints.mat": b"joints"})) == {"joints.mat": b"joints"}

    @pytest.mark.parametrize("name", ["../evil", "images/../../evil", "/evil"])
    @pytest.mark.parametrize("form", ["zip", "tar"])
    def test_members_that_lead_out(self, tmp_path, name, form):
        files = LSP | {name: b"evil"}
        with pytest.raises(InputError, match=f"member '{re.escape(name)}' leads out"):
            self.unpack(tmp_path, packed(files) if form == "zip" else tar([*files.items()]))
        assert list(tree(tmp_path)) == ["x"]

    @pytest.mark.parametrize(
        "content",
        [
            zip_link("../../evil"),
            tar([tar_link(tarfile.SYMTYPE, "/etc")]),
            tar([tar_link(tarfile.LNKTYPE, "../evil")]),
            tar([tar_link(tarfile.FIFOTYPE, "")]),
        ],
    )
    def test_links_and_devices(self, tmp_path, content):
        with pytest.raises(InputError, match="member 'images/link' is a link or a device"):
            self.unpack(tmp_path, content)
        assert list(tree(tmp_path)) == ["x"]

    @pytest.mark.parametrize(
        "content",
        [
            PAYLOAD[:-30],
            PAYLOAD.replace(b"\x00\x01\x04\x09", b"\x00\x01\x04\x08", 1),
            tar([("noise", os.urandom(20_000))])[:-5000],
            tar([("noise", bytes(20_000))], "w:")[:9000],
            encrypted(packed({"noise": b"noise"})),
            b"<html>",
            b"",
        ],
        ids=["truncated zip", "wrong checksum", "truncated tar.gz", "truncated tar", "encrypted", "web page", "empty"],
    )
    def test_damaged(self, tmp_path, content):
        with pytest.raises(InputError, match="x: not a readable zip or tar archive") as caught:
            self.unpack(tmp_path, content)
        assert "\n" not in str(caught.value)


class TestStage:
    """`python -m stages.fetch lsp` with the project's own params.yaml, its source and addresses replaced."""

    @pytest.fixture
    def stage(self, server, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        text = (ROOT / "params.yaml").read_text()
        text = re.sub(r'"https?://[^"]*/(\w+\.zip)"', rf'"{server.url}/\1"', text)
        text = re.sub(r"synthetic: \{lsp: \d+, lspet: \d+", "synthetic: {lsp: 4, lspet: 2", text)

        def stage(source: str) -> dict[str, bytes]:
            changed, count = re.subn(r"(?<=    source: )synthetic", json.dumps(source), text)
            assert count == 1
            (tmp_path / "params.yaml").write_text(changed)
            main("lsp")
            return tree(tmp_path / "data/raw")

        return stage

    def source(self, files: dict[str, bytes]) -> dict:
        return json.loads(files.pop("lsp/SOURCE.json"))

    def test_official(self, server, stage, tmp_path):
        first, second = packed(under("lsp_dataset", LSP)), packed(LSPET)
        server.files = {"/lsp_dataset.zip": Served(first, drops=[100]), "/lspet_dataset.zip": Served(second)}
        files = stage("official")
        assert self.source(files) == {
            "dataset": "lsp",
            "source": "official",
            "archives": {
                "lsp_dataset.zip": hashlib.sha256(first).hexdigest(),
                "lspet_dataset.zip": hashlib.sha256(second).hexdigest(),
            },
        }
        assert files == under("lsp/lsp", LSP) | under("lsp/lspet", LSPET)
        server.files = {}
        assert self.source(again := stage("official"))["source"] == "official"
        assert again == files

    def test_failure_leaves_nothing_half_written(self, server, stage, tmp_path):
        server.files = {"/lsp_dataset.zip": Served(packed(LSP)), "/lspet_dataset.zip": Served(packed({"../evil": b""}))}
        with pytest.raises(InputError, match="evil"):
            stage("official")
        assert tree(tmp_path / "data/raw") == {}
        assert os.listdir(tmp_path / "data/raw") == []

    @pytest.mark.parametrize("form", ["archives", "extracted", "mixed", "one archive", "one nested archive"])
    def test_local(self, stage, tmp_path, form):
        user = tmp_path / "user"
        both = under("lsp", LSP) | under("lspet", LSPET)
        given = {
            "archives": {"lsp_dataset.zip": packed(LSP), "lspet_dataset.zip": packed(LSPET), "thesis.txt": b"mine"},
            "extracted": both | {"thesis.txt": b"mine", "lsp/.DS_Store": b"-"},
            "mixed": {"lsp_dataset.zip": packed(LSP)} | under("lspet", LSPET),
            "one archive": {"mine.zip": packed(both)},
            "one nested archive": {"mine.zip": packed(under("mine", both))},
        }[form]
        for name, content in given.items():
            (user / name).parent.mkdir(parents=True, exist_ok=True)
            (user / name).write_bytes(content)
        files = stage(str(user / "mine.zip" if form.startswith("one") else user))
        hashes = {name: hashlib.sha256(data).hexdigest() for name, data in given.items() if name.endswith(".zip")}
        assert self.source(files) == {"dataset": "lsp", "source": "local", "archives": hashes}
        assert files == under("lsp", both)
        assert tree(user) == given
        for path in (tmp_path / "data/raw").rglob("*"):
            assert path.is_dir() or path.stat().st_nlink == 1  # nothing shared that a later step could change

    @pytest.mark.parametrize("missing", ["lsp_dataset.zip", "lspet_dataset.zip"])
    def test_local_folder_lacks_an_archive(self, stage, tmp_path, missing):
        for name in {"lsp_dataset.zip", "lspet_dataset.zip"} - {missing}:
            (tmp_path / name).write_bytes(packed(LSP))
        with pytest.raises(InputError, match=f"source .* lacks {missing}; expected there: .*lsp/.*lspet/") as caught:
            stage(str(tmp_path))
        assert str(tmp_path) in str(caught.value)
        assert os.listdir(tmp_path / "data/raw") == []

    def test_local_path_that_does_not_exist(self, stage, tmp_path):
        with pytest.raises(InputError, match=r"source offical does not exist; .*lsp_dataset\.zip.*lspet_dataset\.zip"):
            stage("offical")
        assert os.listdir(tmp_path / "data/raw") == []

    def test_synthetic(self, stage):
        files = stage("synthetic")
        assert self.source(files) == {"dataset": "lsp", "source": "synthetic", "archives": {}}
        assert {"lsp/lsp/joints.mat", "lsp/lspet/joints.mat"} < set(files)

    def test_replaces_what_was_there(self, stage, tmp_path):
        (tmp_path / "data/raw/lsp").mkdir(parents=True)
        (tmp_path / "data/raw/lsp/old").write_bytes(b"old")
        (tmp_path / "one.zip").write_bytes(packed(under("lsp", LSP) | under("lspet", LSPET)))
        assert "lsp/old" not in stage(str(tmp_path / "one.zip"))


def test_the_real_archive(shared_data, tmp_path):
    entry = Archive(file="lsp_dataset.zip", folder="lsp", urls=("https://example.org",), sha256=None)
    fetch.from_local(shared_data / "lsp", [entry], tmp_path)
    assert len(list((tmp_path / "lsp/images").glob("im????.jpg"))) == 2000
    assert (tmp_path / "lsp/joints.mat").stat().st_size == 432_888
