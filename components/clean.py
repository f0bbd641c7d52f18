"""ValidSnapshot → CleanSnapshot: the recipe's operations, then the cast to the declared types. Nothing is fitted."""

from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from components.adapters.store import Store
from components.adapters.tables import read_table, write_table
from components.cleaning.typed import typed
from components.context import RunContext, summed
from components.contracts.artifacts import CleanSnapshot, Ledger, Part, ValidSnapshot
from components.contracts.config import StepConfig, identity
from components.contracts.fingerprint import digest
from components.contracts.spec import Column


class CleanConfig(StepConfig):
    """The operations, in order."""

    operations: tuple[Any, ...] = ()


def run(config: CleanConfig, valid: ValidSnapshot, *, ctx: RunContext) -> CleanSnapshot:
    """Clean every partition."""

    def build(_: Path) -> CleanSnapshot:
        items = [
            (part.place, digest([part.digest, identity(valid.columns)]), (part, valid.columns)) for part in valid.parts
        ]
        size = valid.rows * 100
        parts, records = ctx.parts(
            "clean", module=__name__, config=config, work=clean_partition, items=items, size_bytes=size
        )
        operations = tuple(operation.model_dump(mode="json") for operation in config.operations)
        return CleanSnapshot(
            columns=valid.columns,
            parts=tuple(parts),
            operations=operations,
            valid=valid,
            ledger=summed(records, valid.rows),
        )

    return ctx.commit(CleanSnapshot, __name__, config, {"valid": valid.content}, build)


def clean_partition(
    store: Store, config: CleanConfig, argument: tuple[Part, tuple[Column, ...]], folder: Path
) -> dict[str, Any]:
    """Write one partition's cleaned rows; `dropped` counts the others by operation."""
    part, columns = argument
    record = store.part("validate", part.key).standing()
    table = read_table(store.open(record, "rows.parquet"))
    rows_in, dropped = table.num_rows, dict[str, int]()
    for operation in config.operations:
        table = operation.values(table)
        keeps = operation.keeps(table)
        if keeps is not None:
            gone = table.num_rows - (pc.sum(keeps).as_py() or 0)
            dropped[operation.kind] = dropped.get(operation.kind, 0) + gone
            table = table.filter(keeps)
    table = typed(table, columns)
    write_table(table, folder / "rows.parquet")
    ledger = Ledger(rows_in=rows_in, rows_out=table.num_rows, dropped=dropped)
    return {"rows": table.num_rows, "ledger": ledger.model_dump()}
