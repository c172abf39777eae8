"""A benchmark's archives: downloaded or found on disk, checked, and unpacked into the benchmark's own layout."""

import gzip
import json
import lzma
import os
import shutil
import stat
import sys
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import requests
from tqdm import tqdm

from lib.errors import InputError
from lib.files import atomic, remove, sha256
from lib.params import Archive

ATTEMPTS = 5  # in a row without a new byte, then the next mirror
BACKOFF = 1.0  # seconds before the second attempt; doubles
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of data
CHUNK = 1 << 16  # bytes; what a broken connection can lose at most
LITTER = ("__MACOSX", ".DS_Store", "._*")
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
UNREADABLE = (*DAMAGED, RuntimeError)  # the latter: encrypted, or of an unknown compression


def from_official(archives: Sequence[Archive], downloads: Path, out: Path) -> dict[str, str]:
    """Download archives into `downloads`, unpack each into its folder of `out`, return file name -> SHA-256.

    Raises InputError where no mirror has the right file or an archive is damaged.
    """
    files = [download(archive, downloads) for archive in archives]
    for archive, file in zip(archives, files, strict=True):
        extract(file, out / archive.folder)
    return {file.name: sha256(file) for file in files}


def from_local(source: Path, archives: Sequence[Archive], out: Path) -> dict[str, str]:
    """Fill `out` from the user's copy of a benchmark, return file name -> SHA-256 of the archives used.

    `source` is a folder that holds each archive or its extracted folder, or a single archive: one of `archives`, or
    another that holds all their extracted folders. The files are copied: as hard links they would share permissions
    and later writes with DVC's cache. Raises InputError where something is missing or damaged.
    """
    expected = ", ".join(f"{archive.file} (or extracted: {archive.folder}/)" for archive in archives)
    if source.is_file():
        folder = next((archive.folder for archive in archives if archive.file == source.name), ".")
        extract(source, out / folder)
        files = [source]
    elif source.is_dir():
        files = [source / archive.file for archive in archives if (source / archive.file).is_file()]
        for archive in archives:
            if source / archive.file in files:
                extract(source / archive.file, out / archive.folder)
            elif (source / archive.folder).is_dir():
                ignore = shutil.ignore_patterns(*LITTER)
                shutil.copytree(source / archive.folder, out / archive.folder, ignore=ignore, dirs_exist_ok=True)
    else:
        raise InputError(f"source {source} does not exist; expected synthetic, official or a folder with {expected}")
    missing = [archive.file for archive in archives if not (out / archive.folder).is_dir()]
    if missing:
        raise InputError(f"source {source} lacks {', '.join(missing)}; expected there: {expected}")
    return {file.name: sha256(file) for file in files}


def download(archive: Archive, folder: Path) -> Path:
    """Path of a verified archive in `folder`, downloaded unless it is there already.

    Mirrors are tried in order. The SHA-256 must be the archive's own or, where the owner publishes none, the one that
    the first download recorded in `<file>.sha256`. An interrupted download stays as `<file>.part` and is continued by
    the next call. Raises InputError with the reason per mirror; a wrong file is deleted.
    """
    path, record = folder / archive.file, folder / f"{archive.file}.sha256"
    part = folder / f"{archive.file}.part"
    folder.mkdir(parents=True, exist_ok=True)
    if path.exists():
        try:
            verify(path, str(path), archive.sha256, record)
            return path
        except InputError as error:
            print(f"{error}; fetching it again", file=sys.stderr)
    failures = []
    for url in archive.urls:
        try:
            transfer(url, part)
            verify(part, url, archive.sha256, record)
        except (requests.RequestException, InputError) as error:
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
        f"try again later, or get the file elsewhere and set source to the folder that holds it"
    )


def verify(file: Path, origin: str, expected: str | None, record: Path) -> None:
    """Delete `file` and raise InputError unless its SHA-256 is the expected, else the recorded one.

    Without either it must be an archive, since dead links often answer with a web page, and its hash is recorded.
    """
    digest = sha256(file)
    if expected is None and not record.exists():
        if not (zipfile.is_zipfile(file) or tarfile.is_tarfile(file)):
            remove(file)
            raise InputError(f"{origin}: neither a zip nor a tar archive")
        with atomic(record) as temporary:
            temporary.write_text(f"{digest}  {record.stem}\n")
        return
    wanted = expected or record.read_text().split()[0]
    if digest != wanted:
        remove(file)
        hint = "" if expected else f" as recorded by the first download in {record}"
        raise InputError(f"{origin}: wrong SHA-256: expected {wanted}{hint}, got {digest}")


