"""Parquet, Arrow IPC, ORC and Avro files in pieces of whole row groups, batches, stripes or blocks."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from components.contracts.errors import DataError, EnvironmentFault

HEADS = {"parquet": b"PAR1", "arrow": b"ARROW1", "orc": b"ORC", "avro": b"Obj\x01"}
TAILS = {"parquet": b"PAR1", "arrow": b"ARROW1"}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Groups `first` up to `last` (not with it) of a file, their bytes, and the number of their first row, from 1.

    Of Avro, whose blocks only a walk through the file finds, first and last are bytes.
    """

    first: int
    last: int
    size: int
    row: int


@dataclass(frozen=True)
class Unit:
    """What is read as a whole: a row group, a batch, a stripe or a block."""

    first: int
    last: int
    size: int
    rows: int


def sniffed(path: Path) -> str:
    """The columnar format whose first bytes the file has; "text" where it is none of them."""
    with path.open("rb") as file:
        head = file.read(8)
        size = path.stat().st_size
        file.seek(max(size - 256, 0))
        tail = file.read()
    found = next((name for name, magic in HEADS.items() if head.startswith(magic)), "text")
    # Text may begin with these three letters; a file of that format ends in them too, before the length of its end.
    return "text" if found == "orc" and not tail[:-1].endswith(b"ORC") else found


def groups(path: Path, kind: str, place: str, piece_bytes: int) -> list[Group]:
    """The pieces of the file at `path`, of about `piece_bytes` each.

    Raises:
        DataError: E_FILE_TRUNCATED, its end is missing; E_FORMAT.
    """
    with unreadable(path, kind, place):
        units = list(UNITS[kind](path))
    found, size, rows, row = [], 0, 0, 1
    first = last = units[0].first if units else 0
    for one in units:
        if size and size + one.size > piece_bytes:
            found.append(Group(first=first, last=one.first, size=size, row=row))
            first, size, row, rows = one.first, 0, row + rows, 0
        size += one.size
        rows += one.rows
        last = one.last
    return [*found, Group(first=first, last=last, size=max(size, 1), row=row)]


def read_group(path: Path, kind: str, *, first: int, last: int, columns: tuple[str, ...], place: str) -> pa.Table:
    """The rows of the groups; of Parquet each page that has a checksum is checked.

    Raises:
        DataError: E_CHECKSUM, E_FORMAT, E_COLUMN_MISSING.
    """
    with unreadable(path, kind, place):
        return READ[kind](path, first, last, list(columns) or None)


@contextmanager
def unreadable(path: Path, kind: str, place: str) -> Iterator[None]:
    """What the readers raise for damaged files, as one line."""
    try:
        yield
    except (DataError, EnvironmentFault):
        raise
    except (
        pa.ArrowInvalid,
        OSError,
        pa.ArrowNotImplementedError,
        ValueError,
        EOFError,
        KeyError,
        StopIteration,
    ) as error:
        text = " ".join(str(error).split())[:200]
        code, what = "E_FORMAT", f"the file cannot be read as {kind} ({text})"
        if "CRC" in text or "checksum" in text.lower():
            code, what = "E_CHECKSUM", f"a page's bytes are not those that were written ({text})"
        elif _truncated(path, kind):
            code, what = "E_FILE_TRUNCATED", f"the end of the file is missing, it has {path.stat().st_size} bytes"
        raise DataError(code, what, place=place, action="fetch or write the file again") from error


def _truncated(path: Path, kind: str) -> bool:
    tail = TAILS.get(kind)
    if tail is None:
        return kind == "avro"
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - len(tail), 0))
        return file.read() != tail


def _parquet_units(path: Path) -> Iterator[Unit]:
    import pyarrow.parquet as pq

    meta = pq.read_metadata(path)
    for number in range(meta.num_row_groups):
        group = meta.row_group(number)
        yield Unit(number, number + 1, group.total_byte_size, group.num_rows)


def _read_parquet(path: Path, first: int, last: int, columns: list[str] | None) -> pa.Table:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        _known(columns, file.schema_arrow.names, path)
        return file.read_row_groups(list(range(first, last)), columns=columns, use_threads=False)


def _arrow_units(path: Path) -> Iterator[Unit]:
    with pa.memory_map(str(path)) as file, pa.ipc.open_file(file) as reader:
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            yield Unit(number, number + 1, batch.nbytes, batch.num_rows)


def _read_arrow(path: Path, first: int, last: int, columns: list[str] | None) -> pa.Table:
    with pa.OSFile(str(path)) as file, pa.ipc.open_file(file) as reader:
        _known(columns, reader.schema.names, path)
        table = pa.Table.from_batches([reader.get_batch(number) for number in range(first, last)], reader.schema)
        return table.select(columns) if columns else table


def _orc_units(path: Path) -> Iterator[Unit]:
    from pyarrow import orc

    file = orc.ORCFile(path)
    for number in range(file.nstripes):
        rows = file.read_stripe(number, columns=file.schema.names[:1]).num_rows
        yield Unit(number, number + 1, max(file.content_length // file.nstripes, 1), rows)


def _read_orc(path: Path, first: int, last: int, columns: list[str] | None) -> pa.Table:
    from pyarrow import orc

    file = orc.ORCFile(path)
    _known(columns, file.schema.names, path)
    batches = [file.read_stripe(number, columns=columns) for number in range(first, last)]
    return pa.Table.from_batches(batches) if batches else file.schema.empty_table()


def _fastavro() -> Any:
    try:
        import fastavro  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            "fastavro is not installed",
            place="source.format",
            action="install it: pip install -e '.[avro]'",
        ) from error
    return fastavro


def _avro_units(path: Path) -> Iterator[Unit]:
    avro = _fastavro()
    with path.open("rb") as file:
        for block in avro.block_reader(file):
            yield Unit(block.offset, block.offset + block.size, block.size, block.num_records)


def _read_avro(path: Path, first: int, last: int, columns: list[str] | None) -> pa.Table:
    avro = _fastavro()
    with path.open("rb") as file:
        blocks = avro.block_reader(file)
        head = next((block.offset for block in blocks), -1)
        names = [field["name"] for field in blocks.writer_schema["fields"]]
        _known(columns, names, path)
        file.seek(0)
        data = file.read(head) if head >= 0 else file.read()
        if head >= 0:
            file.seek(first)
            data += file.read(last - first)
        rows = list(avro.reader(io.BytesIO(data)))
    wanted = columns or names
    return pa.table({name: [row[name] for row in rows] for name in wanted})


def _known(columns: list[str] | None, names: list[str], path: Path) -> None:
    lost = next((name for name in columns or () if name not in names), None)
    if lost is not None:
        raise DataError(
            "E_COLUMN_MISSING",
            "the file has no such column",
            place=path.name,
            value=lost,
            allowed=", ".join(names),
            action="correct source.select or the file",
        )


UNITS: dict[str, Callable[[Path], Iterator[Unit]]] = {
    "parquet": _parquet_units,
    "arrow": _arrow_units,
    "orc": _orc_units,
    "avro": _avro_units,
}
READ: dict[str, Callable[[Path, int, int, list[str] | None], pa.Table]] = {
    "parquet": _read_parquet,
    "arrow": _read_arrow,
    "orc": _read_orc,
    "avro": _read_avro,
}
