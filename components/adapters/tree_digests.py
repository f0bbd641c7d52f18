"""Content digests of all files of a tree, remembered in one table and compared with what is there in whole columns.

What adapters/file_digests.py does for single files costs too much for a hundred thousand of them.
"""

import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.adapters.store import digest_bytes, digest_file
from components.contracts.fingerprint import digest

SETTLED_NS = 2 * 10**9
"""A file that changed later than this ago could change again within the same tick of the file system's clock."""
LEFT_SECONDS = 3600
MARKS = ("size", "changed", "inode")
SCHEMA = pa.schema({"name": pa.string(), "digest": pa.string(), **dict.fromkeys(MARKS, pa.int64())})
ROOT = b"root"
ENDING = ".tree"
DIGEST_BYTES = 32
"""At the end of a table, of all that stands before it."""

Marks = NDArray[np.int64]
"""Size, time of change (nanoseconds) and inode of each file: int64[files, 3]."""


def marks_of(stats: Sequence[os.stat_result]) -> Marks:
    """What a file is recognised by."""
    found = np.empty((len(stats), len(MARKS)), np.int64)
    found[:, 0] = [one.st_size for one in stats]
    found[:, 1] = [one.st_mtime_ns for one in stats]
    found[:, 2] = np.array([one.st_ino for one in stats], np.uint64).view(np.int64)
    return found


class TreeDigests:
    """The digests of trees; a table for each lies in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def look(self, root: str, what: str, names: pa.Array, marks: Marks) -> pa.Array:
        """The digests of the files `names` below `root`, of which `marks` were just asked.

        `what` tells this look at the tree from others.
        """
        memo = self._folder / f"{digest([os.fsencode(root).hex(), what])}{ENDING}"
        known = _read(memo)
        at = np.arange(len(names)) if known["name"].combine_chunks().equals(names) else _places(names, known["name"])
        same = at >= 0
        for number, mark in enumerate(MARKS):
            same[same] = np.asarray(known[mark])[at[same]] == marks[same, number]
        if same.all() and len(known) == len(names):
            return known["digest"].combine_chunks().take(pa.array(at))
        found = pa.nulls(len(names), pa.string()).to_numpy(zero_copy_only=False)
        found[same] = known["digest"].take(pa.array(at[same])).to_numpy(zero_copy_only=False)
        new = np.flatnonzero(~same)
        now = time.time_ns()
        after = []
        for place, name in zip(new.tolist(), names.take(pa.array(new)).to_pylist(), strict=True):
            path = Path(f"{root}/{name}")
            found[place] = digest_file(path)
            after.append(path.stat())
        doubtful = (now - marks[new, 1] < SETTLED_NS) | (marks_of(after) != marks[new]).any(axis=1)
        stands = marks.copy()
        stands[new[doubtful]] = -1
        digests = pa.array(found, pa.string())
        columns = dict(zip(MARKS, np.ascontiguousarray(stands.T), strict=True))
        self._prune()
        _write(memo, pa.table({"name": names, "digest": digests, **columns}, metadata={ROOT: os.fsencode(root)}))
        return digests

    def forget(self, path: str) -> None:
        """The file at `path` is not what the memo says, although it looks the same."""
        for memo, root, known in self._all():
            name = path.removeprefix(f"{root}/")
            if name != path:
                _write(memo, known.filter(pc.not_equal(known["name"], name)))

    def _prune(self) -> None:
        """Forget trees that are gone, and what killed writers left."""
        for memo, root, _ in self._all():
            if not Path(root).is_dir():
                memo.unlink(missing_ok=True)
        for left in self._folder.glob(f"*{ENDING}.*"):
            with suppress(FileNotFoundError):
                if time.time() - left.stat().st_mtime > LEFT_SECONDS:
                    left.unlink()

    def _all(self) -> list[tuple[Path, str, pa.Table]]:
        found = [(memo, _read(memo)) for memo in sorted(self._folder.glob(f"*{ENDING}"))]
        return [(memo, os.fsdecode((known.schema.metadata or {}).get(ROOT, b"")), known) for memo, known in found]


def _read(memo: Path) -> pa.Table:
    """What is remembered; nothing where there is no table, or one that is not as it was written."""
    try:
        body = memo.read_bytes()
    except FileNotFoundError:
        return SCHEMA.empty_table()
    table = pa.py_buffer(body).slice(0, max(len(body) - DIGEST_BYTES, 0))
    if digest_bytes(table).encode() != body[-DIGEST_BYTES:]:
        return SCHEMA.empty_table()
    return pa.ipc.open_file(table).read_all()


def _write(memo: Path, known: pa.Table) -> None:
    memo.parent.mkdir(parents=True, exist_ok=True)
    scratch = memo.with_suffix(f"{ENDING}.{os.urandom(6).hex()}")
    body = pa.BufferOutputStream()
    with pa.ipc.new_file(body, known.schema) as writer:
        writer.write_table(known)
    whole = body.getvalue().to_pybytes()
    scratch.write_bytes(whole + digest_bytes(whole).encode())
    scratch.replace(memo)


def _places(names: pa.Array, known: pa.ChunkedArray) -> NDArray[np.int64]:
    """Where each name is known; -1 where it is not."""
    return np.asarray(pc.index_in(names, known).fill_null(-1)).astype(np.int64)
