"""Files inside folders, tar and zip archives, read one by one without unpacking.

Only regular members are ever read and nothing is written, so links, devices and `../` names in an archive lead
nowhere.
"""

import fnmatch
import os
import tarfile
import zipfile
from pathlib import Path

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


def _broken(path: Path, error: Exception) -> DataError:
    return DataError(
        "E_FORMAT",
        f"the archive cannot be read ({error})",
        place="source.uri",
        value=str(path),
        action="fetch it again",
    )
