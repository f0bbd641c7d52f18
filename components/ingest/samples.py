"""A small sample of each part, kept beside it: what reports, drift and inferred schemas look at."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.adapters.snapshot_rows import write_sample
from components.contracts.spec import FILE, KEY, OWN_COLUMNS, ROW
from components.statistics.keys import Words, row_keys
from components.statistics.samples import EVERY, MOST, smallest

LONGEST = 200
"""Characters that are kept of a text."""
RESERVE = 2 * MOST
"""Rows that are kept of a part: when some of them go, the next ones are at hand."""


def keep_sample(table: pa.Table, folder: Path) -> dict[str, Any]:
    """Keep a sample of `table` in `folder`; what the part's record has to say of it."""
    draws = drawn(table)
    rows, cut = smallest(draws, RESERVE)
    write_sample(light(table.take(pa.array(rows)), draws[rows]), folder)
    return {"cut": cut}


def drawn(table: pa.Table) -> Words:
    """The lot of each row: it hangs on where the row was read too, so that equal rows draw one each."""
    return row_keys(table.select([KEY, FILE, ROW]), seed=3)


def patch_sample(
    before: pa.Table, cut: int, gone: Words, *, added: pa.Table, lots: Words, folder: Path
) -> dict[str, Any] | None:
    """Keep the sample of before (complete up to `cut`) without the lots `gone` and with the rows `added` of `lots`.

    None, and nothing written, where too few rows are left below the cut for it to be the sample of all.
    """
    below = np.flatnonzero(lots < np.uint64(cut)) if cut < EVERY else np.arange(len(lots))
    kept = before.filter(pc.invert(pc.is_in(before[KEY], pa.array(gone))))
    both = pa.concat_tables([kept, light(added.take(pa.array(below)), lots[below]).select(kept.column_names)])
    if cut < EVERY and both.num_rows <= MOST:
        return None
    rows, less = smallest(np.asarray(both[KEY]), RESERVE)
    write_sample(both.take(pa.array(rows)), folder)
    return {"cut": min(cut, less)}


def light(table: pa.Table, lots: Words) -> pa.Table:
    """The columns as a report shows them: the size of bytes and lists, the beginning of a text; and each row's lot."""
    columns = {KEY: pa.chunked_array([lots])}
    for name in [one for one in table.column_names if one not in OWN_COLUMNS]:
        cells = table[name]
        if pa.types.is_binary(cells.type):
            cells = pc.binary_length(cells)
        elif pa.types.is_list(cells.type):
            cells = pc.list_value_length(cells)
        elif pa.types.is_string(cells.type):
            cells = pc.utf8_slice_codeunits(cells, 0, LONGEST)
        columns[name] = cells
    return pa.table(columns)
