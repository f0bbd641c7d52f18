"""A tree `class/file`, as a folder or in an archive: the folder's name is the label, the file is the cell.

The kinds of files are image_folder.py, text_folder.py and audio_folder.py. Small files are grouped into partitions, and
what a file's name says can become columns.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import ClassVar

import pyarrow as pa
from pydantic import Field, field_validator

from components.adapters.archives import Member, index, is_archive, read_at, walk
from components.contracts.config import StepConfig, placed
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import NO_SPLIT, BadRow, DigestOf, Partition, Rows
from components.sources.paths import denied, locate, nothing_matches, readable_file

PLACE = "source.uri"
MAC = "__MACOSX"
"""The folder of archives made on a Mac that holds no files of the user's."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One file: its name in the tree, the part that it was given, its digest, and where an archive has it."""

    name: str
    split: str
    digest: str
    size: int
    offset: int = -1

    @property
    def label(self) -> str:
        """The folder that it lies in."""
        return PurePosixPath(self.name).parent.name


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
    files_per_partition: int = Field(1000, ge=1, description="files that one task reads; bounds its memory")

    def version(self, digest_of: DigestOf) -> str:
        """The digest of every name and every file, or of the archive."""
        root = locate(self.uri, PLACE)
        if not root.is_dir():
            return digest_of(self._archive(root))
        return digest([[one.name, one.split, one.digest] for one in self._in_folder(root, digest_of)])

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
        """Runs of files that share a class, so that a new file touches one piece only."""
        root = locate(self.uri, PLACE)
        if root.is_dir():
            return self._pieces(self._in_folder(root, digest_of), root, root)
        plain, members = index(self._archive(root), scratch)
        named = [(one, PurePosixPath(one.name).parts) for one in members]
        named = [(one, parts) for one, parts in named if not any(part[0] == "." or part == MAC for part in parts)]
        samples = self._among(named)
        if len({parts[0] for _, parts in named}) == 1:
            # Archives are often made of one folder that holds everything.
            samples = max(samples, self._among([(one, parts[1:]) for one, parts in named]), key=len)
        return self._pieces(self._some(samples, root), root, plain)

    def _among(self, named: Sequence[tuple[Member, tuple[str, ...]]]) -> list[Sample]:
        return [
            Sample(name=one.name, split=split, digest=one.digest, size=one.size, offset=one.offset)
            for one, parts in named
            for split, wanted in self._wanted()
            if _matches(parts, wanted)
        ]

    def _pieces(self, samples: Sequence[Sample], root: Path, plain: Path) -> list[Partition]:
        pieces = []
        ordered = sorted(samples, key=lambda one: (one.split, one.label, one.name))
        for (split, label), group in groupby(ordered, key=lambda one: (one.split, one.label)):
            members = list(group)
            for start in range(0, len(members), self.files_per_partition):
                chunk = members[start : start + self.files_per_partition]
                stat = root.stat()
                inside = not root.is_dir()
                pieces.append(
                    Partition(
                        place=f"{label}/{PurePosixPath(chunk[0].name).name} and {len(chunk) - 1} more",
                        version=digest([[one.name, one.digest] for one in chunk]),
                        files=() if inside else tuple((str(root / one.name), one.digest) for one in chunk),
                        stamps=((str(root), stat.st_size, stat.st_mtime_ns),) if inside else (),
                        size_bytes=sum(one.size for one in chunk),
                        split=split,
                        argument=[str(root), str(plain), [(one.name, one.offset, one.size) for one in chunk]],
                    )
                )
        return pieces

    def cells(self, files: list[bytes]) -> tuple[pa.Array, dict[int, tuple[str, str]]]:
        """The files' bytes as cells, and of those that are none a code and a reason."""
        return pa.array(files, pa.binary()), {}

    def read(self, partition: Partition) -> Rows:
        """The bytes of each file, not decoded; a file whose name does not fit is set aside."""
        root, plain, chunk = Path(partition.argument[0]), Path(partition.argument[1]), partition.argument[2]
        names = [name for name, _, _ in chunk]
        if root.is_dir():
            files = [readable_file(root / name, PLACE).read_bytes() for name in names]
        else:
            files = list(read_at(plain, root, chunk))
        said = [
            re.fullmatch(self.name_pattern, PurePosixPath(name).stem) if self.name_pattern else None for name in names
        ]
        cells, wrong = self.cells(files)
        for at, found in enumerate(said):
            if self.name_pattern and found is None:
                wrong[at] = ("E_VALUE", f"the name does not match source.name_pattern {self.name_pattern}")
        columns = {
            self.content.name: cells,
            "label": pa.array([PurePosixPath(name).parent.name for name in names], pa.string()),
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

    def _in_folder(self, root: Path, digest_of: DigestOf) -> list[Sample]:
        try:
            found = [(path, path.relative_to(root)) for path in walk(root)]
        except PermissionError as error:
            raise denied(Path(error.filename), PLACE) from error
        samples = []
        for path, name in found:
            for split, pattern in self._wanted():
                if _matches(name.parts, pattern):
                    readable_file(path, PLACE)
                    size = path.stat().st_size
                    samples.append(Sample(name=name.as_posix(), split=split, digest=digest_of(path), size=size))
        return self._some(samples, root)

    def _some(self, samples: list[Sample], root: Path) -> list[Sample]:
        for split, pattern in self._wanted():
            if not any(one.split == split for one in samples):
                raise nothing_matches(root, "/".join(pattern), f"source.{split or 'pattern'}")
        return samples

    def _archive(self, root: Path) -> Path:
        if is_archive(readable_file(root, PLACE)):
            return root
        what, allowed = "neither a folder nor an archive", "a folder, a tar (also compressed) or a zip"
        raise DataError("E_FORMAT", what, place=PLACE, value=str(root), allowed=allowed, action="correct source.uri")


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a glob level by level."""
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))
