"""Source → RawSnapshot: each partition in typed columns, with a key for every row.

Nothing is judged here except what cannot be read: a cell that is not of its declared type, a row with too few fields, a
file that is cut off. What the cells mean is validate's business.
"""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from itertools import compress
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from components.adapters.blobs import changed
from components.adapters.file_digests import FileDigests
from components.adapters.local_files import LocalFiles
from components.adapters.snapshot_rows import write_rows
from components.adapters.store import Record, Store, digest_file
from components.context import RunContext, summed
from components.contracts.artifacts import Ledger, Part, RawSnapshot
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import FILE, KEY, ROW, SPLIT, Column
from components.ingest.conform import bad_lines, conformed
from components.ingest.groups import Before, patched, remember, remembered, write_members
from components.ingest.samples import keep_sample
from components.ingest.streams import acknowledge, landed, landed_rows, resumed
from components.sources.partition import Partition, Rows, Source
from components.statistics.keys import row_keys


class IngestConfig(StepConfig):
    """What to read, and as what."""

    source: Any
    columns: tuple[Column, ...] = Field((), description="the declared columns; others keep the source's types")
    set_aside_files: bool = Field(False, description="whether a file that cannot be read is set aside, not an error")
    allow_empty: bool = Field(False, description="whether a source may have no rows")


def run(config: IngestConfig, *, ctx: RunContext) -> RawSnapshot:
    """Read the source's partitions; those that were read before are not read again.

    Raises:
        DataError: E_SOURCE_EMPTY, E_NO_ROWS, E_COLUMN_MISSING, E_COLUMN_EXTRA, E_SCHEMA_DRIFT, E_SOURCE_CHANGED; what
            is wrong with a file (E_FILE_EMPTY, E_FORMAT, …), unless such files are set aside.
        EnvironmentFault: E_PERMISSION, E_CREDENTIALS, E_SERVER_UNREACHABLE.
    """
    source: Source = resumed(config.source, ctx)
    digests = digests_of(ctx)
    version = source.version(digests)
    digests.save()

    def build(_: Path) -> RawSnapshot:
        with partitions_of(source, ctx, digests) as (one, pieces):
            partitions = landed(one, pieces, ctx)
            base = ctx.base("ingest", __name__, config)
            groups = remembered(ctx.store, base)
            items = [(piece.place, piece.version, (piece, groups.get(piece.group))) for piece in partitions]
            size = sum(piece.size_bytes for piece in partitions)
            parts, records = ctx.parts(
                "ingest",
                module=__name__,
                config=config,
                work=read_partition,
                items=items,
                size_bytes=size,
                native=True,
                base=base,
            )
            remember(ctx.store, base, partitions, parts)
        columns = _described(_agreed(parts, records), source.columns())
        ledger = summed(records, entered=0)
        if not ledger.added and not config.allow_empty:
            raise DataError(
                "E_NO_ROWS",
                "the source has no rows",
                place="source",
                action="name another source, or allow it by checks.allow_empty",
            )
        read = [bool(record.meta["columns"]) for record in records]
        return RawSnapshot(
            columns=columns,
            parts=tuple(compress(parts, read)),
            aside=tuple(part for part, one in zip(parts, read, strict=True) if not one),
            ledger=ledger,
        )

    made = ctx.commit(RawSnapshot, __name__, config, {"source": version}, build)
    acknowledge(source)
    return made


@contextmanager
def _opened(source: Any) -> Iterator[Source]:
    """A source that reads by way of a session, inside one; any other as it is."""
    with source.session() if hasattr(source, "session") else nullcontext(source) as opened:
        yield opened


@contextmanager
def _doubted(digests: FileDigests) -> Iterator[None]:
    """A file that is not what was found in it may have been so before: the next run looks anew."""
    try:
        yield
    except DataError as error:
        if error.code == "E_SOURCE_CHANGED":
            digests.forget(str(error.value))
        raise


def read_partition(
    store: Store, config: IngestConfig, item: tuple[Partition, str | None], folder: Path
) -> dict[str, Any]:
    """Write one partition's rows; unreadable ones go to `quarantine.jsonl`.

    Of a group that a part (named by its key) had before some of its files changed, only these are read.
    """
    piece, before = item
    source = _declared(config)
    standing = Before.find(store, before, piece) if before else None
    if standing:
        few = source.some(piece, standing.new.tolist())
        rows, columns = conformed(source.read(few), _named(source, config), piece.place)
        _check_unchanged(few)
        added = _with_own(rows, piece)
        made = patched(store, standing, piece, added=added, columns=columns, folder=folder)
        if made:
            return made
    try:
        table, rows, columns = read_rows_of(store, config, piece)
    except DataError as error:
        if not config.set_aside_files or error.code not in SET_ASIDE:
            raise
        return _set_aside(piece, error, folder)
    count = table.num_rows
    write_rows(table, folder)
    content = write_members(piece, table, folder) if piece.members is not None and count == len(piece.members) else {}
    content |= keep_sample(table, folder)
    lines = bad_lines(rows, piece)
    _write_quarantine(lines, folder)
    ledger = Ledger(added=count + len(lines), rows_out=count, quarantined=len(lines))
    return {
        "rows": count,
        "ledger": ledger.model_dump(),
        "columns": [one.model_dump(include={"name", "type"}) for one in columns],
        "bad": lines[:SHOWN],
        **content,
    }


