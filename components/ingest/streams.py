"""What ingest does for streams: remembers their windows, keeps their raw messages, and tells them when it has.

The order is what makes each message count once. The windows are fixed in a pointer before anything is read; a window's
raw messages are committed under a key made from the window alone, so that neither another release nor another recipe
has to ask a stream for what it may have forgotten; the stream's own offsets follow when the snapshot is committed.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from components.adapters.pointers import Pointer
from components.adapters.snapshot_rows import read_rows, write_rows
from components.adapters.store import Store
from components.context import RunContext
from components.contracts.fingerprint import digest
from components.sources.partition import Partition, Rows

STEP, LANDED = "land", "landed"
FORMAT = 1
"""Raise it when the table of raw messages changes: every stream is then read anew, as far as it still can be."""


def resumed(source: Any, ctx: RunContext) -> Any:
    """A stream with the windows that are to be read, the new ones remembered; any other source as it is."""
    if not is_stream(source):
        return source
    identity = source.identity()
    pointer = Pointer(ctx.store, f"streams/{digest(identity)}")
    while True:
        now = pointer.read()
        known = now.value["windows"] if now else {}
        windows = source.advanced(known)
        value = {"stream": identity, "windows": {name: [list(one) for one in found] for name, found in windows.items()}}
        same = now is not None and known == value["windows"]
        if ctx.peeking or same or pointer.move(value, after=now.epoch if now else 0):
            return source.at(identity, windows)


def landed(source: Any, partitions: list[Partition], ctx: RunContext) -> list[Partition]:
    """The same partitions, each naming where its raw messages are kept; those of other sources as they are."""
    if not is_stream(source):
        return partitions
    items = [(piece.place, piece.version, piece) for piece in partitions]
    size = sum(piece.size_bytes for piece in partitions)
    parts, _ = ctx.parts(
        STEP,
        module=__name__,
        config=source,
        work=_land,
        items=items,
        size_bytes=size,
        base=f"{STEP} {FORMAT}",
        shown="ingest",
        what="kept as they came",
    )
    _keep(ctx, source, {part.key for part in parts})
    return [
        replace(piece, argument={**piece.argument, STEP: part.key})
        for piece, part in zip(partitions, parts, strict=True)
    ]


def _keep(ctx: RunContext, source: Any, keys: set[str]) -> None:
    """Name the parts for garbage collection, beside those that other runs have named: nothing else may ever do so."""
    pointer = Pointer(ctx.store, f"{LANDED}/{digest(source.identity())}")
    while True:
        now = pointer.read()
        held = set(now.value["parts"]) if now else set()
        if keys <= held or pointer.move({"parts": sorted(held | keys)}, after=now.epoch if now else 0):
            return


def _land(_: Store, source: Any, piece: Partition, folder: Path) -> dict[str, Any]:
    table = source.messages(piece.argument)
    write_rows(table, folder)
    return {"rows": table.num_rows}


def landed_rows(source: Any, piece: Partition, store: Store) -> Rows | None:
    """The rows of a window whose messages are kept; None for a partition of another source."""
    if not is_stream(source):
        return None
    found: Rows = source.decoded(read_rows(store, STEP, piece.argument[STEP]), piece)
    return found


def acknowledge(source: Any) -> None:
    """Let a stream know that its messages are kept."""
    if is_stream(source):
        source.acknowledge_read()


def is_stream(source: Any) -> bool:
    """Whether it is a sources.stream.StreamSource, asked so that only recipes with a stream depend on that module."""
    return hasattr(source, "acknowledge_read")
