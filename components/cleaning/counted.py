"""How many cells an operation changed."""

from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc


def cells_changed(before: pa.Table, after: pa.Table, names: Iterable[str]) -> int:
    """Cells of the columns `names` that differ between two tables of the same rows; of another type, all that are."""
    if after is before:
        return 0
    both = {*before.column_names} & {*after.column_names}
    return sum(_differing(before[name], after[name]) for name in both.intersection(names))


def _differing(old: pa.ChunkedArray, new: pa.ChunkedArray) -> int:
    if old.type != new.type:
        return int(len(old) - old.null_count)
    if old.equals(new):
        return 0
    if pa.types.is_nested(old.type):
        return sum(bool(one != other) for one, other in zip(old.to_pylist(), new.to_pylist(), strict=True))
    differ = pc.coalesce(pc.not_equal(old, new), pc.not_equal(pc.is_null(old), pc.is_null(new)))
    found: int = pc.sum(differ).as_py()
    return found
