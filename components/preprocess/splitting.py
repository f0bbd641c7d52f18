"""The split of a snapshot: what it takes from all rows, and whether something of the test part is in training too."""

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from components.adapters.snapshot_rows import read_seen
from components.adapters.stores import open_store
from components.context import RunContext
from components.contracts.artifacts import Part
from components.contracts.errors import DataError
from components.contracts.placement import Placement
from components.contracts.spec import KEY, SPLIT
from components.statistics.keys import TEST_SALT, VALIDATION, VALIDATION_SALT
from components.statistics.splits import Split, SplitConfig, cuts_by_class, cuts_of_fold, positions, texts

STEP = "clean"
MOST_CLASSES = 10_000
NEVER = 1e300
"""A time that no row has: JSON knows no infinity."""


def fitted_split(config: SplitConfig, parts: Sequence[Part], ctx: RunContext) -> Split:
    """The split with the bounds that it needs of all rows; memory is two numbers a row where it needs any."""
    plain = Split.model_validate(config.model_dump())
    if config.method == "stratified":
        found = _of_parts(_classes, plain, parts, ctx)
        names = sorted({name for one in found for name in one})
        joined = {
            name: tuple(np.concatenate([one[name][at] for one in found if name in one]) for at in (0, 1))
            for name in names
        }
        return plain.model_copy(update={"cuts": cuts_by_class(config, names, joined)})  # type: ignore[arg-type]
    if config.method == "k-fold":
        places = np.concatenate([np.empty(0), *_of_parts(_places, plain, parts, ctx)])
        return plain.model_copy(update={"cuts": cuts_of_fold(config, places)})
    if config.method == "given":
        return plain.model_copy(update={"validation_given": any(_of_parts(_has_validation, plain, parts, ctx))})
    if config.method == "time":
        times = np.sort(np.concatenate([np.empty(0), *_of_parts(_times, plain, parts, ctx)]))
        if config.test_from:
            when = datetime.fromisoformat(config.test_from)
            test = (when if when.tzinfo else when.replace(tzinfo=UTC)).timestamp()
        else:
            test = _from(times, config.test)
        return plain.model_copy(update={"cuts": {"": (test, _from(times[times < test], config.validation))}})
    return plain


def split_rows(store: Any, part: Part, config: SplitConfig) -> pa.Table:
    """What the split looks at, of the rows of a cleaned part, as they were validated."""
    return read_seen(store, STEP, part.key, config.needs())


def _from(times: Any, share: float) -> float:
    """The time from which on the last `share` of the rows are."""
    last = round(share * len(times))
    return float(times[len(times) - last]) if 0 < last <= len(times) else NEVER


def _of_parts(work: Any, split: Split, parts: Sequence[Part], ctx: RunContext) -> list[Any]:
    rows = sum(part.rows for part in parts)
    return ctx.compute.map(partial(work, ctx.placement, split), list(parts), rows * 20, native=True)


def _classes(placement: Placement, split: Split, part: Part) -> dict[str, tuple[Any, Any]]:
    table = split_rows(open_store(placement), part, split)
    keys = np.asarray(table[KEY])
    names = texts(table[split.column])
    first, second = positions(keys, TEST_SALT), positions(keys, VALIDATION_SALT)
    found, codes = np.unique(names.astype(str), return_inverse=True)
    if len(found) > MOST_CLASSES:
        raise DataError(
            "E_SPLIT",
            f"more than {MOST_CLASSES} values in one part are no classes",
            place="split.column",
            value=split.column,
            action="name a column of few values, or divide by another method",
        )
    order = np.argsort(codes, kind="stable")
    ends = np.cumsum(np.bincount(codes, minlength=len(found)))[:-1]
    return dict(
        zip(found.tolist(), zip(np.split(first[order], ends), np.split(second[order], ends), strict=True), strict=True)
    )


def _places(placement: Placement, split: Split, part: Part) -> Any:
    return split.places(np.asarray(split_rows(open_store(placement), part, split)[KEY]))


def _times(placement: Placement, split: Split, part: Part) -> Any:
    return split.times(split_rows(open_store(placement), part, split))


def _has_validation(placement: Placement, split: Split, part: Part) -> bool:
    table = split_rows(open_store(placement), part, split)
    return bool((texts(table[split.column or SPLIT]) == VALIDATION).any())
