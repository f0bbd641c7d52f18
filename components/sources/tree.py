"""A folder or an archive as one thing: names, digests, and the bytes of any file."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import pyarrow as pa

from components.adapters.archives import Member, index, is_archive, read_at, walk
from components.adapters.blobs import changed
from components.adapters.store import digest_bytes
from components.adapters.tree_digests import marks_of
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.sources.partition import DigestOf, digests_of_tree, once
from components.sources.paths import denied, locate, readable_file

PLACE = "source.uri"


@dataclass(frozen=True, kw_only=True)
class Tree:
    """The regular files below `root`, or in the archive that it is, by their names without a single top folder."""

    root: Path
    plain: Path
    members: dict[str, Member] = field(repr=False)

    def wanted(self, names: Iterable[str]) -> list[tuple[str, int, int]]:
        """What `read_files` needs to know of these files: a partition carries it."""
        found = [self.members[name] for name in names]
        return [(one.name, one.offset, one.size) for one in found]

    def read(self, name: str) -> bytes:
        """The bytes of one file.

        Raises:
            DataError: E_SOURCE_EMPTY, it is not there; E_SOURCE_CHANGED, it is not what it was when it was listed.
        """
        if name not in self.members:
            raise DataError(
                "E_SOURCE_EMPTY", "the data lack this file", place=PLACE, value=name, action="fetch the data set again"
            )
        (body,) = read_files(self.root, self.plain, self.wanted([name]))
        if self.root.is_dir() and digest_bytes(body) != self.members[name].digest:
            raise changed(str(self.root / self.members[name].name), PLACE)
        return body

    def folder_of(self, ending: str) -> str:
        """What stands before `ending` in the one name that ends in it; "" where none does."""
        found = [name.removesuffix(ending) for name in self.members if name == ending or name.endswith(f"/{ending}")]
        return min(found, key=len) if found else ""

    def files(self, names: Iterable[str]) -> tuple[tuple[str, str], ...]:
        """Of files in a folder, the paths with the digests that they have to have when they are read."""
        if not self.root.is_dir():
            return ()
        return tuple((str(self.root / one.name), one.digest) for one in map(self.members.__getitem__, names))

    def stamps(self) -> tuple[tuple[str, int, int], ...]:
        """What an archive is recognised by while it is read."""
        if self.root.is_dir():
            return ()
        stat = self.root.stat()
        return ((str(self.root), stat.st_size, stat.st_mtime_ns),)


def tree_version(uri: str, digest_of: DigestOf) -> str:
    """The digest of the archive, or of every file with its name."""
    root = locate(uri, PLACE)
    if not root.is_dir():
        return digest_of(readable_file(root, PLACE))
    return digest([[one.name, one.digest] for one in _in_folder(root, digest_of)])


def open_tree(uri: str, digest_of: DigestOf, scratch: Path) -> Tree:
    """The files of `uri`; of a compressed tar an unpacked copy is made in `scratch`."""
    root = locate(uri, PLACE)
    if root.is_dir():
        plain, found = root, _in_folder(root, digest_of)
    elif is_archive(readable_file(root, PLACE)):
        plain, found = index(root, scratch)
    else:
        found, plain = [Member(name=root.name, size=root.stat().st_size, digest=digest_of(root))], root
    shown = [one for one in found if not any(_hidden(part) for part in PurePosixPath(one.name).parts)]
    tops = {PurePosixPath(one.name).parts[0] for one in shown}
    single = len(tops) == 1 and all(len(PurePosixPath(one.name).parts) > 1 for one in shown)
    names = [one.name.partition("/")[2] if single else one.name for one in shown]
    return Tree(root=root, plain=plain, members=dict(zip(names, shown, strict=True)))


def read_files(root: Path, plain: Path, wanted: Sequence[tuple[str, int, int]]) -> list[bytes]:
    """The bytes of files that a Tree named."""
    if root.is_dir():
        return [readable_file(root / name, PLACE, empty=True).read_bytes() for name, _, _ in wanted]
    if is_archive(root):
        return list(read_at(plain, root, wanted))
    return [root.read_bytes()]


def _hidden(part: str) -> bool:
    return part == "__MACOSX" or (part[:1] == "." and part != ".")


def _in_folder(root: Path, digest_of: DigestOf) -> list[Member]:
    """The files of a folder as they are now; in a run they are looked at once."""

    def look() -> list[Member]:
        try:
            paths = walk(root)
        except PermissionError as error:
            raise denied(Path(error.filename), PLACE) from error
        names = [path.relative_to(root).as_posix() for path in paths]
        marks = marks_of([readable_file(path, PLACE).stat() for path in paths])
        digests = digests_of_tree(digest_of, root, "all", pa.array(names, pa.string()), marks, place=PLACE)
        described = zip(names, marks[:, 0].tolist(), digests.to_pylist(), strict=True)
        return [Member(name=name, size=size, digest=known) for name, size, known in described]

    found: list[Member] = once(digest_of, f"{root} all", look)
    return found
