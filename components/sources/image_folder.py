"""A tree `class/file` of encoded images, as a folder or in an archive: the folder's name is the label."""

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Literal

import pyarrow as pa
from pydantic import Field

from components.adapters.archives import Member, index, is_archive, read_at, walk
from components.contracts.config import StepConfig, placed
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import NO_SPLIT, DigestOf, Partition, Rows
from components.sources.paths import denied, locate, nothing_matches, readable_file

PLACE = "source.uri"
MAC = "__MACOSX"
"""The folder of archives made on a Mac that holds no files of the user's."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One image file: its name in the tree, the part that it was given, its digest, and where an archive has it."""

    name: str
    split: str
    digest: str
    size: int
    offset: int = -1

    @property
    def label(self) -> str:
        """The folder that it lies in."""
        return PurePosixPath(self.name).parent.name


class ImageFolderSource(StepConfig):
    """Images in one folder per class; columns `image` (encoded bytes) and `label` (the folder's name)."""

    kind: Literal["image-folder"] = "image-folder"
    uri: str = placed(description="folder, tar or zip that holds one folder per class")
    pattern: str = Field("*/*", description="which files below it are images, as a glob of two levels")
    train: str = Field("", description="folder of the rows that are given for training; with `test`")
    test: str = Field("", description="folder of the rows that are given for the test")
    files_per_partition: int = Field(1000, ge=1, description="files that one task reads; bounds its memory")

    def version(self, digest_of: DigestOf) -> str:
        """The digest of every name and every file, or of the archive."""
        root = locate(self.uri, PLACE)
        if not root.is_dir():
            return digest_of(self._archive(root))
        return digest([[one.name, one.split, one.digest] for one in self._in_folder(root, digest_of)])

    def columns(self) -> tuple[Column, ...]:
        """`image` and `label`."""
        return Column(name="image", type="image", nullable=False), Column(name="label", type="string", nullable=False)

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Runs of files that share a class, so that a new file touches one piece only."""
        root = locate(self.uri, PLACE)
        if root.is_dir():
            return self._pieces(self._in_folder(root, digest_of), root, root)
        plain, members = index(self._archive(root), scratch)
        named = [(one, PurePosixPath(one.name).parts) for one in members]
        named = [(one, parts) for one, parts in named if not any(part[0] == "." or part == MAC for part in parts)]
        pictures = self._among(named)
        if len({parts[0] for _, parts in named}) == 1:
            # Archives are often made of one folder that holds everything.
            pictures = max(pictures, self._among([(one, parts[1:]) for one, parts in named]), key=len)
        return self._pieces(self._some(pictures, root), root, plain)

    def _among(self, named: Sequence[tuple[Member, tuple[str, ...]]]) -> list[Picture]:
        return [
            Picture(name=one.name, split=split, digest=one.digest, size=one.size, offset=one.offset)
            for one, parts in named
            for split, wanted in self._wanted()
            if _matches(parts, wanted)
        ]

    def _pieces(self, pictures: Sequence[Picture], root: Path, plain: Path) -> list[Partition]:
        pieces = []
        ordered = sorted(pictures, key=lambda one: (one.split, one.label, one.name))
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

    def read(self, partition: Partition) -> Rows:
        """The bytes of each file, not decoded."""
        root, plain, chunk = Path(partition.argument[0]), Path(partition.argument[1]), partition.argument[2]
        names = [name for name, _, _ in chunk]
        if root.is_dir():
            images = [readable_file(root / name, PLACE).read_bytes() for name in names]
        else:
            images = list(read_at(plain, root, chunk))
        table = pa.table({
            "image": pa.array(images, pa.binary()),
            "label": pa.array([PurePosixPath(name).parent.name for name in names], pa.string()),
        })
        return Rows(table=table, numbers=pa.array([1] * len(names), pa.int64()), files=pa.array(names, pa.string()))

    def _wanted(self) -> list[tuple[str, tuple[str, ...]]]:
        """The parts that are given, each with its glob, level by level."""
        levels = tuple(self.pattern.split("/"))
        given = [(split, folder) for split, folder in (("train", self.train), ("test", self.test)) if folder]
        return [(split, (*folder.split("/"), *levels)) for split, folder in given] or [(NO_SPLIT, levels)]

    def _in_folder(self, root: Path, digest_of: DigestOf) -> list[Picture]:
        try:
            found = [(path, path.relative_to(root)) for path in walk(root)]
        except PermissionError as error:
            raise denied(Path(error.filename), PLACE) from error
        pictures = []
        for path, name in found:
            for split, pattern in self._wanted():
                if _matches(name.parts, pattern):
                    readable_file(path, PLACE)
                    size = path.stat().st_size
                    pictures.append(Picture(name=name.as_posix(), split=split, digest=digest_of(path), size=size))
        return self._some(pictures, root)

    def _some(self, pictures: list[Picture], root: Path) -> list[Picture]:
        for split, pattern in self._wanted():
            if not any(one.split == split for one in pictures):
                raise nothing_matches(root, "/".join(pattern), f"source.{split or 'pattern'}")
        return pictures

    def _archive(self, root: Path) -> Path:
        if is_archive(readable_file(root, PLACE)):
            return root
        what, allowed = "neither a folder nor an archive", "a folder, a tar (also compressed) or a zip"
        raise DataError("E_FORMAT", what, place=PLACE, value=str(root), allowed=allowed, action="correct source.uri")


def _matches(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether a path fits a glob level by level."""
    return len(parts) == len(pattern) and all(map(fnmatchcase, parts, pattern))
