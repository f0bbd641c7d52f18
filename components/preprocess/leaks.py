"""Rows of the test part that training has seen too: the same row, a near copy, the same group, or a later time."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from pydantic import Field

from components.adapters.snapshot_rows import read_rows
from components.adapters.stores import open_store
from components.context import RunContext
from components.contracts.artifacts import Part
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.placement import Placement
from components.contracts.spec import FILE, KEY, OWN_COLUMNS, ROW
from components.preprocess.splitting import STEP, split_rows
from components.statistics.keys import TEST, row_keys
from components.statistics.near import near_keys
from components.statistics.profile import numbers
from components.statistics.splits import Split

SHOWN = 3
NOBODY = np.uint64(0)
"""What no group's key is taken to be."""


class LeakConfig(StepConfig):
    """What of the test part training may not have seen; E_LEAK from which share of the test rows on."""

    rows: bool = Field(True, description="the same row")
    near: bool = Field(False, description="also nearly the same: text by its words, images by their outline")
    group: str = Field("", description="a column whose values may not stand in both parts")
    time: str = Field("", description="a column: no test row may be earlier than the last of the training part")
    limit: float = Field(0.01, ge=0, le=1, description="share of the test rows that end the run; below it is a warning")


BY_KEY = ("random", "k-fold")
"""Ways to divide rows that look at nothing but their keys."""


def check_leaks(
    config: LeakConfig,
    split: Split,
    targets: Sequence[str],
    parts: Sequence[Part],
    *,
    given: bool,
    test_rows: int,
    ctx: RunContext,
) -> dict[str, int]:
    """How many test rows each kind of leak has; one that is over the limit is an error.

    `given` says whether the source gives the part of any row.

    Raises:
        DataError: E_LEAK, with how many and the first ones.
    """
    found: dict[str, int] = {}
    for kind in _kinds(config):
        if kind == "rows" and (split.method in BY_KEY or (split.method == "hash" and not given)):
            # Rows with the same cells have the same key, and so are in the same part.
            found[kind] = 0
            continue
        work = partial(_keys, ctx.placement, split, config, kind=kind, targets=targets)
        rows = sum(part.rows for part in parts)
        looked = ctx.compute.map(work, list(parts), rows * 100, native=True)
        seen = np.unique(np.concatenate([training for training, _ in looked])) if looked else np.empty(0)
        if kind == "time":
            # A row without a time is neither early nor late.
            last = max((np.nanmax(training) for training, _ in looked if not np.isnan(training).all()), default=-np.inf)
            again = [np.flatnonzero(test < last) for _, test in looked]
            count = sum(map(len, again))
        else:
            again = [np.flatnonzero(_among(test, seen)) for _, test in looked]
            count = sum(map(len, again))
        found[kind] = count
        if count:
            _say(config, split, parts, again, kind=kind, count=count, test_rows=test_rows, ctx=ctx)
    return found


def _kinds(config: LeakConfig) -> list[str]:
    given = {"rows": config.rows, "near": config.near, "group": config.group, "time": config.time}
    return [kind for kind, asked in given.items() if asked]


def _keys(
    placement: Placement, split: Split, config: LeakConfig, part: Part, *, kind: str, targets: Sequence[str]
) -> tuple[Any, Any]:
    """What is compared, of the training rows and of the test rows."""
    store = open_store(placement)
    is_test = split.parts(split_rows(store, part, split)) == TEST
    if kind in {"group", "time"}:
        name = config.group if kind == "group" else config.time
        table = read_rows(store, STEP, part.key, [name])
        if kind == "group":
            # A missing group is nobody's; the test part's positions stay.
            keys, known = row_keys(table), np.asarray(table[name].is_valid())
            return keys[~is_test & known], np.where(known, keys, NOBODY)[is_test]
        values: Any = numbers(table[name])
        if values is None:
            raise DataError("E_SPLIT", "no time and no number", place="leaks.time", value=name, action="name another")
    elif kind == "rows":
        values = np.asarray(read_rows(store, STEP, part.key, [KEY])[KEY])
    else:
        values = near_keys(read_rows(store, STEP, part.key).drop([*OWN_COLUMNS, *targets]))
    return values[~is_test], values[is_test]


def _among(values: Any, known: Any) -> Any:
    """Which of the values are in the rising `known`: sorted once, however many partitions ask."""
    if not len(known):
        return np.zeros(len(values), bool)
    return known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values


SAYS = {
    "rows": "test rows have the cells of a training row",
    "near": "test rows are nearly a training row",
    "group": "test rows have a group that training rows have",
    "time": "test rows are earlier than the last training row",
}


def _say(
    config: LeakConfig,
    split: Split,
    parts: Sequence[Part],
    again: list[Any],
    *,
    kind: str,
    count: int,
    test_rows: int,
    ctx: RunContext,
) -> None:
    examples: list[str] = []
    for part, rows in zip(parts, again, strict=False):
        if len(rows) and len(examples) < SHOWN:
            table = split_rows(ctx.store, part, split)
            test = np.flatnonzero(split.parts(table) == TEST)[rows[: SHOWN - len(examples)]]
            examples += [f"{table[FILE][int(row)].as_py()}:{table[ROW][int(row)].as_py()}" for row in test]
    what = f"{count} {SAYS[kind]}" + (f", such as {', '.join(examples)}" if examples else "")
    if count > config.limit * test_rows:
        raise DataError(
            "E_LEAK",
            what,
            place=f"leaks.{kind}",
            allowed=f"at most {config.limit:.2%} of {test_rows} test rows, by leaks.limit",
            action="drop duplicates (cleaning: [{kind: drop-duplicates}]), or divide by split.method: grouped or time",
        )
    ctx.progress.warned(what)
