"""Files inside folders, tar and zip archives, read one by one without unpacking.

An archive with a link, a device, an absolute or a `../` name is refused whole, and so is one that unpacks to more than
a hundred times its size: who packs data does neither. A compressed tar can only be read from its start: `index` spools
it once, so that each member is then one read.
"""

import fnmatch
import mmap
import os
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from blake3 import blake3

from components.adapters.compressed import FREE_BYTES, LARGEST_RATIO, bomb, readable, spooled
from components.contracts.errors import DataError


def members(path: Path, pattern: str) -> list[str]:
    """The names in the folder or archive at `path` that match the glob `pattern`, sorted. `*` crosses folders."""
    return sorted(name for name in _names(path) if fnmatch.fnmatchcase(f"/{name}", f"*/{pattern.lstrip('/')}"))


def _names(path: Path) -> list[str]:
    if path.is_dir():
        return [child.relative_to(path).as_posix() for child in walk(path)]
    with readable(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return [info.filename for info in _zipped(path, archive)]
        with tarfile.open(path, "r:*") as archive:
            return [member.name for member in _packed(path, archive)]


def walk(folder: Path) -> list[Path]:
    """Everything below `folder` that is not a folder, sorted, whatever it is; hidden names are passed over.

    Links to folders are followed where these lie elsewhere; each folder is looked at once.

    Raises:
        PermissionError: a folder below it cannot be listed. `Path.glob` would pass it over in silence.
        DataError: E_ENCODING, a name that is not UTF-8.
    """

    def stop(error: OSError) -> None:
        raise error

    found = []
    seen = [folder.resolve()]
    for parent, folders, files in os.walk(folder, onerror=stop, followlinks=True):
        folders[:] = [
            text_of(name, parent) for name in sorted(folders) if name[0] != "." and _is_new(parent, name, seen)
        ]
        found += [Path(parent, text_of(name, parent)) for name in files if name[0] != "."]
    return sorted(found)


def _is_new(parent: str, name: str, seen: list[Path]) -> bool:
    path = Path(parent, name)
    if not path.is_symlink():
        return True
    real = path.resolve()
    if any(real.is_relative_to(one) or one.is_relative_to(real) for one in seen):
        return False
    seen.append(real)
    return True


def text_of(name: str, folder: str) -> str:
    """The name of a file or folder in `folder`, which has to be text: keys, reports and parts hold it.

    Raises:
        DataError: E_ENCODING, it is not UTF-8.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        shown = os.fsencode(f"{folder}/{name}").decode("utf-8", "backslashreplace")
        what = "a name that is not UTF-8"
        raise DataError("E_ENCODING", what, place=shown, allowed="UTF-8", action="rename the file") from error
    return name


def is_archive(path: Path) -> bool:
    """Whether `path` is a tar (plain or compressed) or a zip, by its bytes."""
    try:
        return path.is_file() and (zipfile.is_zipfile(path) or tarfile.is_tarfile(path))
    except EOFError:
        # A compressed file that is cut off before a tar's first block.
        return False


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of an archive: its name, its size and digest, and where its bytes start (-1: only the zip knows)."""

    name: str
    size: int
    digest: str
    offset: int = -1


def index(path: Path, scratch: Path) -> tuple[Path, list[Member]]:
    """Every regular member of the archive, in its order, and the file that `read_at` reads them from.

    That is the archive itself, or for a compressed tar an uncompressed copy of it in `scratch`.
    """
    with readable(path):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return path, [
                    Member(name=info.filename, size=info.file_size, digest=_digest(archive.read(info)))
                    for info in _zipped(path, archive)
                ]
        plain = spooled(path, scratch)
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
                for one in _packed(path, archive)
            ]


def _zipped(path: Path, archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """The regular members of a zip."""
    infos = archive.infolist()
    _check_twice(path, [info.filename for info in infos])
    for info in infos:
        _check_name(path, info.filename, regular=not stat.S_ISLNK(info.external_attr >> 16))
    if sum(info.file_size for info in infos) > max(FREE_BYTES, LARGEST_RATIO * path.stat().st_size):
        raise bomb(path)
    return [info for info in infos if not info.is_dir()]


def _packed(path: Path, archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The regular members of a tar."""
    total, most = 0, max(FREE_BYTES, LARGEST_RATIO * path.stat().st_size)
    names = set[str]()
    for member in archive:
        if member.isreg():
            _check_twice(path, [*([member.name] if member.name in names else ()), member.name])
            names.add(member.name)
        _check_name(path, member.name, regular=(member.isreg() and not member.issparse()) or member.isdir())
        total += member.size
        if total > most:
            raise bomb(path)
        if member.isreg():
            yield member


def _check_twice(path: Path, names: Sequence[str]) -> None:
    if len(set(names)) == len(names):
        return
    raise DataError(
        "E_FORMAT",
        "the archive holds two files of one name",
        place=str(path),
        value=next(name for name in names if names.count(name) > 1),
        action="pack the files again: one of the two would be lost",
    )


def _check_name(path: Path, name: str, *, regular: bool) -> None:
    parts = name.replace("\\", "/").split("/")
    text_of(name, str(path))
    if regular and ".." not in parts and not name.startswith(("/", "\\")) and ":" not in parts[0] and "\0" not in name:
        return
    raise DataError(
        "E_ARCHIVE_PATH",
        "the archive holds " + ("a name that leads out of it" if regular else "a link or a device"),
        place=str(path),
        value=name,
        allowed="regular files with relative names",
        action="do not use an archive of unknown origin; pack the files again",
    )


def extracted(path: Path, name: str, scratch: Path) -> Path:
    """One member of the archive as a file in `scratch`."""
    stamp = path.stat()
    mark = blake3(f"{path}\n{stamp.st_size}\n{stamp.st_mtime_ns}\n{name}".encode()).hexdigest(length=8)
    target = scratch / f"{mark}.member"
    if target.is_file():
        return target
    scratch.mkdir(parents=True, exist_ok=True)
    unfinished = scratch / f"{mark}.{os.urandom(6).hex()}"
    try:
        with readable(path), ExitStack() as held:
            if zipfile.is_zipfile(path):
                source: Any = held.enter_context(held.enter_context(zipfile.ZipFile(path)).open(name))
            else:
                source = held.enter_context(tarfile.open(spooled(path, scratch), "r:")).extractfile(name)
            with unfinished.open("wb") as out:
                shutil.copyfileobj(source, out, 2**20)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return target


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
