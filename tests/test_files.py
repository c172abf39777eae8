"""Files and folders exist completely or not at all."""

import hashlib

import pytest

from lib.files import atomic, read_csv, remove, sha256, walk, write_csv


def tree(folder):
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


def test_a_file_and_a_folder_replace_what_was_there(tmp_path):
    for content in ("old", "new"):
        with atomic(tmp_path / "deep/file") as part:
            part.write_text(content)
        with atomic(tmp_path / "folder") as part:
            part.mkdir()
            (part / content).write_text(content)
    assert (tmp_path / "deep/file").read_text() == "new"
    assert tree(tmp_path) == {"deep", "deep/file", "folder", "folder/new"}


def test_a_failure_leaves_what_was_there_and_nothing_else(tmp_path):
    (tmp_path / "file").write_text("old")
    for name in ("file", "folder"):
        with pytest.raises(KeyboardInterrupt), atomic(tmp_path / name) as part:
            if name == "folder":
                part.mkdir()
                part = part / "inside"
            part.write_text("half")
            raise KeyboardInterrupt
    assert tree(tmp_path) == {"file"}
    assert (tmp_path / "file").read_text() == "old"


def test_what_a_killed_process_left_is_gone_after_the_next(tmp_path):
    killed = atomic(tmp_path / "folder")
    killed.__enter__().mkdir()
    with atomic(tmp_path / "folder") as part:
        assert not part.exists()
        part.mkdir()
    assert tree(tmp_path) == {"folder"}


def test_remove_follows_no_link(tmp_path):
    (tmp_path / "kept").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    remove(tmp_path / "link")
    remove(tmp_path / "absent")
    assert tree(tmp_path) == {"kept"}


def test_sha256_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    assert sha256(tmp_path / "file") == hashlib.sha256(b"abc").hexdigest()


def test_csv_keeps_text_and_leaves_blank_what_a_row_lacks(tmp_path):
    write_csv(tmp_path / "new/rows.csv", [{"a": 1, "b": 'x, "y"'}, {"a": 0.5, "c": "z"}])
    assert (tmp_path / "new/rows.csv").read_bytes() == b'a,b,c\n1,"x, ""y""",\n0.5,,z\n'
    assert read_csv(tmp_path / "new/rows.csv") == [
        {"a": "1", "b": 'x, "y"', "c": ""},
        {"a": "0.5", "b": "", "c": "z"},
    ]


def test_two_links_to_one_folder_are_walked_twice_and_a_circle_once(tmp_path):
    for name in ("one/a", "one/.DS_Store", "one/sub/b"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("first", "second"):
        (tmp_path / "all").mkdir(exist_ok=True)
        (tmp_path / "all" / name).symlink_to(tmp_path / "one")
    (tmp_path / "one/sub/up").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path / "all").as_posix() for path in walk(tmp_path / "all")]
    within = ["a", "sub/b"]
    assert [name for name in found if "up" not in name] == [
        f"{one}/{name}" for one in ("first", "second") for name in within
    ]
    assert len(found) < 20