def read_rows_of(store: Store, config: IngestConfig, piece: Partition) -> tuple[pa.Table, Rows, tuple[Column, ...]]:
    """One partition's typed rows with the columns that every snapshot has, what was read, and the columns' types.

    Raises:
        DataError: What is wrong with the partition as a whole.
    """
    source = _declared(config)
    found = landed_rows(source, piece, store) or source.read(piece)
    _check_unchanged(piece)
    rows, columns = conformed(found, _named(source, config), piece.place)
    return _with_own(rows, piece), rows, columns


def _declared(config: IngestConfig) -> Any:
    """The source, which may read columns as they are declared."""
    source = config.source
    return source.declaring(config.columns) if config.columns and hasattr(source, "declaring") else source


def digests_of(ctx: RunContext) -> FileDigests:
    """What this machine knows of files that it has read."""
    return FileDigests(ctx.placement.home / "memo" / "file_digests.jsonl")


@contextmanager
def partitions_of(source: Any, ctx: RunContext, digests: FileDigests) -> Iterator[tuple[Any, list[Partition]]]:
    """A source as it is read now, and its partitions, while the block lasts."""
    with _scratch(ctx.placement.home) as scratch, _opened(source) as one, _doubted(digests):
        pieces = one.partitions(digests, scratch)
        digests.save()
        yield one, pieces


def _check_unchanged(piece: Partition) -> None:
    for path, known in piece.files:
        if digest_file(Path(path)) != known:
            raise changed(path, "source")
    for path, size, stamp in piece.stamps:
        stat = Path(path).stat()
        if (stat.st_size, stat.st_mtime_ns) != (size, stamp):
            raise changed(path, "source")


def _named(source: Any, config: IngestConfig) -> tuple[Column, ...]:
    return tuple({one.name: one for one in (*source.columns(), *config.columns)}.values())


def _with_own(rows: Rows, piece: Partition) -> pa.Table:
    """The rows with the columns that every snapshot has."""
    count = rows.table.num_rows
    files = rows.files if rows.files is not None else _constant(piece.place, count)
    return (
        rows.table
        .append_column(KEY, pa.array(row_keys(rows.table)))
        .append_column(SPLIT, _constant(piece.split, count))
        .append_column(FILE, files if pa.types.is_dictionary(files.type) else files.dictionary_encode())
        .append_column(ROW, rows.numbers)
    )


SHOWN = 3
SET_ASIDE = frozenset({
    "E_FILE_EMPTY", "E_FILE_TRUNCATED", "E_FORMAT", "E_FORMAT_MISMATCH", "E_QUOTE", "E_LINE_TOO_LONG", "E_CHECKSUM",
    "E_ENCODING", "E_ARCHIVE_BOMB", "E_ARCHIVE_PATH",
})  # fmt: skip
"""What may be wrong with a file that is set aside as a whole; it counts as one row."""


def _set_aside(piece: Partition, error: DataError, folder: Path) -> dict[str, Any]:
    line = {"place": piece.place, "code": error.code, "column": "", "reason": error.what, "value": "the whole file"}
    _write_quarantine([line], folder)
    ledger = Ledger(added=1, quarantined=1).model_dump()
    return {"rows": 0, "ledger": ledger, "columns": None, "bad": [line], "files": 1}


def _write_quarantine(lines: Sequence[dict[str, Any]], folder: Path) -> None:
    if lines:
        (folder / "quarantine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def _constant(text: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), [text])


def _agreed(parts: Sequence[Part], records: Sequence[Record]) -> tuple[Column, ...]:
    """The columns that all parts have.

    Raises:
        DataError: E_COLUMN_MISSING, E_COLUMN_EXTRA, E_SCHEMA_DRIFT, naming the first part that differs from the first.
    """
    read = [
        (part, record.meta["columns"]) for part, record in zip(parts, records, strict=True) if record.meta["columns"]
    ]
    if not read:
        return ()
    first, columns = read[0]
    expected = {column["name"]: column["type"] for column in columns}
    for part, other in read[1:]:
        if other == columns:
            continue
        found = {column["name"]: column["type"] for column in other}
        lost, more = [one for one in expected if one not in found], [one for one in found if one not in expected]
        if lost:
            what, code, action = (
                f"the file lacks a column that {first.place} has",
                "E_COLUMN_MISSING",
                "correct the file",
            )
        elif more:
            what, code = f"the file has a column that {first.place} lacks", "E_COLUMN_EXTRA"
            action = "correct the file, or set source.extra_columns: drop; of a stream or documents, name source.fields"
        else:
            lost = [one for one in expected if found[one] != expected[one]]
            if not lost:
                continue
            what = ", ".join(f"{one} is {found[one]} here and {expected[one]} in {first.place}" for one in lost[:3])
            code, action = "E_SCHEMA_DRIFT", f"declare its type (checks.columns.{lost[0]}), or correct the file"
        raise DataError(
            code, what, place=part.place, value=(lost or more)[0], allowed=", ".join(expected), action=action
        )
    return tuple(Column.model_validate(column) for column in columns)


def _described(found: tuple[Column, ...], known: tuple[Column, ...]) -> tuple[Column, ...]:
    """The columns that were read, with what else the source says of them."""
    given = {one.name: one for one in known}
    return tuple(given.get(one.name, one).model_copy(update={"type": one.type}) for one in found) or known


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder of this step's own; what killed ones left goes."""
    held = LocalFiles(home).stage("scratch", os.urandom(8).hex(), kept=lambda: ())
    try:
        yield held.path
    finally:
        held.remove()
