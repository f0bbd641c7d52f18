"""Source → RawSnapshot: each partition as the source has it, in typed columns, with a key for every row.

Nothing is judged here except what cannot be read at all. What the cells mean is validate's business.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.adapters.file_digests import FileDigests
from components.adapters.local_files import LocalFiles
from components.adapters.store import Store, digest_file
from components.adapters.tables import write_table
from components.context import RunContext, summed
from components.contracts.artifacts import Ledger, RawSnapshot
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import FILE, KEY, ROW, SPLIT, Column
from components.sources.partition import Partition, Source
from components.statistics.keys import row_keys


class IngestConfig(StepConfig):
    """What to read."""

    source: Any


def run(config: IngestConfig, *, ctx: RunContext) -> RawSnapshot:
    """Read the source's partitions; those that were read before are not read again.

    Raises:
        DataError: E_SOURCE_EMPTY, E_FILE_EMPTY, E_FORMAT, E_COLUMN_MISSING, E_NOT_REGULAR_FILE.
        EnvironmentFault: E_PERMISSION.
    """
    source: Source = config.source
    digests = FileDigests(ctx.placement.home / "memo" / "file_digests.json")
    version = source.version(digests)
    digests.save()

    def build(_: Path) -> RawSnapshot:
        with _scratch(ctx.placement.home) as scratch:
            partitions = source.partitions(digests, scratch)
            items = [(piece.place, piece.version, piece) for piece in partitions]
            size = sum(piece.size_bytes for piece in partitions)
            parts, records = ctx.parts(
                "ingest", module=__name__, config=config, work=read_partition, items=items, size_bytes=size
            )
        columns = source.columns() or tuple(Column.model_validate(column) for column in records[0].meta["columns"])
        if not any(part.rows for part in parts):
            raise DataError("E_FILE_EMPTY", "the source has no rows", place="source", action="name another source")
        return RawSnapshot(columns=columns, parts=tuple(parts), ledger=summed(records, entered=0))

    return ctx.commit(RawSnapshot, __name__, config, {"source": version}, build)


def read_partition(_: Store, config: IngestConfig, piece: Partition, folder: Path) -> dict[str, Any]:
    """Write one partition's rows; unreadable ones go to `quarantine.jsonl`."""
    rows = config.source.read(piece)
    for path, known in piece.files:
        if digest_file(Path(path)) != known:
            raise _changed(path)
    for path, size, changed in piece.stamps:
        stat = Path(path).stat()
        if (stat.st_size, stat.st_mtime_ns) != (size, changed):
            raise _changed(path)
    count = rows.table.num_rows
    files = rows.files if rows.files is not None else pa.array([piece.place] * count, pa.string())
    columns = [{"name": field.name, "type": _column_type(field.type)} for field in rows.table.schema]
    table = (
        rows.table
        .append_column(KEY, pa.array(row_keys(rows.table)))
        .append_column(SPLIT, pa.array([piece.split] * count, pa.string()).dictionary_encode())
        .append_column(FILE, files.dictionary_encode())
        .append_column(ROW, rows.numbers)
    )
    write_table(table, folder / "rows.parquet")
    with (folder / "quarantine.jsonl").open("w") as out:
        for bad in rows.bad:
            line = {"place": f"{piece.place}:{bad.row}", "code": bad.code, "reason": bad.reason, "value": bad.text}
            out.write(json.dumps(line) + "\n")
    ledger = Ledger(added=count + len(rows.bad), rows_out=count, quarantined=len(rows.bad))
    return {"rows": count, "ledger": ledger.model_dump(), "columns": columns}


def _changed(path: str) -> DataError:
    return DataError(
        "E_SOURCE_CHANGED",
        "the file changed while it was read",
        place="source",
        value=path,
        action="run the same command again when nothing writes to it",
    )


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """A folder of this step's own; what killed ones left goes."""
    held = LocalFiles(home).stage("scratch", os.urandom(8).hex(), kept=lambda: ())
    try:
        yield held.path
    finally:
        held.remove()


def _column_type(kind: pa.DataType) -> str:
    if pa.types.is_binary(kind):
        return "image"
    return {"string": "string", "int64": "int64", "double": "float64", "bool": "bool"}[str(kind)]
