"""A small sample of each part, kept beside it: what reports, drift and inferred schemas look at."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from components.adapters.snapshot_rows import SAMPLE
from components.contracts.spec import KEY, OWN_COLUMNS
from components.statistics.samples import smallest

LONGEST = 200
"""Characters that are kept of a text."""


def write_sample(table: pa.Table, folder: Path) -> dict[str, Any]:
    """Keep a sample of `table` in `folder`; what the part's record has to say of it."""
    rows, cut = smallest(np.asarray(table[KEY]))
    write_light(light(table.take(pa.array(rows))), folder)
    return {"cut": cut}


def patch_sample(before: pa.Table, cut: int, gone: pa.Array, added: pa.Table, folder: Path) -> dict[str, Any]:
    """Keep what a sample of before (up to `cut`) is without the keys `gone`, and with a sample of `added`."""
    rows, other = smallest(np.asarray(added[KEY]))
    kept = before.filter(pc.invert(pc.is_in(before[KEY], gone)))
    write_light(pa.concat_tables([kept, light(added.take(pa.array(rows)))]), folder)
    return {"cut": min(cut, other)}


def light(table: pa.Table) -> pa.Table:
    """The columns as a report shows them: the size of bytes and lists, the beginning of a text."""
    columns = {}
    for name in [one for one in table.column_names if one == KEY or one not in OWN_COLUMNS]:
        cells = table[name]
        if pa.types.is_binary(cells.type):
            cells = pc.binary_length(cells)
        elif pa.types.is_list(cells.type):
            cells = pc.list_value_length(cells)
        elif pa.types.is_string(cells.type):
            cells = pc.utf8_slice_codeunits(cells, 0, LONGEST)
        columns[name] = cells
    return pa.table(columns)


def write_light(table: pa.Table, folder: Path) -> None:
    """Write a sample's rows."""
    pq.write_table(table, folder / SAMPLE, compression="lz4", write_statistics=False)
