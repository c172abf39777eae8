"""A benchmark's files: downloaded or found on disk, checked, and brought into the benchmark's own layout."""

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
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePath, PurePosixPath
from typing import IO

import requests
from tqdm import tqdm

from lib.errors import InputError
from lib.files import atomic, remove, sha256

ATTEMPTS = 5  # in a row without a new byte, then the next mirror
BACKOFF = 1.0  # seconds before the second attempt; doubles
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of data
CHUNK = 1 << 16  # bytes; what a broken connection can lose at most
PATIENCE = 5.0  # seconds that unpacking or copying may take before it shows its progress
LITTER = ("__MACOSX", ".DS_Store", "._*")
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
UNREADABLE = (*DAMAGED, RuntimeError)  # the latter: encrypted, or of an unknown compression

# Files that are no archives: what they are, and how they begin.
SIGNATURES = {
    ".h5": ("an HDF5 file", (b"\x89HDF\r\n\x1a\n",)),
    ".mat": ("a MATLAB 5 file", (b"MATLAB 5.0 MAT-file",)),
    ".json": ("a JSON file", (b"{", b"[")),
}

# What convert reads below data/raw/<dataset>, and whether it always needs it.
LAYOUTS = {
    "lsp": {"lsp": True, "lspet": True},
    "mpii": {"images": True, "annot": True, "mpii_human_pose_v1_u12_1.mat": False},
    "coco": {"annotations": True, "val2017": True, "train2017": False, "person_detection_results": False},
    "rhd": {"training": True, "evaluation": True},
    "stb": {"images": True, "labels": True},
    "freihand": {
        **{"training": True, "training_K.json": True, "training_xyz.json": True},
        **dict.fromkeys(("evaluation", *(f"evaluation_{field}.json" for field in ("K", "scale", "xyz"))), False),
    },
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


def from_official(archives: Sequence[Archive], downloads: Path, out: Path) -> dict[str, str]:
    """Download files into `downloads`, bring each into its folder of `out`, return file name -> SHA-256.

    An optional file that cannot be had is reported and left out. Raises InputError where another has no mirror with the
    right content, or is damaged.
    """
    found = []
    for archive in archives:
        try:
            found.append((archive, download(archive, downloads)))
        except InputError as error:
            if not archive.optional:
                raise
            print(f"{error}; going on without it, fetch again (dvc repro -f) once it is there", file=sys.stderr)
    for archive, file in found:
        install(file, out / archive.folder)
    return {archive.file: archive.sha256 or recorded(record_of(file)) for archive, file in found}


def from_local(source: Path, archives: Sequence[Archive], layout: dict[str, bool], out: Path) -> dict[str, str]:
    """Fill `out` from the user's copy of a benchmark, return file name -> SHA-256 of the official files used.

    `source` is a folder that holds names of `layout` or official files, or a single archive: an official one, or
    another with the whole layout. Everything is copied: as hard links the files would share permissions and later
    writes with DVC's cache. Raises InputError where something that convert always needs is missing, or is damaged.
    """
    expected = f"{', '.join(layout)}, or the official {', '.join(archive.file for archive in archives)}"
    if source.is_file():
        folder = next((archive.folder for archive in archives if archive.file == source.name), ".")
        install(source, out / folder)
        files = [source]
    elif source.is_dir():
        found = [archive for archive in archives if (source / archive.file).is_file()]
        files = [source / archive.file for archive in found]
        unpacked = [archive.folder for archive in found if Path(archive.file).suffix not in SIGNATURES]
        for name in layout:
            if (source / name).exists() and name not in unpacked:
                copy(source / name, out / name)
        for archive, file in zip(found, files, strict=True):
            install(file, out / archive.folder)
    else:
        raise InputError(f"source {source} does not exist; expected synthetic, official or a folder with {expected}")
    missing = [name for name, needed in layout.items() if needed and not (out / name).exists()]
    if missing:
        raise InputError(f"source {source} lacks {', '.join(missing)}; expected there: {expected}")
    return {file.name: sha256(file) for file in files}


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
        except (requests.RequestException, InputError) as error:
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
            temporary.write_text(f"{digest}  {archive.file}\n")
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
    return record.read_text().split()[0]


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
        with open(part, "ab") as file, progress(part.stem, total, initial=offset) as bar:
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


def progress(description: str, total: int | None, initial: int = 0, delay: float = 0.0) -> tqdm:
    """A bar that counts bytes; away from a terminal, a line every half minute. It appears after `delay` seconds."""
    if sys.stderr.isatty():
        style = {"mininterval": 0.1}
    else:
        style = {"mininterval": 30, "maxinterval": 60, "bar_format": "{desc}: {n_fmt} of {total_fmt}\n"}
    return tqdm(desc=description, total=total, initial=initial, delay=delay, unit="B", unit_scale=True, **style)


def install(file: Path, out: Path) -> None:
    """Bring the content of an archive, or a file that is none, into the folder `out`."""
    if file.suffix in SIGNATURES:
        recognise(file, file.name, str(file))
        copy(file, out / file.name)
    else:
        extract(file, out)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or the files of a folder without macOS litter; what was read-only is writable in the copy."""
    if source.is_dir():
        found = (Path(folder) / name for folder, _, names in os.walk(source, followlinks=True) for name in names)
        files = [file.relative_to(source) for file in found]
    else:
        files = [Path()]
    files = [file for file in files if not is_litter(file)]
    total = sum((source / file).stat().st_size for file in files)
    with progress(f"copying {source}", total, delay=PATIENCE) as bar:
        for file in files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, target / file)
            bar.update((target / file).stat().st_size)


def is_litter(path: PurePath) -> bool:
    """Whether macOS put this file, or one of the folders it is in, beside the content."""
    return any(PurePath(part).match(pattern) for part in path.parts for pattern in LITTER)


def extract(archive: Path, out: Path) -> None:
    """Unpack the files of a zip or tar archive into `out`, without a single top-level folder and macOS litter.

    In one pass: to list a tar.gz first would decompress it twice. Raises InputError for members that lead out of `out`
    or are not regular files, and for damaged archives; what was unpacked until then is deleted.
    """
    unpacked, total = out / ".unpacked", archive.stat().st_size
    unpacked.mkdir(parents=True)
    try:
        with open(archive, "rb") as file, progress(f"unpacking {archive.name}", total, delay=PATIENCE) as bar:
            for name, regular, read in members(file):
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts:
                    raise InputError(f"{archive}: member {name!r} leads out of the archive's folder")
                if not regular:
                    raise InputError(f"{archive}: member {name!r} is a link or a device")
                if not is_litter(path):
                    (unpacked / path).parent.mkdir(parents=True, exist_ok=True)
                    with read() as source, open(unpacked / path, "wb") as target:
                        shutil.copyfileobj(source, target)
                bar.update(file.tell() - bar.n)
            bar.update(total - bar.n)
        top = list(unpacked.iterdir())
        content = top[0] if len(top) == 1 and top[0].is_dir() else unpacked
        shutil.copytree(content, out, copy_function=os.replace, dirs_exist_ok=True)
    except UNREADABLE as error:
        detail = str(error).partition("\n")[0].rstrip(":") or "it ends too early"
        raise InputError(f"{archive}: not a readable zip or tar archive: {detail}; get it again") from None
    finally:
        remove(unpacked)


def members(file: IO[bytes]) -> Iterator[tuple[str, bool, Callable[[], IO[bytes]]]]:
    """Name, whether a regular file, and how to open it, for all but the folders of an archive, in their order."""
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as opened:
            for member in opened.infolist():
                if not member.is_dir():
                    kind = stat.S_IFMT(member.external_attr >> 16)
                    yield member.filename, kind in (0, stat.S_IFREG), partial(opened.open, member)
    else:
        file.seek(0)
        with tarfile.open(fileobj=file) as opened:
            for member in opened:
                if not member.isdir():
                    yield member.name, member.isreg(), partial(opened.extractfile, member)
            while opened.fileobj.read(1 << 20):  # a tar's content has no checksum but its compression's, at the end
                pass
