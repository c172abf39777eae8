"""One file of a benchmark's owner: downloaded, continued where it stopped, and checked."""

import errno
import json
import os
import re
import shutil
import sys
import tarfile
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import requests
import urllib3
from tqdm import tqdm

from lib.errors import InputError
from lib.files import atomic, remove, sha256

ATTEMPTS = 5  # in a row without a new byte, then the next mirror
BACKOFF = 1.0  # seconds before the second attempt; doubles
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of data
CHUNK = 1 << 16  # bytes; what a broken connection can lose at most
LARGEST = 1 << 36  # bytes; of an answer that does not say its size
RESERVE = 1 << 28  # bytes that such an answer leaves free on the disk

# What fetching an address raises; and what does not pass: an address, or an answer, that is none.
FAILED = (requests.RequestException, urllib3.exceptions.HTTPError, ValueError)
FINAL = (ValueError, requests.TooManyRedirects, urllib3.exceptions.InvalidHeader)

# Files that are no archives: what they are, and how they begin.
SIGNATURES = {
    ".h5": ("an HDF5 file", (b"\x89HDF\r\n\x1a\n",)),
    ".mat": ("a MATLAB 5 file", (b"MATLAB 5.0 MAT-file",)),
    ".json": ("a JSON file", (b"{", b"[")),
}


@dataclass(frozen=True)
class Archive:
    """One file of a benchmark as its owner offers it, and the folder of data/raw/<dataset> that its content fills.

    Without urls, fetch needs the file in data/downloads/<dataset>. An optional file that cannot be had is left out.
    """

    file: str
    folder: str
    urls: tuple[str, ...]
    sha256: str | None
    optional: bool = False


def download(archive: Archive, folder: Path) -> Path:
    """Path of a verified file in `folder`, downloaded unless it is there already.

    Mirrors are tried in order. The SHA-256 must be the given one or, where none is known, the one that the first
    download recorded in `<file>.sha256`. An interrupted download stays as `<file>.part` and is continued by the next
    call. Raises InputError with the reason per mirror; a wrong download is deleted.
    """
    path, part = folder / archive.file, folder / f"{archive.file}.part"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            verify(path, str(path), archive, record_of(path))
            return path
        except InputError as error:
            if not archive.urls:
                raise
            print(f"{error}; fetching it again", file=sys.stderr)
    if not archive.urls:
        raise InputError(f"{archive.file} has no address to fetch it from; get it by hand and put it into {folder}")
    failures = []
    for url in archive.urls:
        try:
            transfer(url, part)
            verify(part, url, archive, record_of(path))
        except (*FAILED, InputError) as error:
            if isinstance(error, InputError):
                remove(part)
            failures.append(str(error) if isinstance(error, InputError) else f"{url}: {reason(error)}")
            if url != archive.urls[-1]:
                print(f"{failures[-1]}; trying the next address", file=sys.stderr)
        else:
            os.replace(part, path)
            return path
        finally:
            if not part.exists():
                remove(state_of(part))
    raise InputError(
        f"cannot fetch {archive.file}: {'; '.join(failures)}; "
        f"try again later, or get the file elsewhere and put it into {folder}"
    )


def verify(file: Path, origin: str, archive: Archive, record: Path) -> None:
    """Raise InputError unless the SHA-256 of `file` is the given, else the recorded one.

    Without either its content must be of the kind that its name promises, and its hash is recorded.
    """
    digest = sha256(file)
    if archive.sha256 is None and not record.exists():
        recognise(file, archive.file, origin)
        with atomic(record) as temporary:
            temporary.write_text(f"{digest}  {archive.file}\n", encoding="utf-8")
        return
    wanted = archive.sha256 or recorded(record)
    if digest != wanted:
        hint = "" if archive.sha256 else f" as recorded by the first download in {record}"
        raise InputError(f"{origin}: wrong SHA-256: expected {wanted}{hint}, got {digest}")


def record_of(file: Path) -> Path:
    """The file that keeps the SHA-256 of the first download."""
    return file.with_name(f"{file.name}.sha256")


def recorded(record: Path) -> str:
    """The SHA-256 in a record."""
    words = record.read_text(encoding="utf-8", errors="replace").split()
    if not words or not re.fullmatch("[0-9a-fA-F]{64}", words[0]):
        raise InputError(f"{record} holds no SHA-256; expected 64 digits: delete it to take the file as it is")
    return words[0].lower()


def recognise(file: Path, name: str, origin: str) -> None:
    """Raise InputError unless `file` is what `name` says: dead links often answer with a web page."""
    if (suffix := Path(name).suffix) in SIGNATURES:
        kind, beginnings = SIGNATURES[suffix]
        with open(file, "rb") as content:
            known = content.read(512).lstrip(b" \t\r\n").startswith(beginnings)
        if not known:
            raise InputError(f"{origin}: not {kind}")
    elif not (zipfile.is_zipfile(file) or tarfile.is_tarfile(file)):
        raise InputError(f"{origin}: neither a zip nor a tar archive")