def transfer(url: str, part: Path) -> None:
    """Bring `part` to the complete content of `url`, whatever an earlier call or process left of it.

    Raises requests.RequestException on a final refusal (4xx) or after ATTEMPTS failures in a row without progress.
    """
    failures, longest = 0, part.stat().st_size if part.exists() else 0
    while True:
        try:
            return attempt(url, part)
        except requests.RequestException as error:
            size = part.stat().st_size if part.exists() else 0
            failures = 1 if size > longest else failures + 1
            longest = max(longest, size)
            status = error.response.status_code if error.response is not None else 0
            if failures >= ATTEMPTS or (400 <= status < 500 and status not in (408, 416, 425, 429)):
                raise
            time.sleep(BACKOFF * 2 ** (failures - 1))


def attempt(url: str, part: Path) -> None:
    """One request for the rest of `part`, or for all of it where the server cannot or must not continue it."""
    state = state_of(part)
    saved = json.loads(state.read_text()) if state.exists() and part.exists() else {}
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
            remove(state)
            raise requests.HTTPError("the server's range does not continue the file", response=response)
        if response.status_code not in (200, 206):
            raise requests.HTTPError(f"HTTP status {response.status_code}", response=response)
        if not continued:
            offset = 0
            remove(state)
            part.write_bytes(b"")
            if validator(response):
                with atomic(state) as temporary:
                    temporary.write_text(json.dumps({"url": url, "validator": validator(response)}))
        total = int(response.headers["Content-Length"]) + offset if "Content-Length" in response.headers else None
        terminal = sys.stderr.isatty()
        line = {} if terminal else {"bar_format": "{desc}: {n_fmt} of {total_fmt}\n", "maxinterval": 60}
        interval = 0.1 if terminal else 30
        with (
            open(part, "ab") as file,
            tqdm(
                desc=part.stem, total=total, initial=offset, unit="B", unit_scale=True, mininterval=interval, **line
            ) as bar,
        ):
            for chunk in response.iter_content(CHUNK):
                file.write(chunk)
                bar.update(len(chunk))


def state_of(part: Path) -> Path:
    """The file that says of which version of which URL `part` is the beginning."""
    return part.with_name(f"{part.name}.json")


def validator(response: requests.Response) -> str | None:
    """What identifies the served version for If-Range (RFC 9110, 13.1.5): a strong ETag, else the date."""
    tag = response.headers.get("ETag", "W/")
    return response.headers.get("Last-Modified") if tag.startswith("W/") else tag


def reason(error: requests.RequestException) -> str:
    """A failed request in a few words: the library's own text repeats the URL and nests its causes."""
    return str(error) if isinstance(error, requests.HTTPError) else type(error).__name__


def extract(archive: Path, out: Path) -> None:
    """Unpack the files of a zip or tar archive into `out`, without a single top-level folder and macOS litter.

    Raises InputError, before anything is written, for members that lead out of `out` or are not regular files, and for
    damaged archives.
    """
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                kinds = {member: stat.S_IFMT(member.external_attr >> 16) for member in opened.infolist()}
                members = [(m.filename, kind in (0, stat.S_IFREG), m) for m, kind in kinds.items() if not m.is_dir()]
                unpack(archive, members, opened.open, out)
        else:
            with tarfile.open(archive) as opened:
                members = [(member.name, member.isreg(), member) for member in opened if not member.isdir()]
                unpack(archive, members, opened.extractfile, out)
    except UNREADABLE as error:
        detail = str(error).partition("\n")[0].rstrip(":") or "it ends too early"
        raise InputError(f"{archive}: not a readable zip or tar archive: {detail}; get it again") from None


def unpack(
    archive: Path, members: Sequence[tuple[str, bool, Any]], read: Callable[[Any], IO[bytes]], out: Path
) -> None:
    """Check all members (name, whether a regular file, what `read` opens), then write them."""
    files = {}
    for name, regular, member in members:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise InputError(f"{archive}: member {name!r} leads out of the archive's folder; nothing was unpacked")
        if not regular:
            raise InputError(f"{archive}: member {name!r} is a link or a device; nothing was unpacked")
        if not any(PurePosixPath(part).match(pattern) for part in path.parts for pattern in LITTER):
            files[path] = member
    if len({path.parts[0] for path in files}) == 1 and all(len(path.parts) > 1 for path in files):
        files = {path.relative_to(path.parts[0]): member for path, member in files.items()}
    for path, member in files.items():
        (out / path).parent.mkdir(parents=True, exist_ok=True)
        with read(member) as source, open(out / path, "wb") as target:
            shutil.copyfileobj(source, target)
