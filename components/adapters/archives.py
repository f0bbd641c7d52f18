"""Files inside folders, tar and zip archives, read one by one without unpacking.

Only regular members are ever read and no member is ever written, so links, devices and `../` names in an archive lead
nowhere. A compressed tar can only be read from its start: `index` spools it once, so that each member is then one read.
"""

import bz2
import fnmatch
import gzip
import lzma
import mmap
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from components.contracts.errors import DataError


def members(path: Path, pattern: str) -> list[str]:
    """The names in the folder or archive at `path` that match the glob `pattern`, sorted. `*` crosses folders."""
    return sorted(name for name in _names(path) if fnmatch.fnmatchcase(f"/{name}", f"*/{pattern.lstrip('/')}"))


def _names(path: Path) -> list[str]:
    if path.is_dir():
        return [child.relative_to(path).as_posix() for child in walk(path)]
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return [info.filename for info in archive.infolist() if not info.is_dir()]
    try:
        with tarfile.open(path, "r:*") as archive:
            return [member.name for member in archive if member.isreg()]
    except (tarfile.TarError, EOFError, OSError) as error:
        raise _broken(path, error) from error


def walk(folder: Path) -> list[Path]:
    """Everything below `folder` that is not a folder, sorted, whatever it is; hidden names are passed over.

    Raises:
        PermissionError: a folder below it cannot be listed. `Path.glob` would pass it over in silence.
    """

    def stop(error: OSError) -> None:
        raise error

    found = []
    for parent, folders, files in os.walk(folder, onerror=stop):
        folders[:] = [name for name in folders if name[0] != "."]
        found += [Path(parent, name) for name in files if name[0] != "."]
    return sorted(found)


def read_member(path: Path, name: str) -> bytes:
    """The bytes of one member that `members` named."""
    if path.is_dir():
        return (path / name).read_bytes()
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return archive.read(name)
    try:
        with tarfile.open(path, "r:*") as archive:
            file = archive.extractfile(name)
            if file is None:
                raise KeyError(name)
            return file.read()
    except (tarfile.TarError, EOFError) as error:
        raise _broken(path, error) from error


def is_archive(path: Path) -> bool:
    """Whether `path` is a tar (plain or compressed) or a zip, by its bytes."""
    return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of an archive: its name, its size and digest, and where its bytes start (-1: only the zip knows)."""

    name: str
    size: int
    digest: str
    offset: int = -1


BROKEN = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError, ValueError, RuntimeError)
"""What the readers of archives raise; RuntimeError and its NotImplementedError for encryption and odd compression."""
COMPRESSED: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ": lzma.open}
"""The first bytes of a compressed file to what opens it."""


def index(path: Path, scratch: Path) -> tuple[Path, list[Member]]:
    """Every regular member of the archive, in its order, and the file that `read_at` reads them from.

    That is the archive itself, or for a compressed tar an uncompressed copy of it in `scratch`.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                files = [info for info in archive.infolist() if not info.is_dir()]
                return path, [
                    Member(name=info.filename, size=info.file_size, digest=_digest(archive.read(info)))
                    for info in files
                ]
        plain = _spooled(path, scratch)
        with (
            tarfile.open(plain, "r:") as archive,
            plain.open("rb") as file,
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
        ):
            return plain, [
                Member(
                    name=one.name,
                    size=one.size,
                    digest=_digest(data[one.offset_data : one.offset_data + one.size]),
                    offset=one.offset_data,
                )
                for one in archive
                if one.isreg() and not one.issparse()
            ]
    except BROKEN as error:
        raise _broken(path, error) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise _broken(path, error) from error


def _spooled(path: Path, scratch: Path) -> Path:
    with path.open("rb") as file:
        head = file.read(6)
    opener = next((one for magic, one in COMPRESSED.items() if head.startswith(magic)), None)
    if opener is None:
        return path
    scratch.mkdir(parents=True, exist_ok=True)
    plain = scratch / f"{path.name}.tar"
    with opener(path, "rb") as packed, plain.open("wb") as out:
        shutil.copyfileobj(packed, out, 2**20)
    return plain


def read_at(plain: Path, archive: Path, wanted: Sequence[tuple[str, int, int]]) -> Iterator[bytes]:
    """The bytes of the members `wanted` (name, offset, size): out of `plain`, or where that is not, of `archive`."""
    if plain.is_file() and all(offset >= 0 for _, offset, _ in wanted):
        with plain.open("rb") as file:
            for _, offset, size in wanted:
                file.seek(offset)
                yield file.read(size)
    elif zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield from (packed.read(name) for name, _, _ in wanted)
    else:
        names = {name for name, _, _ in wanted}
        with tarfile.open(archive, "r|*") as stream:
            found = {one.name: stream.extractfile(one).read() for one in stream if one.name in names}  # type: ignore[union-attr]
        yield from (found[name] for name, _, _ in wanted)


def _digest(data: bytes) -> str:
    return blake3(data).hexdigest(length=16)


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        "E_FORMAT",
        f"the archive cannot be read ({error})",
        place="source.uri",
        value=str(path),
        action="fetch it again",
    )