def transfer(url: str, part: Path) -> None:
    """Bring `part` to the complete content of `url`, whatever an earlier call or process left of it.

    Raises one of FAILED on a final refusal (4xx), an address or answer that is none, or after ATTEMPTS failures in a
    row without progress; InputError where the answer has no end; OSError where the disk has no room for it.
    """
    failures, longest = 0, part.stat().st_size if part.exists() else 0
    while True:
        try:
            return attempt(url, part)
        except FAILED as error:
            size = part.stat().st_size if part.exists() else 0
            failures = 1 if size > longest else failures + 1
            longest = max(longest, size)
            response = getattr(error, "response", None)
            status = response.status_code if response is not None else 0
            refused = 400 <= status < 500 and status not in (408, 416, 425, 429)
            if failures >= ATTEMPTS or refused or isinstance(error, FINAL):
                raise
            time.sleep(BACKOFF * 2 ** (failures - 1))


def attempt(url: str, part: Path) -> None:
    """One request for the rest of `part`, or for all of it where the server cannot or must not continue it."""
    saved = begun(part)
    offset = part.stat().st_size if saved.get("url") == url else 0
    headers = {"Accept-Encoding": "identity"}  # the file's own bytes: ranges and sizes count them
    if offset:
        headers |= {"Range": f"bytes={offset}-", "If-Range": saved["validator"]}
    with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
        covered = response.headers.get("Content-Range", "")
        if offset and response.status_code == 416 and covered == f"bytes */{offset}":
            return  # stopped between the last byte and the rename
        continued = (
            offset > 0
            and response.status_code == 206
            and covered.startswith(f"bytes {offset}-")
            and validator(response) in (None, saved["validator"])
        )
        if response.status_code in (206, 416) and not continued:
            remove(state_of(part))
            raise requests.HTTPError("the server's range does not continue the file", response=response)
        if response.status_code not in (200, 206):
            raise requests.HTTPError(f"HTTP status {response.status_code}", response=response)
        if not continued:
            offset = 0
        total = declared(response, offset)
        if not continued:
            remove(state_of(part))
            part.write_bytes(b"")
            if validator(response):
                with atomic(state_of(part)) as temporary:
                    temporary.write_text(json.dumps({"url": url, "validator": validator(response)}), encoding="utf-8")
        receive(response, url, part, offset, total)


def begun(part: Path) -> dict[str, str]:
    """Of which version of which URL `part` is the beginning; nothing where that is not known."""
    try:
        state = json.loads(state_of(part).read_text(encoding="utf-8")) if part.exists() else {}
    except (FileNotFoundError, ValueError):
        return {}
    return state if isinstance(state, dict) and state.keys() == {"url", "validator"} else {}


def declared(response: requests.Response, offset: int) -> int | None:
    """Bytes of the whole file, of which the answer brings those from `offset` on; None where it does not say."""
    encoding, length = (response.headers.get(f"Content-{name}", "") for name in ("Encoding", "Length"))
    if encoding.lower() not in ("", "identity"):
        raise requests.exceptions.InvalidHeader(f"Content-Encoding {encoding[:40]!r}, which was not asked for")
    if length and not re.fullmatch("[0-9]{1,15}", length):
        raise requests.exceptions.InvalidHeader(f"Content-Length {length[:40]!r} is no number of bytes")
    return offset + int(length) if length else None


def receive(response: requests.Response, url: str, part: Path, offset: int, total: int | None) -> None:
    """Add the body of an answer to `part`, within what it declares and what the disk has room for."""
    room = shutil.disk_usage(part.parent).free
    if total is not None and total - offset > room:
        need = f"no room for {total - offset:,} bytes more of {url}, {room:,} are free: make room, then repeat"
        raise OSError(errno.ENOSPC, need, str(part))
    most, size = total if total is not None else offset + min(LARGEST, max(0, room - RESERVE)), offset
    with open(part, "ab", buffering=0) as file, progress(part.stem, total, initial=offset) as bar:
        for chunk in response.iter_content(CHUNK):
            size += len(chunk)
            if size > most:
                end = "which it declares" if total is not None else "and the disk shall hold no more of it"
                raise InputError(f"{url}: {part.stem} does not end after {most:,} bytes, {end}")
            try:
                file.write(chunk)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(part)) from error
            bar.update(len(chunk))


def state_of(part: Path) -> Path:
    """The file that says of which version of which URL `part` is the beginning."""
    return part.with_name(f"{part.name}.json")


def validator(response: requests.Response) -> str | None:
    """What identifies the served version for If-Range (RFC 9110, 13.1.5): a strong ETag, else the date."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if tag.startswith("W/") else tag


def reason(error: Exception) -> str:
    """A failed request in a few words: the library's own text repeats the URL and nests its causes."""
    if isinstance(error, requests.exceptions.InvalidSchema | requests.exceptions.MissingSchema):
        return "no address of http or https"
    own = isinstance(error, requests.HTTPError | requests.exceptions.InvalidHeader)
    return str(error) if own else type(error).__name__


def progress(description: str, total: int | None, initial: int = 0, delay: float = 0.0) -> tqdm:
    """A bar that counts bytes; away from a terminal, a line every half minute. It appears after `delay` seconds."""
    if sys.stderr.isatty():
        style = {"mininterval": 0.1}
    else:
        style = {"mininterval": 30, "maxinterval": 60, "bar_format": "{desc}: {n_fmt} of {total_fmt}\n"}
    return tqdm(desc=description, total=total, initial=initial, delay=delay, unit="B", unit_scale=True, **style)
