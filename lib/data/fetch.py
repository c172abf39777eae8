"""A benchmark's files: downloaded or found on disk, checked, and brought into the benchmark's own layout."""

import errno
import gzip
import lzma
import os
import shutil
import stat
import struct
import sys
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from lib.data.download import SIGNATURES, Archive, download, progress, recognise, record_of, recorded
from lib.errors import InputError
from lib.files import is_litter, remove, sha256, walk

PATIENCE = 5.0  # seconds that unpacking or copying may take before it shows its progress
DAMAGED = (zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, EOFError)
# RuntimeError: encrypted, or of an unknown compression; the others: headers that make no sense.
UNREADABLE = (*DAMAGED, RuntimeError, ValueError, OverflowError, struct.error)
# What the system says to places and names of a damaged archive, and to a file where a folder has to be.
SENSELESS = (None, errno.EINVAL, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTDIR, errno.EISDIR, errno.EEXIST)

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
        raise InputError(
            f"source {source.absolute()} does not exist; expected synthetic, official or a folder with {expected}"
        )
    missing = [name for name, needed in layout.items() if needed and not (out / name).exists()]
    if missing:
        raise InputError(f"source {source.absolute()} lacks {', '.join(missing)}; expected there: {expected}")
    return {file.name: sha256(file) for file in files}


def install(file: Path, out: Path) -> None:
    """Bring the content of an archive, or a file that is none, into the folder `out`."""
    if file.suffix in SIGNATURES:
        recognise(file, file.name, str(file))
        copy(file, out / file.name)
    else:
        extract(file, out)


def copy(source: Path, target: Path) -> None:
    """Copy a file, or the files of a folder without macOS litter; what was read-only is writable in the copy."""
    files = [file.relative_to(source) for file in walk(source)] if source.is_dir() else [Path()]
    total = sum((source / file).stat().st_size for file in files)
    with progress(f"copying {source}", total, delay=PATIENCE) as bar:
        for file in files:
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / file, target / file)
            bar.update((target / file).stat().st_size)


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
                if not path.parts:
                    continue
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
    except (*UNREADABLE, OSError) as error:
        if isinstance(error, OSError) and error.errno not in SENSELESS:
            raise  # the disk's, not the archive's
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
                    # Some programs on Windows write their own separator, which the format does not know.
                    name = member.filename.replace("\\", "/")
                    if not name.endswith("/"):
                        yield name, kind in (0, stat.S_IFREG), partial(opened.open, member)
    else:
        file.seek(0)
        with tarfile.open(fileobj=file) as opened:
            for member in opened:
                if not member.isdir():
                    yield member.name, member.isreg(), partial(opened.extractfile, member)
            while opened.fileobj.read(1 << 20):  # a tar's content has no checksum but its compression's, at the end
                pass
