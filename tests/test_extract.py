"""Archives of any kind are unpacked within their folder, or named."""

import io
import os
import random
import re
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest
from tqdm import tqdm

from lib.data import fetch
from lib.errors import InputError
from tests.web import LSP, packed, tar, tree


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

    def test_a_later_archive_adds_to_the_same_folder(self, tmp_path):
        self.unpack(tmp_path, packed({"a/images/1.jpg": b"1", "a/images/2.jpg": b"2", "a/x": b"old"}))
        both = {"images/1.jpg": b"1", "images/2.jpg": b"2", "images/3.jpg": b"3", "x": b"new"}
        assert self.unpack(tmp_path, packed({"images/3.jpg": b"3", "x": b"new"})) == both

    def test_only_one_top_level_folder_is_stripped(self, tmp_path):
        assert self.unpack(tmp_path, packed({"a/images/1.jpg": b"1"})) == {"images/1.jpg": b"1"}

    @pytest.mark.parametrize("folder", [True, False])
    def test_the_separator_of_windows(self, tmp_path, folder):
        files = {name.replace("/", "\\"): content for name, content in LSP.items()}
        assert self.unpack(tmp_path, packed(({"images\\": b""} if folder else {}) | files)) == LSP

    def test_members_that_lead_out_with_the_separator_of_windows(self, tmp_path):
        with pytest.raises(InputError, match=r"member 'images/\.\./\.\./evil' leads out"):
            self.unpack(tmp_path, packed(LSP | {"images\\..\\..\\evil": b"evil"}))
        assert list(tree(tmp_path)) == ["x"]

    def test_members_that_exclude_each_other(self, tmp_path):
        with pytest.raises(InputError, match=r"x: not a readable zip or tar archive: .*; get it again"):
            self.unpack(tmp_path, tar([("images", b"1"), ("images/1.jpg", b"2")]))
        assert list(tree(tmp_path)) == ["x"]

    @pytest.mark.parametrize("form", ["zip", "w:", "w:gz"])
    def test_damaged_anywhere_it_is_unpacked_or_named(self, tmp_path, form):
        whole, draw = packed(LSP) if form == "zip" else tar([*LSP.items()], form), random.Random(form)
        for number in range(60):
            content, folder = bytearray(whole), tmp_path / str(number)
            for _ in range(draw.choice((1, 2, 5))):
                content[draw.randrange(len(content))] = draw.randrange(256)
            folder.mkdir()
            try:
                self.unpack(folder, bytes(content[: draw.choice((None, draw.randrange(len(content))))]))
            except InputError as error:
                assert str(folder / "x") in str(error) and "\n" not in str(error)
                assert list(tree(folder)) == ["x"]

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
        ids=["zip's link", "link", "hard link", "pipe"],
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
            tar([("noise", os.urandom(20_000))])[:-8] + bytes(8),
            encrypted(packed({"noise": b"noise"})),
            b"<html>",
            b"",
        ],
        ids=[
            "truncated zip",
            "wrong checksum",
            "truncated tar.gz",
            "truncated tar",
            "wrong checksum of a tar.gz",
            "encrypted",
            "web page",
            "empty",
        ],
    )
    def test_damaged(self, tmp_path, content):
        with pytest.raises(InputError, match="x: not a readable zip or tar archive") as caught:
            self.unpack(tmp_path, content)
        assert "\n" not in str(caught.value)
        assert list(tree(tmp_path)) == ["x"]

    @pytest.mark.parametrize("form", ["zip", "w:gz"])
    def test_long_work_shows_its_progress(self, tmp_path, capsys, monkeypatch, form):
        monkeypatch.setattr(fetch, "PATIENCE", 0.0)
        content = packed(LSP) if form == "zip" else tar([*LSP.items()], form)
        self.unpack(tmp_path, content)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        size = tqdm.format_sizeof(len(content))
        assert lines[-1] == f"unpacking x: {size} of {size}"
