"""RawSnapshot → ValidSnapshot: every row checked against what the recipe declares, bad ones set aside with a reason.

A column that is not declared keeps the type that the source gave it. Cells are judged here and cast in clean.
"""

import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from components.adapters.store import Record, Store
from components.adapters.tables import read_table, write_table
from components.cleaning.typed import fits, typed
from components.context import RunContext, summed
from components.contracts.artifacts import Ledger, Part, RawSnapshot, ValidSnapshot
from components.contracts.config import StepConfig, identity
from components.contracts.errors import DataError, shorten
from components.contracts.fingerprint import digest
from components.contracts.spec import FILE, ROW, Column, ColumnType

SHOWN = 3


class ColumnCheck(StepConfig):
    """What the cells of one column must be."""

    type: ColumnType = Field(description="string, int64, float64, bool or image (encoded bytes)")
    nullable: bool = Field(True, description="whether a cell may be missing")
    minimum: float | None = Field(None, description="smallest value of a number")
    maximum: float | None = Field(None, description="largest value of a number")
    allowed: tuple[str, ...] = Field((), description="the only values that text may have; none: any")


class ValidateConfig(StepConfig):
    """Declared columns, and how much may be bad."""

    columns: dict[str, ColumnCheck] = Field({}, description="column name to what its cells must be")
    max_bad_fraction: float = Field(0.01, ge=0, le=1, description="more bad rows than this share fail the run")
    max_bad_rows: int = Field(1000, ge=0, description="more bad rows than this fail the run")


def run(config: ValidateConfig, raw: RawSnapshot, *, ctx: RunContext) -> ValidSnapshot:
    """Check every row; set aside those that fail.

    Raises:
        DataError: E_COLUMN_MISSING; E_QUARANTINE_LIMIT, naming the first bad row.
    """
    columns = tuple(declared(config, raw.columns))

    def build(_: Path) -> ValidSnapshot:
        items = [(part.place, digest([part.digest, identity(columns)]), (part, columns)) for part in raw.parts]
        size = sum(part.rows for part in raw.parts) * 100
        parts, records = ctx.parts(
            "validate", module=__name__, config=config, work=check_partition, items=items, size_bytes=size
        )
        ledger = summed(records, raw.rows)
        _judge(config, raw, ledger, records, ctx)
        return ValidSnapshot(columns=columns, parts=tuple(parts), ledger=ledger)

    return ctx.commit(ValidSnapshot, __name__, config, {"raw": raw.content}, build)


def declared(config: ValidateConfig, found: Iterable[Column]) -> Iterable[Column]:
    """The columns of the result, in the source's order.

    Raises:
        DataError: E_COLUMN_MISSING, the recipe declares a column that the source does not have.
    """
    found = tuple(found)
    names = [column.name for column in found]
    for name in config.columns:
        if name not in names:
            raise DataError(
                "E_COLUMN_MISSING",
                "the recipe names a column that the source does not have",
                place="source",
                value=name,
                allowed=", ".join(names),
                action="correct the name in features and checks, or the source",
            )
    for column in found:
        check = config.columns.get(column.name)
        yield Column(name=column.name, type=check.type, nullable=check.nullable) if check else column


