"""The data report, the sample that stands for a snapshot, and how far it moved from the one before."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from components.adapters.pointers import Pointer
from components.adapters.snapshot_rows import SAMPLE, read_rows, read_sample
from components.adapters.store import Record, Store
from components.context import RunContext
from components.contracts.artifacts import RawSnapshot, ValidSnapshot
from components.contracts.errors import DataError, IntegrityError, rebuilt
from components.contracts.spec import KEY
from components.reports.data import data_page
from components.statistics.profile import drift, profile
from components.statistics.samples import among, smallest

if TYPE_CHECKING:
    from components.validate import ValidateConfig

SHOWN = 3
REPORT = "data.html"
PARTS, ROWS = 256, 8192
"""Most parts that are looked at, evenly over all, and most rows of the sample."""


def snapshot_before(ctx: RunContext, raw: str) -> ValidSnapshot | None:
    """The newest result of this recipe's validate that was made of other rows than `raw` (a content)."""
    history = Pointer(ctx.store, f"last/{ctx.name}/{ValidSnapshot.step}")
    for epoch in history.newest_first():
        if epoch.value["inputs"].get("raw") != raw:
            try:
                return ctx.load_key(ValidSnapshot, epoch.value)
            except IntegrityError:
                return None
    return None


def sample_of(store: Store, raw: RawSnapshot) -> pa.Table:
    """A uniform sample of all rows, bytes and lists by their length."""
    parts = raw.parts[:: -(-len(raw.parts) // PARTS) or 1]
    records = [store.part("ingest", part.key).standing() for part in parts]
    tables = [read_sample(store, record) for record in records]
    lots = [np.asarray(table[KEY]) for table in tables]
    # What a part keeps beyond MOST rows hangs on what it was before.
    first = [smallest(one) for one in lots]
    cuts = [min(cut, record.meta["cut"]) for (_, cut), record in zip(first, records, strict=True)]
    chosen = among(lots, cuts, ROWS)
    if not tables:
        return pa.table({})
    names = tables[0].column_names
    kept = [one.filter(pa.array(rows)).select(names) for one, rows in zip(tables, chosen, strict=True)]
    return pa.concat_tables(kept, promote_options="permissive").sort_by(KEY).drop([KEY])


def equal_rows(store: Store, raw: RawSnapshot) -> int:
    """How many rows equal an earlier one, over all parts, by their keys; memory is a key a row."""
    keys = [np.asarray(read_rows(store, "ingest", part.key, [KEY])[KEY]) for part in raw.parts]
    return raw.rows - len(np.unique(np.concatenate(keys))) if keys else 0


def drift_since(
    store: Store, before: ValidSnapshot | None, sample: pa.Table, columns: Sequence[str]
) -> dict[str, float]:
    """How far each column has moved; nothing where there was no snapshot before."""
    if before is None:
        return {}
    record = store.artifact(ValidSnapshot.step, before.fingerprint).standing()
    if SAMPLE not in {file.name for file in record.files}:
        # An older release kept none.
        return {}
    return drift(read_sample(store, record), sample, columns or sample.column_names)


@contextmanager
def report_of_failure(ctx: RunContext, report: str) -> Iterator[None]:
    """Where a check of all rows fails, keep the report outside the store and say where."""
    try:
        yield
    except DataError as error:
        path = ctx.placement.home / "reports" / f"{ctx.name}-data.html"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report)
        action = f"{error.action}; the data report is {path}"
        raise rebuilt(DataError, error.code, error.what, error.place, error.value, error.allowed, action) from None


def report_page(
    config: "ValidateConfig",
    raw: RawSnapshot,
    valid: ValidSnapshot,
    *,
    sample: pa.Table,
    records: Sequence[Record],
    store: Store,
    twice: int | None,
) -> str:
    """The report as one HTML document."""
    unread = [store.part("ingest", part.key).standing() for part in (*raw.aside, *raw.parts)]
    types = {column.name: column.type for column in valid.columns}
    columns = [{**profile(name, sample[name]), "type": types.get(name, "")} for name in sample.column_names]
    assert valid.ledger is not None
    return data_page(
        ledger=valid.ledger,
        twice=twice,
        unread=raw.ledger.quarantined if raw.ledger else 0,
        columns=columns,
        sampled=sample.num_rows,
        drift=valid.drift,
        classes=valid.classes,
        balance=config.balance.column if config.balance else "",
        bad=[line for record in (*unread, *records) for line in record.meta["bad"]][: 20 * SHOWN],
    )
