"""ValidSnapshot → CleanSnapshot: the recipe's operations, then the cast to the declared types. Nothing is fitted."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from components.adapters.snapshot_rows import read_rows, write_view
from components.adapters.store import Store
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
            "clean", module=__name__, config=config, work=clean_partition, items=items, size_bytes=size, native=True
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
    """Write what of one partition's rows cleaning changes; `dropped` counts the rows that go, by operation."""
    part, columns = argument
    given = table = read_rows(store, "validate", part.key)
    rows, dropped = np.arange(table.num_rows), dict[str, int]()
    for operation in config.operations:
        table = operation.values(table)
        keeps = operation.keeps(table)
        if keeps is not None:
            kept = np.asarray(keeps.fill_null(False)).astype(bool)
            dropped[operation.kind] = dropped.get(operation.kind, 0) + int((~kept).sum())
            table, given, rows = table.filter(pa.array(kept)), given.filter(pa.array(kept)), rows[kept]
    table = typed(table, columns)
    changed = [name for name in table.column_names if not table[name].equals(given[name])]
    gone = np.setdiff1d(np.arange(part.rows), rows)
    seen = store.part("validate", part.key).standing()
    meta = write_view(folder, "validate", seen, gone, table.select(changed))
    ledger = Ledger(rows_in=part.rows, rows_out=table.num_rows, dropped=dropped)
    return {"rows": table.num_rows, "ledger": ledger.model_dump(), **meta}
