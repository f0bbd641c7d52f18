"""The files of a tree of classes as columns, and their division into groups that stay while the tree grows."""

from collections.abc import Iterator, Sequence
from math import ceil, log2
from typing import NamedTuple
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from numpy.typing import NDArray

from components.adapters.arrow_files import canonical

Sizes = NDArray[np.int64]


class Files(NamedTuple):
    """Files in any order: names in the tree, digests, sizes in bytes, where an archive has them.

    `runs` says of how many of them, one run after the other, which part they are given to.
    """

    names: pa.Array
    digests: pa.Array
    sizes: Sizes
    offsets: Sizes
    runs: list[tuple[str, int]]


class Group(NamedTuple):
    """Files of one given part, in the order of their names; `members` has columns `name` and `digest`."""

    name: str
    split: str
    members: pa.Table
    sizes: Sizes
    offsets: Sizes

    @property
    def version(self) -> str:
        """The digest of the names and of the files."""
        hasher = blake3()
        for column in self.members.columns:
            for buffer in canonical(column.combine_chunks()).buffers():
                hasher.update(buffer or b"")
        return hasher.hexdigest(length=16)


def grouped(files: Files, most_files: int, most_bytes: int) -> Iterator[Group]:
    """Groups of about so many files and bytes at most, by a digest of the names: a new file touches one group only.

    Classes share groups: ten thousand of them with a few files each are not ten thousand groups.
    """
    given: dict[str, list[NDArray[np.int64]]] = {}
    start = 0
    for split, count in files.runs:
        given.setdefault(split, []).append(np.arange(start, start + count))
        start += count
    for split, runs in sorted(given.items()):
        whole = np.concatenate(runs)
        names = files.names.take(pa.array(whole))
        order = np.asarray(pc.array_sort_indices(names))
        whole = whole[order]
        # A power of two: while the tree grows, its groups stay, and then are halved.
        fewest = max(len(whole) / most_files, int(files.sizes[whole].sum()) / most_bytes)
        groups = 1 << max(0, ceil(log2(fewest)))
        lots = _lots(names.take(pa.array(order)), groups)
        for number in range(groups):
            chosen = whole[lots == number]
            if len(chosen):
                rows = pa.array(chosen)
                members = pa.table({"name": files.names.take(rows), "digest": files.digests.take(rows)})
                yield Group(f"{split} {number} of {groups}", split, members, files.sizes[chosen], files.offsets[chosen])


def _lots(names: pa.Array, groups: int) -> NDArray[np.int64]:
    """Which group each file is in."""
    if groups == 1:
        return np.zeros(len(names), np.int64)
    digests: Sequence[int] = [crc32(name) for name in names.cast(pa.binary()).to_pylist()]
    return np.array(digests, np.int64) % groups
