"""Whatever an address answers ends as the file or as one line, soon, and leaves nothing half-written in its name."""

import gzip
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lib.data import download
from lib.data.download import Archive
from lib.errors import InputError
from tests.test_download import PAYLOAD
from tests.web import tree


@contextmanager
def answering(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server of one's own making: `answer` writes to the connection after a request. Yields its address."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        answer(connection)
                    except OSError:
                        pass

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/a.zip"
        server.shutdown(socket.SHUT_RDWR)


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(download, "TIMEOUT", (2, 2))


def fetch(folder: Path, *urls: str) -> Path:
    return download.download(Archive(file="a.zip", folder="a", urls=urls, sha256=None), folder)


def refused(folder: Path, *urls: str) -> str:
    """The one line with which a download ends, without a wait and without anything left."""
    start = time.perf_counter()
    with pytest.raises(InputError) as caught:
        fetch(folder, *urls)
    message = str(caught.value)
    assert "a.zip" in message and "\n" not in message and message.endswith(f"put it into {folder}")
    assert time.perf_counter() - start < 3
    assert {name for name in tree(folder) if not name.endswith((".part", ".part.json"))} == set()
    return message


def said(*headers: str, body: bytes = PAYLOAD, status: str = "200 OK") -> Callable[[socket.socket], None]:
    head = "\r\n".join((f"HTTP/1.1 {status}", *headers, "Connection: close")) + "\r\n\r\n"
    return lambda connection: connection.sendall(head.encode("latin1") + body)


@pytest.mark.parametrize("length", ["abc", "-5", "1.5", "5, 6", "0x10", "9" * 5000, "+5", "1e3"])
def test_odd_content_length(tmp_path, length):
    with answering(said(f"Content-Length: {length}")) as url:
        assert "InvalidHeader" in (message := refused(tmp_path, url)) or "Content-Length" in message


@pytest.mark.parametrize(
    "place",
    [
        *("ftp://host/a.zip", "file:///etc/passwd", "http://", "http://[::1", "http://host:port/"),
        *("\xff\xfe", "http://\xe4 b/", "//"),
    ],
)
def test_odd_location(tmp_path, place):
    with answering(said(f"Location: {place}", "Content-Length: 0", body=b"", status="302 Found")) as url:
        refused(tmp_path, url)


def test_a_location_that_leads_back(tmp_path):
    with answering(lambda connection: said(f"Location: {url}", status="302 Found", body=b"")(connection)) as url:
        assert "TooManyRedirects" in refused(tmp_path, url)


@pytest.mark.parametrize(
    "url",
    [
        *(
            "ftp://host/a.zip",
            "file:///etc/passwd",
            "s3://bucket/a.zip",
            "host/a.zip",
            "",
            "http:///a.zip",
            "http://[::1/",
        ),
        *(
            "http://host:port/a.zip",
            "http://host:99999999/a.zip",
            "http://a..b/a.zip",
            f"http://{'a' * 300}.org/",
            "http://*/",
        ),
        *("javascript:alert(1)", "http://\x00/", "http:// /a.zip", "\\\\share\\a.zip"),
    ],
)
def test_addresses_that_are_none(tmp_path, url):
    refused(tmp_path, url)


def test_the_next_address_is_tried_at_once(tmp_path):
    with answering(said(f"Content-Length: {len(PAYLOAD)}")) as url:
        fetch(tmp_path, "ftp://host/a.zip", "http://host:port/a.zip", url)
    assert (tmp_path / "a.zip").read_bytes() == PAYLOAD


@pytest.mark.parametrize("encoding", ["gzip", "x-gzip", "br", "deflate, gzip", "nonsense"])
def test_an_encoding_that_was_not_asked_for(tmp_path, encoding):
    bomb = gzip.compress(bytes(10 << 20))
    with answering(said(f"Content-Encoding: {encoding}", f"Content-Length: {len(bomb)}", body=bomb)) as url:
        assert f"Content-Encoding '{encoding}', which was not asked for" in refused(tmp_path, url)
    assert tree(tmp_path) == {}


def endless(*headers: str) -> Callable[[socket.socket], None]:
    def answer(connection: socket.socket) -> None:
        said(*headers, body=b"")(connection)
        while True:
            connection.sendall(bytes(1 << 16))

    return answer


def test_a_body_without_end(tmp_path, monkeypatch):
    monkeypatch.setattr(download, "LARGEST", 1 << 20)
    with answering(endless()) as url:
        assert "a.zip does not end after 1,048,576 bytes" in refused(tmp_path, url)
    assert tree(tmp_path) == {}


def test_a_body_without_end_leaves_the_disk_some_room(tmp_path, monkeypatch):
    free = download.shutil.disk_usage(tmp_path).free
    monkeypatch.setattr(download, "RESERVE", free - (1 << 20))
    with answering(endless()) as url:
        assert "does not end after 1," in refused(tmp_path, url)
    assert tree(tmp_path) == {}


def test_chunks_that_go_on_after_the_declared_size(tmp_path):
    body = b"".join(b"%x\r\n%s\r\n" % (len(PAYLOAD), PAYLOAD) for _ in range(9)) + b"0\r\n\r\n"
    with answering(said("Content-Length: 100", "Transfer-Encoding: chunked", body=body)) as url:
        assert "a.zip does not end after 100 bytes, which it declares" in refused(tmp_path, url)
    assert tree(tmp_path) == {}


def test_a_body_for_which_there_is_no_room_keeps_what_is_there(tmp_path):
    with answering(said("Content-Length: 999999999999999", 'ETag: "v1"')) as url, pytest.raises(OSError) as caught:
        fetch(tmp_path, url)
    assert caught.value.filename == str(tmp_path / "a.zip.part")
    assert "no room for 999,999,999,999,999 bytes more of http" in caught.value.strerror


@pytest.mark.parametrize("state", [b"", b"\xff", b"[]", b'{"url": 5}', b"null"])
def test_an_odd_note_beside_the_beginning_is_passed_over(tmp_path, state):
    (tmp_path / "a.zip.part").write_bytes(b"begun")
    (tmp_path / "a.zip.part.json").write_bytes(state)
    with answering(said(f"Content-Length: {len(PAYLOAD)}")) as url:
        fetch(tmp_path, url)
    assert (tmp_path / "a.zip").read_bytes() == PAYLOAD


@pytest.mark.parametrize("record", [b"", b"abc  a.zip\n", b"\xff\xfe", b"<html>"])
def test_an_odd_record_is_named(tmp_path, record):
    (tmp_path / "a.zip").write_bytes(PAYLOAD)
    (tmp_path / "a.zip.sha256").write_bytes(record)
    with pytest.raises(InputError, match=r"a\.zip\.sha256 holds no SHA-256; expected 64 digits: delete it"):
        fetch(tmp_path)


@pytest.mark.parametrize("seed", range(3))
def test_damaged_answers(tmp_path, monkeypatch, seed):
    """Bytes of the head changed, cut out, put in twice: the file, or one line."""
    monkeypatch.setattr(download, "BACKOFF", 0.0)
    draw = random.Random(seed)
    for number in range(30):
        head = bytearray(
            f'HTTP/1.1 200 OK\r\nContent-Length: {len(PAYLOAD)}\r\nETag: "v"\r\nConnection: close\r\n\r\n'.encode()
        )
        for _ in range(draw.choice((1, 2, 4))):
            at, length = draw.randrange(len(head)), draw.randrange(1, 12)
            head[at : at + length] = draw.choice((b"", head[at : at + length] * 2, draw.randbytes(length)))
        folder = tmp_path / str(number)
        with answering(lambda connection, head=bytes(head): connection.sendall(head + PAYLOAD)) as url:
            try:
                path = fetch(folder, url)
            except InputError as error:
                assert "a.zip" in str(error) and "\n" not in str(error)
            else:
                assert PAYLOAD in path.read_bytes() or download.zipfile.is_zipfile(path)
