"""The files of a folder that fit a glob level by level, listed at the speed of the file system."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from fnmatch import translate
from itertools import chain
from pathlib import Path
from stat import S_ISDIR, S_ISREG
from typing import Any, NamedTuple

from components.adapters.archives import text_of
from components.adapters.tree_digests import Marks, marks_of
from components.sources.paths import denied, readable_file


class Listed(NamedTuple):
    """The regular files of one folder: their names, and what each is recognised by.

    `folder` is the folder's name from the root on, with a slash at its end.
    """

    folder: str
    names: list[str]
    marks: Marks


def listed(root: Path, levels: Sequence[str], place: str) -> Iterator[Listed]:
    """The files below `root` whose path has as many levels as `levels` and fits each, folder by folder.

    Hidden names are passed over.

    Raises:
        EnvironmentFault: E_PERMISSION, a folder that may hold some cannot be listed.
        DataError: E_NOT_REGULAR_FILE, E_FILE_EMPTY; E_ENCODING, a name that is not UTF-8.
    """
    *above, last = (re.compile(translate(level)).match for level in levels)
    folders = [("", str(root))]
    for matches in above:
        inner = (_folders(prefix, folder, matches, place) for prefix, folder in folders)
        folders = sorted(chain.from_iterable(inner))
    for prefix, folder in folders:
        names, stats = [], []
        for entry in _entries(folder, place):
            name = entry.name
            if name[0] == "." or not last(name):
                continue
            try:
                stat = entry.stat()
            except OSError:
                stat = readable_file(Path(entry.path), place).stat()
            if not S_ISREG(stat.st_mode) or not stat.st_size:
                if S_ISDIR(stat.st_mode):
                    continue
                readable_file(Path(entry.path), place)
            names.append(name)
            stats.append(stat)
        if not "".join(names).isascii():
            names = [text_of(name, folder) for name in names]
        yield Listed(prefix, names, marks_of(stats))


def _folders(prefix: str, folder: str, matches: Callable[[str], Any], place: str) -> Iterator[tuple[str, str]]:
    """The folders in `folder` that fit, with their names from the root on."""
    for entry in _entries(folder, place):
        if entry.name[0] != "." and matches(entry.name):
            if entry.is_dir():
                yield f"{prefix}{text_of(entry.name, folder)}/", entry.path
            elif entry.is_symlink():
                readable_file(Path(entry.path), place, empty=True)


def _entries(folder: str, place: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from entries
    except PermissionError as error:
        raise denied(Path(folder), place) from error
