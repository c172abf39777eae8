"""A download is the original file or an error, whatever the server and the connection do."""

import hashlib
import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.data import download
from lib.data.download import Archive
from lib.errors import InputError
from tests.web import LSP, Served, packed, serving, tree

ROOT = Path(__file__).parents[1]
PAYLOAD = packed({"noise": bytes(i * i % 251 for i in range(20_000))})


@pytest.fixture(scope="module")
def server():
    with serving() as server:
        yield server


def archive(*urls: str, content: bytes | None = None, file: str = "a.zip") -> Archive:
    digest = hashlib.sha256(content).hexdigest() if content is not None else None
    return Archive(file=file, folder="a", urls=urls, sha256=digest)


class TestDownload:
    def get(self, server, folder, served: Served, **known) -> Path:
        server.files = {"/a.zip": served}
        return download.download(archive(f"{server.url}/a.zip", **known), folder)

    def test_complete(self, server, tmp_path):
        path = self.get(server, tmp_path, Served(PAYLOAD), content=PAYLOAD)
        assert path == tmp_path / "a.zip"
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_resumes_where_the_connection_broke(self, server, tmp_path):
        served = Served(PAYLOAD, drops=[5000, 3000, 1000])
        self.get(server, tmp_path, served, content=PAYLOAD)
        assert tree(tmp_path) == {"a.zip": PAYLOAD}
        assert served.offsets == [0, 5000, 8000, 9000]

    def test_any_number_of_breaks_with_progress(self, server, tmp_path):
        served = Served(PAYLOAD, drops=[500] * 3 * download.ATTEMPTS)
        self.get(server, tmp_path, served, content=PAYLOAD)
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_the_bytes_of_the_file_not_of_a_compressed_answer(self, server, tmp_path):
        served = Served(PAYLOAD, compresses=True, drops=[200])
        self.get(server, tmp_path, served, content=PAYLOAD)
        assert served.offsets == [0, 200]
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_last_modified_serves_as_validator(self, server, tmp_path):
        served = Served(PAYLOAD, etag='W/"weak"', modified="Thu, 01 Jan 2015 00:00:00 GMT", drops=[5000])
        self.get(server, tmp_path, served, content=PAYLOAD)
        assert served.offsets == [0, 5000]
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_without_a_validator_it_starts_over(self, server, tmp_path):
        served = Served(PAYLOAD, etag=None, drops=[5000])
        self.get(server, tmp_path, served, content=PAYLOAD)
        assert served.offsets == [0, 0]
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_server_that_ignores_ranges(self, server, tmp_path):
        served = Served(PAYLOAD, ranges=False, drops=[5000, 9000, 2000])
        self.get(server, tmp_path, served, content=PAYLOAD)
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    @pytest.mark.parametrize("if_range", [True, False])
    @pytest.mark.parametrize("known", [True, False])
    def test_changed_file_is_not_spliced(self, server, tmp_path, if_range, known):
        new = packed({"new": bytes(20_000)})
        changed = Served(new, etag='"v2"', if_range=if_range)
        old = Served(PAYLOAD, drops=[5000], replacement=changed)
        self.get(server, tmp_path, old, content=new if known else None)
        assert (tmp_path / "a.zip").read_bytes() == new
        assert changed.offsets == [5000] if if_range else [5000, 0]

    @pytest.mark.parametrize("size", [0, 5000, len(PAYLOAD), len(PAYLOAD) + 10])
    def test_what_an_earlier_process_left(self, server, tmp_path, size):
        (tmp_path / "a.zip.part").write_bytes((PAYLOAD + bytes(10))[:size])
        (tmp_path / "a.zip.part.json").write_text(json.dumps({"url": f"{server.url}/a.zip", "validator": '"v1"'}))
        served = Served(PAYLOAD)
        self.get(server, tmp_path, served, content=PAYLOAD)
        assert served.offsets == [size] if size <= len(PAYLOAD) else [size, 0]
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_killed_process(self, server, tmp_path):
        server.files = {"/a.zip": (served := Served(PAYLOAD, stall=0.05))}
        wanted = archive(f"{server.url}/a.zip", content=PAYLOAD)
        code = (
            "import json, sys; from pathlib import Path; from lib.data import download; "
            "download.CHUNK = 100; download.download(download.Archive(**json.loads(sys.argv[1])), Path(sys.argv[2]))"
        )
        child = subprocess.Popen([sys.executable, "-c", code, json.dumps(asdict(wanted)), str(tmp_path)], cwd=ROOT)
        part, limit = tmp_path / "a.zip.part", time.monotonic() + 20
        while not (part.exists() and part.stat().st_size) and time.monotonic() < limit:
            time.sleep(0.01)
        child.kill()
        child.wait()
        left = part.stat().st_size
        assert 0 < left < len(PAYLOAD)
        download.download(wanted, tmp_path)
        assert served.offsets == [0, left]
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_busy_server_is_asked_again(self, server, tmp_path):
        self.get(server, tmp_path, Served(PAYLOAD, statuses=[503, 429, 500]), content=PAYLOAD)
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_missing_file_is_not_asked_for_again(self, server, tmp_path):
        served = Served(PAYLOAD, statuses=[404])
        with pytest.raises(InputError, match=r"cannot fetch a\.zip: http://127.*/a\.zip: HTTP status 404; try again"):
            self.get(server, tmp_path, served)
        assert len(served.offsets) == 1
        assert tree(tmp_path) == {}

    def test_gives_up_without_progress_and_continues_the_next_time(self, server, tmp_path):
        served = Served(PAYLOAD, drops=[5000, 0, 0, 0, 0, 0])
        with pytest.raises(InputError, match="ChunkedEncodingError"):
            self.get(server, tmp_path, served, content=PAYLOAD)
        assert served.offsets == [0, 5000, 5000, 5000, 5000]
        assert (tmp_path / "a.zip.part").read_bytes() == PAYLOAD[:5000]
        served.drops = []
        self.get(server, tmp_path, served, content=PAYLOAD)
        assert served.offsets[-1] == 5000
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_wrong_hash(self, server, tmp_path):
        expected, got = hashlib.sha256(PAYLOAD).hexdigest(), hashlib.sha256(b"other").hexdigest()
        with pytest.raises(InputError) as caught:
            self.get(server, tmp_path, Served(b"other"), content=PAYLOAD)
        message = str(caught.value)
        assert f"{server.url}/a.zip: wrong SHA-256: expected {expected}, got {got}" in message
        assert "\n" not in message
        assert tree(tmp_path) == {}

    def test_mirrors(self, server, tmp_path):
        server.files = {"/wrong.zip": Served(b"page"), "/right.zip": Served(PAYLOAD)}
        urls = ("http://127.0.0.1:1/dead.zip", *(f"{server.url}/{name}.zip" for name in ("gone", "wrong", "right")))
        download.download(archive(*urls, content=PAYLOAD), tmp_path)
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_a_part_of_another_mirror_is_not_continued(self, server, tmp_path):
        server.files = {"/1.zip": Served(b"x" * 9000, drops=[5000, *[0] * 5]), "/2.zip": (second := Served(PAYLOAD))}
        download.download(archive(f"{server.url}/1.zip", f"{server.url}/2.zip", content=PAYLOAD), tmp_path)
        assert second.offsets == [0]
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_nothing_is_downloaded_twice(self, server, tmp_path):
        served = Served(PAYLOAD)
        for known in ({"content": PAYLOAD}, {"content": PAYLOAD}, {}, {}):
            self.get(server, tmp_path, served, **known)
        assert len(served.offsets) == 1

    def test_damaged_on_disk_is_downloaded_again(self, server, tmp_path):
        (tmp_path / "a.zip").write_bytes(PAYLOAD[:-1])
        self.get(server, tmp_path, Served(PAYLOAD), content=PAYLOAD)
        assert tree(tmp_path) == {"a.zip": PAYLOAD}

    def test_first_download_records_its_hash_and_later_ones_must_agree(self, server, tmp_path):
        self.get(server, tmp_path, Served(PAYLOAD))
        old, new = hashlib.sha256(PAYLOAD).hexdigest(), hashlib.sha256(other := packed(LSP)).hexdigest()
        record = {"a.zip.sha256": f"{old}  a.zip\n".encode()}
        assert tree(tmp_path) == {"a.zip": PAYLOAD} | record
        (tmp_path / "a.zip").unlink()
        with pytest.raises(InputError, match=rf"expected {old} as recorded .*a\.zip\.sha256, got {new}"):
            self.get(server, tmp_path, Served(other))
        assert tree(tmp_path) == record

    def test_web_page_instead_of_the_archive_is_not_recorded(self, server, tmp_path):
        with pytest.raises(InputError, match="neither a zip nor a tar archive"):
            self.get(server, tmp_path, Served(b"<html>moved</html>"))
        assert tree(tmp_path) == {}

    @pytest.mark.parametrize(
        ("name", "content", "kind"),
        [
            ("valid.h5", b"\x89HDF\r\n\x1a\n...", "an HDF5 file"),
            ("joints.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "a MATLAB 5 file"),
            ("boxes.json", b"\n[]", "a JSON file"),
            ("boxes.json", b'{"images": []}', "a JSON file"),
        ],
    )
    def test_files_that_are_no_archives(self, server, tmp_path, name, content, kind):
        server.files = {f"/{name}": Served(b"<!DOCTYPE html>" + content)}
        wanted = archive(f"{server.url}/{name}", file=name)
        with pytest.raises(InputError, match=f"{name}: not {kind}"):
            download.download(wanted, tmp_path)
        assert tree(tmp_path) == {}
        server.files = {f"/{name}": Served(content)}
        assert download.download(wanted, tmp_path).read_bytes() == content

    def test_without_an_address_it_must_be_there(self, tmp_path):
        folder = tmp_path / "downloads/coco"
        with pytest.raises(InputError, match=rf"a\.zip has no address .* put it into {folder}$"):
            download.download(archive(), folder)
        (folder / "a.zip").write_bytes(PAYLOAD)
        assert download.download(archive(), folder) == folder / "a.zip"
        assert download.download(archive(content=PAYLOAD), folder) == folder / "a.zip"

    def test_a_wrong_file_brought_by_hand_is_refused_and_kept(self, tmp_path):
        (tmp_path / "a.zip").write_bytes(b"mine")
        with pytest.raises(InputError, match="wrong SHA-256"):
            download.download(archive(content=PAYLOAD), tmp_path)
        assert tree(tmp_path) == {"a.zip": b"mine"}

    def test_log_has_few_whole_lines(self, server, tmp_path, capsys):
        self.get(server, tmp_path, Served(PAYLOAD), content=PAYLOAD)
        lines = [line for line in capsys.readouterr().err.splitlines() if line.strip()]
        assert 1 <= len(lines) <= 3
        assert lines[-1] == "a.zip: 20.1k of 20.1k"


@settings(max_examples=60, deadline=None)
@given(
    size=st.integers(0, 5000),
    drops=st.lists(st.integers(0, 5000), max_size=download.ATTEMPTS - 1),
    ranges=st.booleans(),
    if_range=st.booleans(),
    etag=st.sampled_from(['"v1"', 'W/"v1"', None]),
)
def test_wherever_the_connection_breaks_the_bytes_are_the_original(
    server, tmp_path_factory, size, drops, ranges, if_range, etag
):
    content = bytes(i * i % 251 for i in range(size))
    server.files = {"/f": Served(content, drops=drops, ranges=ranges, if_range=if_range, etag=etag)}
    part = tmp_path_factory.mktemp("drops") / "f.part"
    download.transfer(f"{server.url}/f", part)
    assert part.read_bytes() == content