def check_partition(
    store: Store, config: ValidateConfig, argument: tuple[Part, tuple[Column, ...]], folder: Path
) -> dict[str, Any]:
    """Write one partition's good rows; bad ones go to `quarantine.jsonl`."""
    part, columns = argument
    record = store.part("ingest", part.key).standing()
    table = read_table(store.open(record, "rows.parquet"))
    lost = {column.name for column in columns} - set(table.column_names)
    if lost:
        raise DataError(
            "E_COLUMN_MISSING",
            "the file lacks a column that the others have",
            place=part.place,
            value=min(lost),
            action="correct the file",
        )
    reasons = np.full(table.num_rows, None, object)
    for column in columns:
        _check_column(table[column.name], column, config.columns.get(column.name), reasons)
    good = _unset(reasons)
    write_table(table.filter(pa.array(good)), folder / "rows.parquet")
    bad = [_bad_line(table, int(row), reasons[row]) for row in np.flatnonzero(~good)]
    (folder / "quarantine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in bad))
    rows = int(good.sum())
    ledger = Ledger(rows_in=table.num_rows, rows_out=rows, quarantined=len(bad))
    return {"rows": rows, "ledger": ledger.model_dump(), "bad": bad[:SHOWN]}


def _check_column(
    cells: pa.ChunkedArray, column: Column, check: ColumnCheck | None, reasons: NDArray[np.object_]
) -> None:
    def fail(mask: Any, code: str, reason: str) -> None:
        for row in np.flatnonzero(np.asarray(mask) & _unset(reasons)):
            reasons[row] = (code, column.name, reason)

    if not column.nullable:
        fail(pc.is_null(cells), "E_TYPE", "missing, and the column is not nullable")
    fitting = np.asarray(fits(cells, column.type))
    fail(~fitting, "E_TYPE", f"not of type {column.type}")
    if column.type == "image":
        fail([not _is_image(cell.as_py()) for cell in cells], "E_IMAGE", "does not decode as an image")
    if check is None:
        return
    if check.minimum is not None or check.maximum is not None:
        numbers = typed(pa.table({column.name: pc.if_else(pa.array(fitting), cells, None)}), [column])[column.name]
        if check.minimum is not None:
            fail(pc.fill_null(pc.less(numbers, check.minimum), False), "E_VALUE", f"below {check.minimum:g}")
        if check.maximum is not None:
            fail(pc.fill_null(pc.greater(numbers, check.maximum), False), "E_VALUE", f"above {check.maximum:g}")
    if check.allowed:
        known = pc.is_in(cells, pa.array(check.allowed, pa.string()))
        fail(pc.and_(pc.is_valid(cells), pc.invert(known)), "E_VALUE", f"not one of {', '.join(check.allowed)}")


def _unset(reasons: NDArray[np.object_]) -> NDArray[np.bool_]:
    return np.array([reason is None for reason in reasons], bool)


def _is_image(data: bytes | None) -> bool:
    from PIL import Image

    if data is None:
        return True
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return False
    return True


def _bad_line(table: pa.Table, row: int, reason: tuple[str, str, str]) -> dict[str, str]:
    code, column, why = reason
    cell = table[column][row].as_py()
    place = f"{table[FILE][row].as_py()}:{table[ROW][row].as_py()}"
    return {"place": place, "code": code, "column": column, "reason": why, "value": shorten(cell)}


def _judge(config: ValidateConfig, raw: RawSnapshot, ledger: Ledger, records: list[Record], ctx: RunContext) -> None:
    unread = raw.ledger.quarantined if raw.ledger else 0
    bad, rows = ledger.quarantined + unread, ledger.rows_in + unread
    if not bad:
        return
    shown = [line for record in records for line in record.meta["bad"]] or _unread(raw, ctx.store)
    first = shown[0]
    text = f"{first['code']} {first['place']}: {first.get('column', 'row')} {first['reason']} (got {first['value']})"
    if bad > config.max_bad_rows or bad > config.max_bad_fraction * rows:
        raise DataError(
            "E_QUARANTINE_LIMIT",
            f"{bad} of {rows} rows are bad; the first is {text}",
            place="checks",
            allowed=f"{min(config.max_bad_rows, int(config.max_bad_fraction * rows))} of {rows}, by "
            f"checks.max_bad_fraction ({config.max_bad_fraction:.2%}) and checks.max_bad_rows ({config.max_bad_rows})",
            action=f"correct the data, or raise these; the bad rows stand in {_quarantine(records, raw, ctx.store)}",
        )
    where = _quarantine(records, raw, ctx.store)
    ctx.progress.warned(f"{bad} of {rows} rows quarantined; the first is {text}; they stand in {where}")


def _quarantine(records: list[Record], raw: RawSnapshot, store: Store) -> str:
    """Where the bad rows can be read: the first file of them, and how many more there are."""
    read = [store.part("ingest", part.key).standing() for part in raw.parts]
    files = [one for one in records if one.meta["bad"]] + [one for one in read if one.meta["ledger"]["quarantined"]]
    place = store.files.place(f"{files[0].entry}/{files[0].attempt}/quarantine.jsonl")
    return place + (f" and {len(files) - 1} more" if len(files) > 1 else "")


def _unread(raw: RawSnapshot, store: Store) -> list[dict[str, str]]:
    for part in raw.parts:
        record = store.part("ingest", part.key).record()
        if record is not None and record.meta["ledger"]["quarantined"]:
            lines = store.open(record, "quarantine.jsonl").read_text().splitlines()
            return [json.loads(lines[0])]
    return []
