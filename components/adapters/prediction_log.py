"""Where a server's prediction log lies in a store, and its parts."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq

from components.adapters.store import Record, Store

ROWS = "rows.parquet"
LOGS, TIME = "served-", "%Y%m%dT%H%M%S"


def log_name(model: str) -> str:
    """Where the parts of a model's log lie in a store."""
    return LOGS + model


def began(key: str) -> datetime:
    """When the first row of a part came."""
    return datetime.strptime(key.partition("-")[0], TIME).replace(tzinfo=UTC)


def log_records(store: Store, model: str, since: datetime) -> Iterator[Record]:
    """The parts of a model's log that were begun at `since` or later, oldest first."""
    step = log_name(model)
    for key in store.files.names(f"{step}/parts"):
        record = store.part(step, key).record() if began(key) >= since else None
        if record is not None:
            yield record


def logged(store: Store, model: str, since: datetime) -> Iterator[tuple[Record, pa.Table]]:
    """The same with their rows."""
    for record in log_records(store, model, since):
        yield record, log_rows(store, record)


def log_rows(store: Store, record: Record) -> pa.Table:
    """The rows of a part."""
    return pq.read_table(store.open(record, ROWS), page_checksum_verification=True)
