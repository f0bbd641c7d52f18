"""Groups of small files of which few changed: their part says so, and the others are not read again.

A part of a group keeps its members (each file gives one row) with the digests of each row. When the group has changed,
the new part names the one before, the rows that are gone and those that came. Its content is the digest of the rows'
digests, so that it is the same however the rows came together. After some such steps, or when they hold as much as the
group, the part is written whole, out of the store: not all groups at the same time, and large ones less often.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from numpy.typing import NDArray

from components.adapters.arrow_files import read_table, write_table
from components.adapters.pointers import Pointer
from components.adapters.snapshot_rows import merged, read_rows, read_sample, write_patch, write_rows
from components.adapters.store import Record, Store
from components.contracts.artifacts import Ledger, Part
from components.contracts.spec import OWN_COLUMNS, Column
from components.ingest.samples import drawn, patch_sample
from components.sources.partition import Partition, members_of
from components.statistics.keys import row_keys

STEP = "ingest"
MEMBERS = "members.arrow"
DIGESTS = ("own", "cells", "lot")
"""Of a row: of the columns that every snapshot has, of the others, and its lot (ingest/samples.py)."""
LARGEST_SHARE = 0.25
"""A group of which more is new is read as a whole."""
FEWEST, MOST = 8, 64
STEP_BYTES = 2**20
"""Reading a part by way of one more step costs about as much as copying so many bytes."""

Digests = NDArray[np.uint64]


def remembered(store: Store, base: str) -> Mapping[str, str]:
    """Each group's newest part, by key."""
    now = Pointer(store, f"groups/{base}").read()
    return now.value["groups"] if now else {}


def remember(store: Store, base: str, partitions: Sequence[Partition], parts: Sequence[Part]) -> None:
    """Note the groups' newest parts for the next time."""
    groups = {piece.group: part.key for piece, part in zip(partitions, parts, strict=True) if piece.group}
    if groups:
        Pointer(store, f"groups/{base}").set({"groups": groups})


@dataclass(frozen=True, kw_only=True)
class Before:
    """A group's part of before: which of the group's members now are `new`, and which of its rows are `gone`.

    `digests` are those of its rows.
    """

    record: Record
    new: NDArray[np.int64]
    gone: NDArray[np.int64]
    digests: Digests

    @classmethod
    def find(cls, store: Store, key: str, piece: Partition) -> "Before | None":
        """The part, if it can be built on."""
        record = store.part(STEP, key).record()
        if record is None or "content" not in record.meta:
            return None
        then, now = read_table(store.open(record, MEMBERS)), members_of(piece)
        kept = _kept(then, now)
        new = np.flatnonzero(kept < 0)
        places = kept[kept >= 0]
        if not len(new) or len(new) > LARGEST_SHARE * len(now) or (np.diff(places) <= 0).any():
            return None
        digests = np.stack([np.asarray(then[name]) for name in DIGESTS], axis=1)
        gone = np.delete(np.arange(len(then)), places)
        return cls(record=record, new=new, gone=gone, digests=digests)


def _kept(then: pa.Table, now: pa.Table) -> NDArray[np.int64]:
    """Of each member, where it stood as it is now; -1 where it did not."""
    if then["name"].equals(now["name"]):
        at = np.arange(len(now))
    else:
        at = np.asarray(pc.index_in(now["name"], then["name"]).fill_null(-1)).astype(np.int64)
    known = at >= 0
    same = pc.equal(then["digest"].take(pa.array(at[known])), now["digest"].filter(pa.array(known)))
    at[known] = np.where(np.asarray(same), at[known], -1)
    return at


def write_members(piece: Partition, table: pa.Table, folder: Path) -> dict[str, Any]:
    """Keep what a later part needs to build on this one; what its record has to say."""
    return {**_write(piece, _digests(table), table.schema, folder), "depth": 0, "patched": 0}


def patched(
    store: Store, before: Before, piece: Partition, *, added: pa.Table, columns: Sequence[Column], folder: Path
) -> dict[str, Any] | None:
    """Write the group as its part of before with `added` in the place of what changed; None where that is not so.

    `added` has the rows of the members `before.new`.
    """
    names = [one.model_dump(include={"name", "type"}) for one in columns]
    if added.num_rows != len(before.new) or names != before.record.meta["columns"]:
        return None
    sample, new = read_sample(store, before.record), _digests(added)
    lot = DIGESTS.index("lot")
    gone = before.digests[before.gone, lot]
    drew = patch_sample(sample, before.record.meta["cut"], gone, added=added, lots=new[:, lot], folder=folder)
    if drew is None:
        return None
    digests = np.empty((len(members_of(piece)), len(DIGESTS)), np.uint64)
    is_new = np.zeros(len(digests), bool)
    is_new[before.new] = True
    digests[is_new] = new
    digests[~is_new] = np.delete(before.digests, before.gone, axis=0)
    depth, size = before.record.meta["depth"] + 1, before.record.meta["patched"] + added.nbytes
    if depth < _deepest(piece) and size < max(piece.size_bytes, STEP_BYTES):
        meta = write_patch(folder, STEP, before.record, before.gone, added=added, places=before.new)
    else:
        table = read_rows(store, STEP, before.record.entry.rpartition("/")[2])
        write_rows(merged(table, before.gone, added, before.new), folder)
        meta, depth, size = {}, 0, 0
    rows = len(digests)
    return {
        "rows": rows,
        "ledger": Ledger(added=rows, rows_out=rows).model_dump(),
        "columns": names,
        "bad": [],
        **meta,
        **drew,
        **_write(piece, digests, added.schema, folder),
        "depth": depth,
        "patched": size,
    }


def _deepest(piece: Partition) -> int:
    """How many steps a part of the group may stand above one that is whole; less for some groups than for others."""
    most = min(max(piece.size_bytes // STEP_BYTES, FEWEST), MOST)
    return most - crc32(piece.group.encode()) % (most // 2)


def _write(piece: Partition, digests: Digests, schema: pa.Schema, folder: Path) -> dict[str, Any]:
    members = members_of(piece)
    for at, name in enumerate(DIGESTS):
        members = members.append_column(name, pa.array(np.ascontiguousarray(digests[:, at])))
    write_table(members, folder / MEMBERS)
    said = json.dumps([[field.name, str(field.type)] for field in schema])
    content = blake3(said.encode() + digests.tobytes()).hexdigest(length=16)
    return {"content": content}


def _digests(table: pa.Table) -> Digests:
    """128 bits a row, over all its columns, and its lot: uint64[rows, 3]."""
    own = list(OWN_COLUMNS)
    return np.stack([row_keys(table.select(own), seed=1), row_keys(table.drop(own), seed=2), drawn(table)], axis=1)
