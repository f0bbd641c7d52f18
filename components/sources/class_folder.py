"""A tree `class/file`, as a folder or in an archive: the folder's name is the label, the file is the cell.

The kinds of files are image_folder.py, text_folder.py and audio_folder.py. Small files are grouped into partitions, and
what a file's name says can become columns.
"""

import re
from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from components.adapters.archives import Member, index, is_archive, read_at
from components.adapters.blobs import changed
from components.adapters.store import digest_bytes
from components.adapters.tree_digests import marks_of
from components.contracts.config import StepConfig, placed
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.file_groups import Files, grouped
from components.sources.listing import listed
from components.sources.partition import (
    NO_SPLIT,
    BadRow,
    DigestOf,
    Partition,
    Rows,
    digests_of_tree,
    few,
    members_of,
    once,
)
from components.sources.paths import locate, nothing_matches, readable_file

PLACE = "source.uri"
MAC = "__MACOSX"
"""The folder of archives made on a Mac that holds no files of the user's."""


class ClassFolder(StepConfig):
    """Files in one folder per class; a column of their bytes and `label` (the folder's name)."""

    content: ClassVar[Column]
    """What a file is: the column's name and type."""

    uri: str = placed(description="folder, tar or zip that holds one folder per class")
    pattern: str = Field("*/*", description="which files below it are meant, as a glob, level by level")
    name_pattern: str = Field(
        "", description="regular expression for a file's name without its ending, whose named groups become columns"
    )
    train: str = Field("", description="folder of the rows that are given for training; with `test`")
    test: str = Field("", description="folder of the rows that are given for the test")
    files_per_partition: int = Field(8192, ge=1, description="most files that one task reads, about")
    bytes_per_partition: int = Field(
        2**27, ge=1, description="most bytes that one task reads, about; bounds its memory"
    )

    def version(self, digest_of: DigestOf) -> str:
        """The digest of every name and every file, or of the archive."""
        root = locate(self.uri, PLACE)
        if not root.is_dir():
            return digest_of(self._archive(root))
        return digest([[one.group, one.version] for one in self._in_folder(root, digest_of)])

    @field_validator("name_pattern")
    @classmethod
    def _names_columns(cls, pattern: str) -> str:
        try:
            groups = re.compile(pattern).groupindex
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if pattern and (not groups or cls.content.name in groups):
            raise ValueError(f"it needs groups (?P<name>…), none of them called {cls.content.name}")
        return pattern

    def columns(self) -> tuple[Column, ...]:
        """The files' content, `label`, and what their names say."""
        named = [name for name in re.compile(self.name_pattern).groupindex if name != "label"]
        return (
            self.content,
            Column(name="label", type="string", nullable=False),
            *(Column(name=name, type="string") for name in named),
        )

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Groups of files, by the digest of their names: a new file touches one group only."""
        root = locate(self.uri, PLACE)
        if root.is_dir():
            return self._in_folder(root, digest_of)
        plain, members = index(self._archive(root), scratch)
        named = [(one, PurePosixPath(one.name).parts) for one in members]
        named = [(one, parts) for one, parts in named if not any(part[0] == "." or part == MAC for part in parts)]
        samples = self._among(named)
        if len({parts[0] for _, parts in named}) == 1:
            # Archives are often made of one folder that holds everything.
            samples = max(samples, self._among([(one, parts[1:]) for one, parts in named]), key=len)
        files = Files(
            names=pa.array([one.name for one, _ in samples], pa.string()),
            digests=pa.array([one.digest for one, _ in samples], pa.string()),
            sizes=np.array([one.size for one, _ in samples], np.int64),
            offsets=np.array([one.offset for one, _ in samples], np.int64),
            runs=[(split, 1) for _, split in samples],
        )
        return self._pieces(files, root, plain)

    def _among(self, named: Sequence[tuple[Member, tuple[str, ...]]]) -> list[tuple[Member, str]]:
        """The files that are meant, each with the part that it is given to."""
        return [(one, split) for one, parts in named for split, wanted in self._wanted() if _matches(parts, wanted)]

    def _pieces(self, files: Files, root: Path, plain: Path) -> list[Partition]:
        found = {split for split, count in files.runs if count}
        for split, levels in self._wanted():
            if split not in found:
                raise nothing_matches(root, "/".join(levels), f"source.{split or 'pattern'}")
        inside = not root.is_dir()
        stat = root.stat()
        stamps = ((str(root), stat.st_size, stat.st_mtime_ns),) if inside else ()
        pieces = []
        for group in grouped(files, self.files_per_partition, self.bytes_per_partition):
            spots = list(zip(group.offsets.tolist(), group.sizes.tolist(), strict=True)) if inside else []
            pieces.append(
                Partition(
                    place=f"{group.members['name'][0]} and {len(group.members) - 1} more",
                    version=group.version,
                    stamps=stamps,
                    size_bytes=int(group.sizes.sum()),
                    split=group.split,
                    group=group.name,
                    members=group.members,
                    argument=[str(root), str(plain), spots],
                )
            )
        return pieces

    def some(self, partition: Partition, chosen: Sequence[int]) -> Partition:
        """The same partition with only these of its members."""
        root, plain, spots = partition.argument
        kept = [spots[at] for at in chosen] if spots else []
        return replace(partition, members=few(partition, chosen), argument=[root, plain, kept])

    def cells(self, files: list[bytes]) -> tuple[pa.Array, dict[int, tuple[str, str]]]:
        """The files' bytes as cells, and of those that are none a code and a reason."""
        return pa.array(files, pa.binary()), {}

    def read(self, partition: Partition) -> Rows:
        """The bytes of each file, not decoded; a file whose name does not fit is set aside.

        Raises:
            DataError: E_SOURCE_CHANGED, a file is not what it was when it was listed.
        """
        root, plain, spots = Path(partition.argument[0]), Path(partition.argument[1]), partition.argument[2]
        names, digests = (column.to_pylist() for column in members_of(partition).columns)
        if not spots:
            files = [_file(f"{root}/{name}") for name in names]
            for body, name, known in zip(files, names, digests, strict=True):
                if digest_bytes(body) != known:
                    raise changed(str(root / name), "source")
        else:
            files = list(read_at(plain, root, [(name, *spot) for name, spot in zip(names, spots, strict=True)]))
        said = [
            re.fullmatch(self.name_pattern, PurePosixPath(name).stem) if self.name_pattern else None for name in names
        ]
        cells, wrong = self.cells(files)
        for at, found in enumerate(said):
            if self.name_pattern and found is None:
                wrong[at] = ("E_VALUE", f"the name does not match source.name_pattern {self.name_pattern}")
        columns = {
            self.content.name: cells,
            "label": pa.array([_label(name) for name in names], pa.string()),
        }
        for group in re.compile(self.name_pattern).groupindex:
            columns[group] = pa.array([one[group] if one else None for one in said], pa.string())
        bad = [
            BadRow(row=1, code=code, reason=reason, text=names[at], file=names[at])
            for at, (code, reason) in sorted(wrong.items())
        ]
        kept = pa.array([at not in wrong for at in range(len(names))], pa.bool_())
        return Rows(
            table=pa.table(columns).filter(kept),
            numbers=pa.array([1] * len(names), pa.int64()).filter(kept),
            files=pa.array(names, pa.string()).filter(kept),
            bad=bad,
        )

    def _wanted(self) -> list[tuple[str, tuple[str, ...]]]:
        """The parts that are given, each with its glob, level by level."""
        levels = tuple(self.pattern.split("/"))
        given = [(split, folder) for split, folder in (("train", self.train), ("test", self.test)) if folder]
        return [(split, (*folder.split("/"), *levels)) for split, folder in given] or [(NO_SPLIT, levels)]

    def _in_folder(self, root: Path, digest_of: DigestOf) -> list[Partition]:
        """The files of a folder as they are now; in a run they are looked at once."""

        def look() -> list[Partition]:
            return self._pieces(self._listed(root, digest_of), root, root)

        found: list[Partition] = once(digest_of, f"{root} {self.model_dump_json(exclude={'uri'})}", look)
        return found

    def _listed(self, root: Path, digest_of: DigestOf) -> Files:
        names: list[str] = []
        marked, runs = [], []
        for split, levels in self._wanted():
            for one in listed(root, levels, PLACE):
                names += [one.folder + name for name in one.names]
                marked.append(one.marks)
                runs.append((split, len(one.names)))
        found, marks = pa.array(names, pa.string()), np.concatenate([*marked, marks_of([])])
        digests = digests_of_tree(digest_of, root, str(self._wanted()), found, marks, place=PLACE)
        return Files(found, digests, marks[:, 0], np.full(len(names), -1), runs)

    def _archive(self, root: Path) -> Path:
        if is_archive(readable_file(root, PLACE)):
            return root
        what, allowed = "neither a folder nor an archive", "a folder, a tar (also compressed) or a zip"
        raise DataError("E_FORMAT", what, place=PLACE, value=str(root), allowed=allowed, action="correct source.uri")


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a glob level by level."""
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))


def _label(name: str) -> str:
    """The folder that a file lies in."""
    return name.rpartition("/")[0].rpartition("/")[2]


def _file(path: str) -> bytes:
    try:
        with Path(path).open("rb", buffering=0) as file:
            return file.read()
    except OSError:
        return readable_file(Path(path), PLACE).read_bytes()
