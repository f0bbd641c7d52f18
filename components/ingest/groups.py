"""Groups of small files of which few changed: their part says so, and the others are not read again.

A part of a group keeps its members (each file gives one row) and a digest of each row. When the group has changed, the
new part names the one before, the rows that are gone and those that came. Its content is the digest of the rows'
digests, so that it is the same however the rows came together. After DEEPEST such steps the part is written whole, out
of the store.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from blake3 import blake3
from numpy.typing import NDArray

from components.adapters.pointers import Pointer
from components.adapters.snapshot_rows import merged, read_rows, read_sample, without, write_patch, write_rows
from components.adapters.store import Record, Store
from components.contracts.artifacts import Ledger, Part
from components.contracts.spec import FILE, KEY, OWN_COLUMNS, ROW, Column
from components.ingest.samples import drawn, patch_sample
from components.sources.partition import Partition
from components.statistics.keys import row_keys

STEP = "ingest"
MEMBERS, DIGESTS = "members.json", "digests.npy"
LARGEST_SHARE = 0.25
"""A group of which more is new is read as a whole."""
DEEPEST = 8

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
    """A group's part of before: which of the group's members now are `new`, and which of its rows are `gone`."""

    record: Record
    new: list[int]
    gone: NDArray[np.int64]

    @classmethod
    def find(cls, store: Store, key: str, piece: Partition) -> "Before | None":
        """The part, if it can be built on."""
        record = store.part(STEP, key).record()
        if record is None or "content" not in record.meta:
            return None
        members: list[tuple[str, str]] = json.loads(store.open(record, MEMBERS).read_bytes())
        then = dict(members)
        now = dict(piece.members)
        new = [at for at, (name, digest) in enumerate(piece.members) if then.get(name) != digest]
        gone = [at for at, (name, digest) in enumerate(members) if now.get(name) != digest]
        if not new or len(new) > LARGEST_SHARE * len(now):
            return None
        left = [name for name, digest in members if now.get(name) == digest]
        return cls(record=record, new=new, gone=np.array(gone, np.int64)) if _in_order(left, piece) else None


def _in_order(names: Sequence[str], piece: Partition) -> bool:
    """Whether these members stand in the group in the same order."""
    at = {name: number for number, (name, _) in enumerate(piece.members)}
    places = [at[name] for name in names]
    return places == sorted(places)


def write_members(piece: Partition, table: pa.Table, folder: Path) -> dict[str, Any]:
    """Keep what a later part needs to build on this one; what its record has to say."""
    return _write(piece, _digests(table), table.schema, folder, depth=0)


def patched(
    store: Store, before: Before, piece: Partition, *, added: pa.Table, columns: Sequence[Column], folder: Path
) -> dict[str, Any] | None:
    """Write the group as its part of before with `added` in the place of what changed; None where that is not so.

    `added` has the rows of the members `before.new`.
    """
    names = [one.model_dump(include={"name", "type"}) for one in columns]
    if added.num_rows != len(before.new) or names != before.record.meta["columns"]:
        return None
    there = read_rows(store, STEP, before.record.entry.rpartition("/")[2], [KEY, FILE, ROW])
    gone = drawn(there.take(pa.array(before.gone)))
    sample = read_sample(store, before.record)
    drew = patch_sample(sample, before.record.meta["cut"], gone, added, folder)
    if drew is None:
        return None
    then: Digests = np.load(store.open(before.record, DIGESTS))
    digests = np.empty((len(piece.members), 2), np.uint64)
    is_new = np.zeros(len(digests), bool)
    is_new[before.new] = True
    digests[is_new] = _digests(added)
    digests[~is_new] = np.delete(then, before.gone, axis=0)
    depth = (before.record.meta["depth"] + 1) % DEEPEST
    places = np.array(before.new, np.int64)
    if depth:
        meta = write_patch(folder, STEP, before.record, before.gone, added=added, places=places)
    else:
        table = read_rows(store, STEP, before.record.entry.rpartition("/")[2])
        write_rows(merged(without(table, before.gone), added, places), folder)
        meta = {}
    rows = len(digests)
    return {
        "rows": rows,
        "ledger": Ledger(added=rows, rows_out=rows).model_dump(),
        "columns": names,
        "bad": [],
        **meta,
        **drew,
        **_write(piece, digests, added.schema, folder, depth=depth),
    }


def _write(piece: Partition, digests: Digests, schema: pa.Schema, folder: Path, *, depth: int) -> dict[str, Any]:
    (folder / MEMBERS).write_text(json.dumps(piece.members))
    np.save(folder / DIGESTS, digests)
    said = json.dumps([[field.name, str(field.type)] for field in schema])
    content = blake3(said.encode() + digests.tobytes()).hexdigest(length=16)
    return {"content": content, "depth": depth}


def _digests(table: pa.Table) -> Digests:
    """128 bits a row, over all its columns: uint64[rows, 2]."""
    own = list(OWN_COLUMNS)
    return np.stack([row_keys(table.select(own), seed=1), row_keys(table.drop(own), seed=2)], axis=1)
