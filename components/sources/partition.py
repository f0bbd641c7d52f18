"""What every source gives: partitions that can be read one by one, anywhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.adapters.blobs import changed
from components.contracts.errors import DataError, rebuilt
from components.contracts.spec import Column
from components.sources.paths import denied

DigestOf = Callable[[Path], str]
"""A file's content digest, remembered by size and time of change: adapters/file_digests.py."""


def digests_of_tree(
    digest_of: DigestOf, root: Path, what: str, names: pa.Array, marks: NDArray[np.int64], *, place: str
) -> pa.Array:
    """The digests of the files `names` below `root`, of which `marks` were just asked: adapters/tree_digests.py.

    `what` tells this look at the tree from others.

    Raises:
        DataError: E_SOURCE_CHANGED, a file is no more what it was when it was asked.
        EnvironmentFault: E_PERMISSION.
    """
    memo = getattr(digest_of, "of_tree", None)
    try:
        if memo is not None:
            return memo(str(root), what, names, marks)
        return pa.array([digest_of(root / name) for name in names.to_pylist()], pa.string())
    except PermissionError as error:
        raise denied(Path(error.filename), place) from error
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise changed(str(error.filename), place) from error


def once(digest_of: DigestOf, what: str, look: Callable[[], Any]) -> Any:
    """What `look` finds; in a run it is looked for once."""
    kept = getattr(digest_of, "once", None)
    return kept(what, look) if kept is not None else look()


def kept(digest_of: DigestOf, path: Path, what: str, look: Callable[[], Any]) -> Any:
    """What `look` finds in the file at `path`, plain JSON, remembered under `what` until the file changes."""
    memo = getattr(digest_of, "kept", None)
    return memo(path, what, look) if memo is not None else look()


NO_SPLIT = ""


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One piece of a source. `place` names it to a person, `version` is the digest of its bytes.

    A `group` is a name that stays while what is in it changes; its `members` (columns `name` and `digest`) are the
    files that each give one row, in order, so that a changed group is read only where it changed.

    `files` are the paths that are read and the digests that they had: whoever reads checks them again afterwards. Of a
    file that many pieces share, `stamps` has size and time of change (nanoseconds) instead.
    """

    place: str
    version: str
    size_bytes: int
    files: tuple[tuple[str, str], ...] = ()
    stamps: tuple[tuple[str, int, int], ...] = ()
    split: str = NO_SPLIT
    group: str = ""
    members: pa.Table | None = None
    argument: Any = None


def few(partition: Partition, chosen: Sequence[int]) -> pa.Table:
    """The chosen ones of the partition's members."""
    return members_of(partition).take(pa.array(chosen, pa.int64()))


def members_of(partition: Partition) -> pa.Table:
    """The members of a partition that has some."""
    if partition.members is None:
        raise TypeError(f"{partition.place} has no members")
    return partition.members


def broken_partition(place: str, version: str, error: DataError) -> Partition:
    """A file that cannot be cut into pieces: reading it raises `error`, so that one bad file is one bad partition."""
    parts = [error.code, error.what, error.place, error.value, error.allowed, error.action]
    return Partition(place=place, version=f"{place} {version} {error.code}", size_bytes=1, argument={"broken": parts})


def raise_broken(argument: Any) -> None:
    """Raise what `broken_partition` kept."""
    if isinstance(argument, dict) and "broken" in argument:
        code, what, *rest = argument["broken"]
        raise rebuilt(DataError, code, what, *rest)


@dataclass(frozen=True, kw_only=True)
class BadRow:
    """A row that could not be read: `row` counts from 1; `column` and `file` say more where they are known."""

    row: int
    code: str
    reason: str
    text: str
    column: str = ""
    file: str = ""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """What was read: `table` and, beside it, the number of each row in its file.

    Numbers count from 1, a header included, blank lines not.

    `files` names the file of each row where that is not the partition's place.
    """

    table: pa.Table
    numbers: pa.Array
    files: pa.Array | None = None
    bad: list[BadRow] = field(default_factory=list)


class Source(Protocol):
    """A config that can be read."""

    def version(self, digest_of: DigestOf) -> str:
        """The digest of everything that `partitions` would read."""

    def columns(self) -> tuple[Column, ...]:
        """The columns of every partition; none where only the data know them."""

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """The pieces, in a fixed order. `scratch` is a folder on this machine that lives until they are read."""

    def read(self, partition: Partition) -> Rows:
        """The rows of one piece."""
