"""ValidSnapshot → CleanSnapshot: the recipe's operations, in their order. Nothing is fitted."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import model_validator

from components.adapters.snapshot_rows import read_rows, write_view
from components.adapters.store import Store
from components.cleaning import KINDS
from components.cleaning.counted import cells_changed
from components.cleaning.drop_duplicates import DropDuplicates
from components.cleaning.typed import typed
from components.context import RunContext, summed
from components.contracts.artifacts import CleanSnapshot, Ledger, Part, ValidSnapshot
from components.contracts.config import StepConfig, identity
from components.contracts.errors import ConfigError, DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import OWN_COLUMNS, Column
from components.duplicates import find_later_rows


class CleanConfig(StepConfig):
    """The operations, in order."""

    operations: tuple[Any, ...] = ()

    @model_validator(mode="after")
    def _duplicates_once(self) -> Self:
        check_operations(self.operations)
        return self


def check_operations(operations: Sequence[Any]) -> None:
    """Raise ValueError where rows are compared twice: the second time would find nothing that the first one left."""
    if sum(isinstance(one, DropDuplicates) for one in operations) > 1:
        raise ValueError("drop-duplicates may stand once")


def run(config: CleanConfig, valid: ValidSnapshot, *, ctx: RunContext) -> CleanSnapshot:
    """Clean every partition.

    Raises:
        DataError: E_COLUMN_MISSING, an operation names a column that is not there.
        ConfigError: E_CONFIG, an operation of text names a column of another type.
    """
    columns = _described(config, valid)

    def build(_: Path) -> CleanSnapshot:
        items = [
            (part.place, digest([part.digest, identity(valid.columns), again]), (part, columns, again))
            for part, again in zip(valid.parts, _standing_twice(config, valid, ctx), strict=True)
        ]
        size = valid.rows * 100
        parts, records = ctx.parts(
            "clean", module=__name__, config=config, work=clean_partition, items=items, size_bytes=size, native=True
        )
        operations = tuple(operation.model_dump(mode="json") for operation in config.operations)
        return CleanSnapshot(
            columns=columns,
            parts=tuple(parts),
            operations=operations,
            valid=valid,
            ledger=summed(records, valid.rows),
        )

    return ctx.commit(CleanSnapshot, __name__, config, {"valid": valid.content}, build)


def _described(config: CleanConfig, valid: ValidSnapshot) -> tuple[Column, ...]:
    """The columns once all is done. At serving one may be absent; here a name that is not there is a mistake."""
    columns = {column.name: column for column in valid.columns}
    for number, operation in enumerate(config.operations):
        place = f"cleaning.{number}"
        for name in _named(operation):
            if name not in columns:
                raise DataError(
                    "E_COLUMN_MISSING",
                    "the rows have no such column",
                    place=place,
                    value=name,
                    allowed=", ".join(columns),
                    action="correct the name",
                )
            kind = columns[name].type
            if getattr(operation, "needs", kind) != kind:
                what = f"{operation.kind} is for {operation.needs} columns, and {name} is {kind}"
                action = "correct the name, or the type in checks.columns"
                raise ConfigError("E_CONFIG", what, place=place, value=name, action=action)
            if hasattr(operation, "becomes"):
                columns[name] = operation.becomes(columns[name])
    return tuple(columns.values())


def _named(operation: Any) -> tuple[str, ...]:
    """The columns that an operation names."""
    return (*getattr(operation, "columns", ()), *filter(None, [getattr(operation, "column", "")]))


def _standing_twice(config: CleanConfig, valid: ValidSnapshot, ctx: RunContext) -> list[list[int]]:
    """Of each part, the rows that equal an earlier one when drop-duplicates has its turn."""
    at = next((at for at, one in enumerate(config.operations) if isinstance(one, DropDuplicates)), None)
    if at is None:
        return [[] for _ in valid.parts]
    chosen = partial(compared, config.operations[:at], config.operations[at].columns)
    return [rows.tolist() for rows in find_later_rows(ctx, "validate", valid.parts, None, chosen)]


def compared(
    operations: Sequence[Any], columns: tuple[str, ...], table: pa.Table
) -> tuple[pa.Table, NDArray[np.bool_]]:
    """What of the rows is compared once `operations` are done, and which of them are left then."""
    left = np.ones(table.num_rows, bool)
    for operation in operations:
        keeps = operation.keeps(table)
        if keeps is not None:
            left &= np.asarray(keeps.fill_null(False)).astype(bool)
        table = operation.values(table)
    names = [name for name in columns or table.column_names if name not in OWN_COLUMNS]
    return table.select(names), left


def clean_partition(
    store: Store, config: CleanConfig, argument: tuple[Part, tuple[Column, ...], list[int]], folder: Path
) -> dict[str, Any]:
    """Write what of one partition's rows cleaning changes, and count it: rows that go and cells, by operation."""
    part, columns, again = argument
    twice = 0
    given = table = read_rows(store, "validate", part.key)
    rows = np.arange(table.num_rows)
    dropped, changed = dict[str, int](), dict[str, int]()
    for operation in config.operations:
        keeps = operation.keeps(table)
        kept = None if keeps is None else np.asarray(keeps.fill_null(False)).astype(bool)
        if isinstance(operation, DropDuplicates):
            kept = ~np.isin(rows, again)
            twice = int((~kept).sum())
        elif kept is not None:
            dropped[operation.kind] = dropped.get(operation.kind, 0) + int((~kept).sum())
        if kept is not None:
            table, given, rows = table.filter(pa.array(kept)), given.filter(pa.array(kept)), rows[kept]
        before, table = table, operation.values(table)
        if table is not before:
            # What an operation of the user's own rewrites is not said by its fields.
            names = _named(operation) if operation.kind in KINDS else table.column_names
            cells = cells_changed(before, table, names)
            changed[operation.kind] = changed.get(operation.kind, 0) + cells
    table = typed(table, columns)
    differ = [name for name in table.column_names if not table[name].equals(given[name])]
    gone = np.setdiff1d(np.arange(part.rows), rows)
    seen = store.part("validate", part.key).standing()
    meta = write_view(folder, "validate", seen, gone, table.select(differ))
    ledger = Ledger(rows_in=part.rows, rows_out=table.num_rows, deduplicated=twice, dropped=dropped, changed=changed)
    return {"rows": table.num_rows, "ledger": ledger.model_dump(), **meta}
