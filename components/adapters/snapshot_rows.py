"""The rows of a snapshot's part: an Arrow file, or another part with rows left out, put in, or columns replaced.

A step that looks at rows and changes few of them writes no copy: its part names the part that it saw (`of`), the rows
that are gone, and the columns that differ. The part's digest covers the digest of what it saw. Ingest does the same
with the part that a group of files had before some of them changed: its part says which rows came new.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from components.adapters.arrow_files import read_table, write_table
from components.adapters.store import Record, Store
from components.contracts.spec import KEY

FORMAT = 3
ROWS, VIEW, GONE = "rows.arrow", "view.json", "gone.npy"
ADDED, SAMPLE = "added.arrow", "sample.arrow"


def write_rows(table: pa.Table, folder: Path, name: str = ROWS) -> None:
    """Write a part's own rows."""
    write_table(table, folder / name)


def write_view(
    folder: Path, step: str, seen: Record, gone: NDArray[np.int64], replaced: pa.Table | None = None
) -> dict[str, Any]:
    """Write a part that is `seen`, a part of `step`, without the rows `gone` and with the columns of `replaced`.

    `replaced` has a row for each row that is left. Returns what the part's record has to say.
    """
    (folder / VIEW).write_text(json.dumps({"of": seen.content}))
    if len(gone):
        np.save(folder / GONE, np.asarray(gone, np.int64))
    if replaced is not None and replaced.num_columns:
        write_rows(replaced, folder)
    return {"of": _named(step, seen)}


def _named(step: str, seen: Record) -> dict[str, str]:
    return {"step": step, "key": seen.entry.rpartition("/")[2]}


def write_patch(
    folder: Path, step: str, before: Record, gone: NDArray[np.int64], *, added: pa.Table, places: NDArray[np.int64]
) -> dict[str, Any]:
    """Write a part that is `before` without the rows `gone` and with those of `added`, which then are rows `places`.

    Returns what the part's record has to say.
    """
    write_rows(added, folder, ADDED)
    # They are few, and a file less is made durable faster.
    return {"of": _named(step, before), "gone": gone.tolist(), "places": places.tolist()}


def read_rows(store: Store, step: str, key: str, columns: list[str] | None = None) -> pa.Table:
    """The rows of a committed part; only `columns`, where they are given."""
    record = store.part(step, key).standing()
    names = {file.name for file in record.files}
    of = record.meta.get("of")
    if of is None:
        return read_table(store.open(record, ROWS), columns)
    if ADDED in names:
        return _patched(store, record, columns)
    own = read_table(store.open(record, ROWS), None) if ROWS in names else None
    if own is not None and columns is not None:
        own = own.select([name for name in own.column_names if name in columns])
    mine = set(own.column_names) if own is not None else set()
    below = None if columns is None else [one for one in columns if one not in mine]
    # A table without columns has no rows: one column says how many there are.
    table = read_rows(store, of["step"], of["key"], below if below is None or below else [KEY])
    if GONE in names:
        table = without(table, np.load(store.open(record, GONE)))
    for name in own.column_names if own is not None else ():
        cells = own[name]  # type: ignore[index]
        at = table.column_names.index(name) if name in table.column_names else None
        table = table.append_column(name, cells) if at is None else table.set_column(at, name, cells)
    return table if columns is None else table.select(columns)


def _patched(store: Store, record: Record, columns: list[str] | None) -> pa.Table:
    """The rows of a part that patches another, which may be a patch too: gathered at once."""
    patches = []
    while ADDED in {file.name for file in record.files}:
        patches.append(record)
        of = record.meta["of"]
        record = store.part(of["step"], of["key"]).standing()
    table = read_rows(store, of["step"], of["key"], columns)
    tables, rows, count = [table], np.arange(table.num_rows), table.num_rows
    for one in reversed(patches):
        added = read_table(store.open(one, ADDED), table.column_names)
        new = np.arange(count, count + added.num_rows)
        left = np.delete(rows, np.array(one.meta["gone"], np.int64))
        rows = _placed(left, new, np.array(one.meta["places"], np.int64))
        count += added.num_rows
        tables.append(added)
    return _gathered(tables, rows)


def _gathered(tables: Sequence[pa.Table], rows: NDArray[np.int64]) -> pa.Table:
    """The rows, counted through all tables. What is not among them is left behind before tables are joined."""
    left, start = [], 0
    place = np.argsort(np.argsort(rows))
    for table in tables:
        end = start + table.num_rows
        left.append(table.take(pa.array(np.sort(rows[(rows >= start) & (rows < end)]) - start)))
        start = end
    return pa.concat_tables(left).unify_dictionaries().take(pa.array(place))


def _placed(rows: NDArray[np.int64], new: NDArray[np.int64], places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Both in their order, the `new` ones at `places`."""
    is_new = np.zeros(len(rows) + len(new), bool)
    is_new[places] = True
    found = np.empty(len(is_new), np.int64)
    found[is_new], found[~is_new] = new, rows
    return found


def write_sample(table: pa.Table, folder: Path) -> None:
    """Write the sample that lies beside a part or an artifact."""
    write_rows(table, folder, SAMPLE)


def read_sample(store: Store, record: Record) -> pa.Table:
    """The sample that lies beside a part or an artifact."""
    return read_table(store.open(record, SAMPLE))


def without(table: pa.Table, gone: NDArray[np.int64]) -> pa.Table:
    """The rows that are not `gone`."""
    kept = np.ones(table.num_rows, bool)
    kept[gone] = False
    return table.filter(pa.array(kept))


def merged(table: pa.Table, gone: NDArray[np.int64], added: pa.Table, places: NDArray[np.int64]) -> pa.Table:
    """The rows of `table` that are not `gone` in their order, and those of `added` at `places`."""
    rows, new = np.arange(table.num_rows), np.arange(table.num_rows, table.num_rows + added.num_rows)
    return _gathered([table, added.select(table.column_names)], _placed(np.delete(rows, gone), new, places))


def read_seen(store: Store, step: str, key: str, columns: list[str]) -> pa.Table:
    """The rows of a part that is a view, with `columns` as the part had them that it is a view of."""
    record = store.part(step, key).standing()
    of = record.meta["of"]
    table = read_rows(store, of["step"], of["key"], columns)
    if GONE in {file.name for file in record.files}:
        table = without(table, np.load(store.open(record, GONE)))
    return table
