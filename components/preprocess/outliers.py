"""Training rows that lie far from the others are left out of training; validation and test rows never are.

The bounds come from the training part alone: quartiles or deviations of each column, or an isolation forest over all of
them (Liu, Ting, Zhou 2008; scikit-learn's) that is grown on a sample. What a model should rather see clipped or flagged
is the number feature's business (`outliers`), because it holds at serving too.
"""

from collections.abc import Sequence
from functools import partial, reduce
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.adapters.snapshot_rows import read_rows
from components.adapters.stores import open_store
from components.context import RunContext
from components.contracts.artifacts import Part
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.placement import Placement
from components.contracts.spec import KEY
from components.preprocess.splitting import STEP, split_rows
from components.statistics.keys import TRAIN
from components.statistics.moments import Moments
from components.statistics.profile import numbers
from components.statistics.quantiles import joined, quantile, summary
from components.statistics.samples import smallest
from components.statistics.splits import Split

SAMPLE = 8192
Values = NDArray[np.float64]


class OutlierConfig(StepConfig):
    """Which training rows are left out."""

    columns: tuple[str, ...] = Field(min_length=1, description="number columns")
    method: Literal["iqr", "z-score", "isolation-forest"] = Field(
        "iqr", description="iqr: beyond factor times the middle half's width; z-score: beyond factor deviations"
    )
    factor: float = Field(3.0, gt=0, description="how far is too far, of the middle half's width or of deviations")
    share: float = Field(0.01, gt=0, lt=0.5, description="isolation-forest: the share of rows that is left out")
    seed: int = Field(0, ge=0, description="isolation-forest: of its trees")


def left_out(
    configs: Sequence[OutlierConfig], split: Split, parts: Sequence[Part], ctx: RunContext
) -> list[NDArray[np.int64]]:
    """Of each part, the positions among its training rows that any of `configs` leaves out."""
    out = [np.empty(0, np.int64) for _ in parts]
    for config in configs:
        found = find_outliers(config, split, parts, ctx)
        out = [np.union1d(one, more) for one, more in zip(out, found, strict=True)]
    return out


def find_outliers(
    config: OutlierConfig, split: Split, parts: Sequence[Part], ctx: RunContext
) -> list[NDArray[np.int64]]:
    """Of each part, the positions among its training rows that are left out."""
    rows = sum(part.rows for part in parts)
    look = partial(_looked, ctx.placement, config, split)
    found = ctx.compute.map(look, list(parts), rows * 100, native=True)
    judge = _forest(config, found) if config.method == "isolation-forest" else _bounds(config, found)
    return list(
        ctx.compute.map(partial(_out, ctx.placement, config, split, judge), list(parts), rows * 100, native=True)
    )


def _training(placement: Placement, config: OutlierConfig, split: Split, part: Part) -> tuple[Values, Any]:
    """float64[training rows, columns], NaN where missing, and the rows' keys."""
    store = open_store(placement)
    table = read_rows(store, STEP, part.key, [*config.columns, KEY])
    columns = []
    for name in config.columns:
        values = numbers(table[name])
        if values is None:
            what = f"{name} is {table[name].type}, no number"
            raise DataError("E_TYPE", what, place="outliers.columns", value=name, action="declare it as one in checks")
        columns.append(values)
    mine = split.parts(split_rows(store, part, split)) == TRAIN
    return np.stack(columns, axis=1)[mine], np.asarray(table[KEY])[mine]


def _looked(placement: Placement, config: OutlierConfig, split: Split, part: Part) -> Any:
    values, keys = _training(placement, config, split, part)
    if config.method == "iqr":
        return [summary(column) for column in values.T]
    if config.method == "z-score":
        return Moments.of(values)
    chosen, _ = smallest(keys, SAMPLE)
    return keys[chosen], values[chosen]


class _Bounds:
    def __init__(self, low: Values, high: Values) -> None:
        self._low, self._high = low, high

    def __call__(self, values: Values) -> NDArray[np.bool_]:
        with np.errstate(invalid="ignore"):
            return np.asarray(((values < self._low) | (values > self._high)).any(axis=1))


def _bounds(config: OutlierConfig, found: Sequence[Any]) -> _Bounds:
    if config.method == "iqr":
        whole = [reduce(joined, [one[at] for one in found]) for at in range(len(config.columns))]
        first, last = (np.array([quantile(one, share) for one in whole]) for share in (0.25, 0.75))
        # Where more than half of the rows have one value there is no middle half to measure by.
        reach = np.where(last > first, config.factor * (last - first), np.inf)
        return _Bounds(first - reach, last + reach)
    moments = reduce(Moments.joined, found)
    reach = config.factor * moments.deviation
    return _Bounds(moments.mean - reach, moments.mean + reach)


class _Forest:
    """Grown trees, their bound, and what stands for a missing number."""

    def __init__(self, trees: Any, middle: Values, bound: float) -> None:
        self._trees, self._middle, self._bound = trees, middle, bound

    def __call__(self, values: Values) -> NDArray[np.bool_]:
        if not len(values):
            return np.zeros(0, bool)
        whole = np.where(np.isnan(values), self._middle, values)
        return np.asarray(self._trees.score_samples(whole) < self._bound)


def _forest(config: OutlierConfig, found: Sequence[Any]) -> "_Forest | _Bounds":
    from sklearn.ensemble import IsolationForest

    keys, values = (np.concatenate([one[at] for one in found]) for at in (0, 1))
    if not len(values):
        return _Bounds(np.full(len(config.columns), -np.inf), np.full(len(config.columns), np.inf))
    sample = values[np.argsort(keys, kind="stable")[:SAMPLE]]
    middle = np.nan_to_num(np.nanmedian(sample, axis=0))
    whole = np.where(np.isnan(sample), middle, sample)
    trees = IsolationForest(random_state=config.seed).fit(whole)
    return _Forest(trees, middle, float(np.quantile(trees.score_samples(whole), config.share)))


def _out(placement: Placement, config: OutlierConfig, split: Split, judge: Any, part: Part) -> NDArray[np.int64]:
    values, _ = _training(placement, config, split, part)
    return np.flatnonzero(judge(values))


def write_dropped(folder: Path, parts: Sequence[Part], dropped: Sequence[NDArray[np.int64]]) -> None:
    """Keep the positions in the artifact's folder, a file for each part that has any."""
    for part, rows in zip(parts, dropped, strict=True):
        if len(rows):
            np.save(folder / f"{part.key}.npy", rows)
