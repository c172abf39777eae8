"""A web server that misbehaves on demand, and small archives for it to offer."""

import gzip
import io
import re
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lib.data import download

LSP = {"images/im0001.jpg": b"first", "images/im0002.jpg": b"second", "joints.mat": b"joints"}
LSPET = {"images/im00001.jpg": b"third", "joints.mat": b"more joints"}


@dataclass
class Served:
    """One URL of the test server and how it misbehaves."""

    content: bytes
    etag: str | None = '"v1"'
    modified: str | None = None
    ranges: bool = True  # answers Range requests
    if_range: bool = True  # heeds If-Range
    compresses: bool = False  # for clients that accept it
    statuses: list[int] = field(default_factory=list)  # of the first answers, instead of the content
    drops: list[int] = field(default_factory=list)  # bytes after which the first answers break off
    stall: float = 0.0  # seconds between the pieces of the first answer
    replacement: "Served | None" = None  # takes over after the first answer
    offsets: list[int] = field(default_factory=list)  # first byte that each request asked for


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        served = self.server.files.get(self.path)
        if served is None:
            return self.send_error(404)
        if served.replacement:
            self.server.files[self.path] = served.replacement
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", "bytes=0-"))
        served.offsets.append(int(wanted[1]))
        if served.statuses:
            return self.send_error(served.statuses.pop(0))
        compressed = served.compresses and "gzip" in self.headers.get("Accept-Encoding", "")
        content = gzip.compress(served.content) if compressed else served.content
        start, size = served.offsets[-1], len(content)
        current = self.headers.get("If-Range") in (None, served.etag, served.modified)
        if "Range" not in self.headers or not served.ranges or (served.if_range and not current):
            start = 0
            self.send_response(200)
        elif start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            return self.end_headers()
        else:
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        encoding = "gzip" if compressed else None
        for name, value in (
            ("ETag", served.etag),
            ("Last-Modified", served.modified),
            ("Content-Encoding", encoding),
        ):
            if value:
                self.send_header(name, value)
        self.end_headers()
        body = content[start:]
        body = body[: served.drops.pop(0)] if served.drops else body
        stall, served.stall = served.stall, 0.0
        for at in range(0, len(body), 1000):
            self.wfile.write(body[at : at + 1000])
            time.sleep(stall)

    def log_message(self, *_):
        pass


@contextmanager
def serving() -> Iterator[ThreadingHTTPServer]:
    """A server on this machine with `.url` and `.files`: path -> Served. Downloads are retried without a pause."""
    with pytest.MonkeyPatch.context() as patch, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        patch.setenv("NO_PROXY", "127.0.0.1")
        patch.setattr(download, "BACKOFF", 0.0)
        patch.setattr(download, "CHUNK", 100)
        server.url = f"http://127.0.0.1:{server.server_port}"
        server.files = {}
        server.handle_error = lambda *_: None  # clients that hang up are part of the game
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


def packed(files: dict[str, bytes]) -> bytes:
    """A zip archive."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar(members: list[tarfile.TarInfo | tuple[str, bytes]], mode: str = "w:gz") -> bytes:
    """A tar archive of named contents, or of members that are no files."""
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


def tree(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, hidden ones too."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
