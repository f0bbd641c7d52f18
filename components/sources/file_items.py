"""The files that a person named: found in folders, archives, buckets, and opened on this machine."""

import codecs
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.adapters.archives import extracted, is_archive, members
from components.adapters.blobs import Blob, fetched, listed, local, matches, remote, split_glob, walked
from components.adapters.compressed import compression, spooled
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.sources.columnar import sniffed
from components.sources.partition import NO_SPLIT
from components.sources.paths import denied, locate, nothing_matches, readable_file

PLACE = "source.uri"
Wanted = list[tuple[str, str]]
"""Given part ("" where none is) and the pattern of its files."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file with rows: where it lies, which member of an archive it is, its name to a person, its given part."""

    blob: Blob
    member: str
    name: str
    split: str

    @property
    def path(self) -> Any:
        """What `digest_of` is asked with: a path of this machine, or an address as text."""
        return self.blob.url if remote(self.blob.url) else Path(self.blob.url)


def find_items(uri: str, files: str, train: str, test: str) -> list[Item]:
    """The files of `uri` in the order of their names, those that `train` and `test` match with their part.

    Raises:
        DataError: E_SOURCE_EMPTY, E_NOT_REGULAR_FILE.
        EnvironmentFault: E_PERMISSION; of a server, E_CREDENTIALS, E_SERVER_UNREACHABLE.
    """
    base, glob = split_glob(uri)
    given = _given(train, test)
    wanted = given or [(NO_SPLIT, glob or files)]
    if remote(base):
        blobs = listed(base, PLACE)
        if len(blobs) == 1 and (base.startswith("http") or blobs[0].url.rstrip("/") == base.rstrip("/")):
            name = base.partition("?")[0].rstrip("/").rpartition("/")[2]
            return [Item(blob=blobs[0], member="", name=name, split=NO_SPLIT)]
        return _chosen(blobs, Path(base), wanted)
    root = locate(base, PLACE)
    if not root.is_dir():
        return _in_file(readable_file(root, PLACE, empty=True), given or [(NO_SPLIT, files)])
    try:
        items = _chosen(walked(root), root, wanted)
    except PermissionError as error:
        raise denied(Path(error.filename), PLACE) from error
    for item in items:
        readable_file(Path(item.blob.url), PLACE, empty=True)
    return items


def _in_file(root: Path, wanted: Wanted) -> list[Item]:
    item = Item(blob=local(root, root), member="", name=root.name, split=NO_SPLIT)
    return _in_archive(item, root, root, wanted) if is_archive(root) else [item]


def _in_archive(item: Item, path: Path, shown: Path, wanted: Wanted) -> list[Item]:
    return [
        Item(blob=item.blob, member=name, name=name, split=split)
        for split, pattern in wanted
        for name in _some(members(path, pattern), shown, pattern, split)
    ]


def unpacked(items: list[Item], scratch: Path, files: str, train: str, test: str) -> list[Item]:
    """The members of the only one of `items` where that is an archive of another machine, which is fetched."""
    if len(items) > 1 or not remote(items[0].blob.url):
        return []
    path = fetched(items[0].blob, scratch, PLACE)
    if not is_archive(path):
        return []
    return _in_archive(items[0], path, Path(items[0].name), _given(train, test) or [(NO_SPLIT, files)])


def _given(train: str, test: str) -> Wanted:
    return [(split, one) for split, one in (("train", train), ("test", test)) if one]


def _chosen(blobs: list[Blob], root: Path, wanted: Wanted) -> list[Item]:
    return [
        Item(blob=one, member="", name=one.name, split=split)
        for split, pattern in wanted
        for one in _some([one for one in blobs if matches(one.name, pattern)], root, pattern, split)
    ]


def _some(found: list[Any], root: Path, pattern: str, split: str) -> list[Any]:
    if not found:
        raise nothing_matches(root, pattern, f"source.{split or 'files'}")
    return found


def opened(item: Item, encoding: str, scratch: Path) -> Path:
    """The bytes of the file on this machine, unpacked, and of text as UTF-8: itself or a copy in `scratch`."""
    path = fetched(item.blob, scratch, PLACE)
    if item.member:
        path = extracted(path, item.member, scratch)
    if not path.stat().st_size:
        raise DataError("E_FILE_EMPTY", "the file has no bytes", place=item.name, action="restore it or leave it out")
    plain = spooled(path, scratch)
    if not item.member and _packed(plain):
        raise DataError(
            "E_FORMAT",
            "an archive is read by itself",
            place=item.name,
            action="name it alone in source.uri, or unpack it",
        )
    return _transcoded(plain, encoding, scratch, item.name) if sniffed(plain) == "text" else plain


def is_plain(path: Path) -> bool:
    """Whether the file has bytes, which are neither compressed nor an archive's."""
    return path.stat().st_size > 0 and compression(path) is None and not _packed(path)


def _packed(path: Path) -> bool:
    """Whether a file is a zip or a tar, by the marks of both."""
    with path.open("rb") as file:
        head = file.read(262)
    return head.startswith(b"PK\x03\x04") or head[257:] == b"ustar"


@contextmanager
def held(item: Item, encoding: str, plain: Path) -> Iterator[Path]:
    """`plain`, the file that `opened` gave; on a machine that does not have it, one that is made anew."""
    if plain.is_file():
        yield plain
        return
    with tempfile.TemporaryDirectory(prefix="millrace-") as scratch:
        yield opened(item, encoding, Path(scratch))


def folder_columns(name: str) -> list[tuple[str, str]]:
    """The columns that a partitioned tree says by its folders: `year=2024/x.parquet`."""
    folders = name.split("/")[:-1]
    return [(key, value) for key, sign, value in (one.partition("=") for one in folders) if sign and key]


def _transcoded(path: Path, encoding: str, scratch: Path, place: str) -> Path:
    if codecs.lookup(encoding).name == "utf-8":
        return path
    target = scratch / f"{digest([str(path), path.stat().st_mtime_ns, encoding])}.text"
    if target.is_file():
        return target
    scratch.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_suffix(f".{os.urandom(6).hex()}")
    try:
        with (
            path.open(encoding=encoding, newline="") as source,
            unfinished.open("w", encoding="utf-8", newline="") as out,
        ):
            while block := source.read(2**20):
                out.write(block)
        unfinished.replace(target)
    except UnicodeError as error:
        action = "correct source.encoding"
        raise DataError("E_ENCODING", f"not {encoding}: {error}"[:200], place=place, action=action) from error
    finally:
        unfinished.unlink(missing_ok=True)
    return target
