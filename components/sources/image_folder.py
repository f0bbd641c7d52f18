"""A tree `class/file` of encoded images: the folder's name is the label."""

from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

import pyarrow as pa
from pydantic import Field

from components.adapters.archives import walk
from components.contracts.config import StepConfig, placed
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import DigestOf, Partition, Rows
from components.sources.paths import denied, locate, nothing_matches, readable_file

PLACE = "source.uri"


class ImageFolderSource(StepConfig):
    """Images in one folder per class; columns `image` (encoded bytes) and `label` (the folder's name)."""

    kind: Literal["image-folder"] = "image-folder"
    uri: str = placed(description="folder that holds one folder per class")
    pattern: str = Field("*/*", description="which files below it are images, as a glob of two levels")
    files_per_partition: int = Field(1000, ge=1, description="files that one task reads; bounds its memory")

    def version(self, digest_of: DigestOf) -> str:
        """The digest of every name and every file."""
        root = locate(self.uri, PLACE)
        return digest([[path.relative_to(root).as_posix(), digest_of(path)] for path in self._files()])

    def columns(self) -> tuple[Column, ...]:
        """`image` and `label`."""
        return Column(name="image", type="image", nullable=False), Column(name="label", type="string", nullable=False)

    def partitions(self, digest_of: DigestOf) -> list[Partition]:
        """Runs of files that share a class, so that a new file touches one piece only."""
        root, pieces = locate(self.uri, PLACE), []
        files = self._files()
        for label in sorted({path.parent for path in files}):
            members = [path for path in files if path.parent == label]
            for start in range(0, len(members), self.files_per_partition):
                chunk = members[start : start + self.files_per_partition]
                names = [str(path.relative_to(root)) for path in chunk]
                known = tuple((str(path), digest_of(path)) for path in chunk)
                pieces.append(
                    Partition(
                        place=f"{label.name}/{chunk[0].name} and {len(chunk) - 1} more",
                        version=digest([[name, one] for name, (_, one) in zip(names, known, strict=True)]),
                        files=known,
                        size_bytes=sum(path.stat().st_size for path in chunk),
                        argument=[str(root), names],
                    )
                )
        return pieces

    def read(self, partition: Partition) -> Rows:
        """The bytes of each file, not decoded."""
        root, names = partition.argument
        paths = [readable_file(Path(root, name), PLACE) for name in names]
        table = pa.table({
            "image": pa.array([path.read_bytes() for path in paths], pa.binary()),
            "label": pa.array([path.parent.name for path in paths], pa.string()),
        })
        return Rows(table=table, numbers=pa.array([1] * len(paths), pa.int64()), files=pa.array(names, pa.string()))

    def _files(self) -> list[Path]:
        root = locate(self.uri, PLACE)
        wanted = self.pattern.split("/")
        try:
            found = [(path, path.relative_to(root).parts) for path in walk(root)]
        except PermissionError as error:
            raise denied(Path(error.filename), PLACE) from error
        files = [path for path, parts in found if len(parts) == len(wanted) and all(map(fnmatchcase, parts, wanted))]
        if not files:
            raise nothing_matches(root, self.pattern, PLACE)
        return [readable_file(path, PLACE) for path in files]
