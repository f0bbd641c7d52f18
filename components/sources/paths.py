"""Finding files that a person named, and saying clearly when they are not there or cannot be read."""

import difflib
import os
import stat
from pathlib import Path

from components.contracts.errors import DataError, EnvironmentFault


def locate(uri: str, place: str) -> Path:
    """The absolute path of `uri`.

    Raises:
        DataError: E_SOURCE_EMPTY, nothing is there; names the nearest sibling.
        EnvironmentFault: E_PERMISSION, a folder on the way cannot be entered.
    """
    try:
        path = Path(uri).expanduser().absolute()
    except RuntimeError:
        # The home of a user who is not there.
        path = Path(uri).absolute()
    try:
        path.stat()
    except PermissionError as error:
        raise denied(path, place) from error
    except OSError as error:
        raise DataError(
            "E_SOURCE_EMPTY",
            f"nothing is there{_nearest(path)}",
            place=place,
            value=str(path),
            action=f"correct {place}, or name the folder of the data: MILLRACE_DATA=<folder>, with make DATA=<folder>",
        ) from error
    return path


def readable_file(path: Path, place: str, *, empty: bool = False) -> Path:
    """`path` itself, if it is a regular file that this user may read, with bytes unless it may be `empty`.

    Checked before it is opened, since opening a pipe would hang.
    """
    try:
        status = path.stat()
    except PermissionError as error:
        raise denied(path, place) from error
    except OSError as error:
        raise DataError(
            "E_NOT_REGULAR_FILE",
            "a link that leads nowhere",
            place=place,
            value=str(path),
            allowed="a regular file",
            action="mend the link or remove it",
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise DataError(
            "E_NOT_REGULAR_FILE",
            f"a {_kind(status.st_mode)} where a file is needed",
            place=place,
            value=str(path),
            allowed="a regular file",
            action=f"name a file in {place}",
        )
    if not os.access(path, os.R_OK):
        raise denied(path, place)
    if status.st_size == 0 and not empty:
        raise DataError(
            "E_FILE_EMPTY", "the file has no bytes", place=place, value=str(path), action="restore it or leave it out"
        )
    return path


def denied(path: Path, place: str) -> EnvironmentFault:
    """The line for a path that this user may not read."""
    return EnvironmentFault(
        "E_PERMISSION",
        "this user may not read it",
        place=place,
        value=str(path),
        action=f"grant read access (chmod u+r) or run as its owner, uid {os.geteuid()} may not",
    )


def nothing_matches(folder: Path, pattern: str, place: str) -> DataError:
    """The line for a pattern that names no file."""
    near = difflib.get_close_matches(Path(pattern).name, [path.name for path in _children(folder)], 1, 0.0)
    return DataError(
        "E_SOURCE_EMPTY",
        f"no file in {folder} matches" + (f"; nearest: {near[0]!r}" if near else ""),
        place=place,
        value=pattern,
        action=f"correct {place}, or put the files there",
    )


def _nearest(path: Path) -> str:
    parent = next((folder for folder in path.parents if folder.is_dir()), None)
    if parent is None:
        return ""
    wanted = path.relative_to(parent).parts[0]
    children = [child.name for child in _children(parent)]
    alike = [name for name in children if Path(name).suffix == Path(wanted).suffix] or children
    near = difflib.get_close_matches(wanted, alike, 1, 0.6)
    return f"; nearest: {parent / near[0]}" if near else f"; {parent} exists"


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())[:10_000]
    except OSError:
        return []


def _kind(mode: int) -> str:
    tests = {"folder": stat.S_ISDIR, "pipe": stat.S_ISFIFO, "socket": stat.S_ISSOCK, "device": stat.S_ISCHR}
    return next((name for name, test in tests.items() if test(mode)), "special file")
