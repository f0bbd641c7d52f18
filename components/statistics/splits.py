"""Which part each row belongs to: training, validation or test. Whoever has the rows gets the same answer.

By default it hangs on the digest of the row's own cells (statistics/keys.py): a row that was ever in the test part
stays there while data grow. Other ways need figures of all rows (`cuts`), which preprocess finds once and keeps with
the split; they look at rows as they were validated, before cleaning.
"""

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import FILE, KEY, ROW, SPLIT
from components.statistics.keys import (
    NAMES,
    SPLITS,
    TEST,
    TEST_SALT,
    TRAIN,
    VALIDATION,
    VALIDATION_SALT,
    Words,
    assign,
    mix,
    row_keys,
)
from components.statistics.profile import numbers

Parts = NDArray[Any]
Cuts = dict[str, tuple[float, float]]
"""For `stratified` the bounds of each class; of "" for `time` those of the test part, then of the validation part, and
for `k-fold` where the fold begins and ends."""


class SplitConfig(StepConfig):
    """How rows are divided."""

    method: Literal["hash", "random", "stratified", "grouped", "time", "given", "k-fold"] = Field(
        "hash",
        description="hash: by the row's cells, stable while data grow; a row whose source gives its part keeps it. "
        "random: the same by seed. stratified: equal shares of each value of column. grouped: rows that share column "
        "stay together. time: the last rows by column. given: by the source, or column. k-fold: fold of folds",
    )
    test: float = Field(0.2, ge=0, lt=1, description="share of rows held out for evaluate")
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training rows put aside for choosing")
    column: str = Field("", description="what stratified, grouped, time and given look at")
    test_from: str = Field("", description="time: the test part begins here (ISO 8601), instead of by its share")
    seed: int = Field(0, ge=0, description="random, k-fold: another seed gives other parts")
    folds: int = Field(5, ge=2, le=100, description="k-fold: into how many folds")
    fold: int = Field(0, ge=0, description="k-fold: the one that is the test part, counted from 0")

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.method in {"stratified", "grouped", "time"} and not self.column:
            raise ValueError(f"{self.method} needs column")
        if self.column and self.method in {"hash", "random", "k-fold"}:
            raise ValueError(f"{self.method} looks at no column")
        if self.test_from and self.method != "time":
            raise ValueError("test_from belongs to time")
        if self.test_from:
            datetime.fromisoformat(self.test_from)
        if self.fold >= self.folds:
            raise ValueError(f"there are folds 0 to {self.folds - 1}")
        return self

    def needs(self) -> list[str]:
        """The columns that have to be read to divide rows."""
        return [KEY, SPLIT, FILE, ROW, *filter(None, [self.column])]


class Split(SplitConfig):
    """The same, with what it takes from all rows."""

    cuts: Cuts = Field({}, description="see Cuts")
    validation_given: bool = Field(False, description="given: whether some row says that it is for validation")

    def parts(self, table: pa.Table, *, strict: bool = True) -> Parts:
        """The part of each row.

        A row that has no time, or no part that is known, is an error, or if not `strict` in no part ("").

        Raises:
            DataError: E_SPLIT.
        """
        if self.method in {"time", "given"} and not strict:
            sound = self.sound(table)
            parts = np.full(table.num_rows, "", NAMES)
            parts[sound] = self.parts(table.filter(pa.array(sound)))
            return parts
        if self.column and self.column not in table.column_names:
            raise DataError(
                "E_COLUMN_MISSING",
                "rows cannot be divided without it",
                place="split.column",
                value=self.column,
                action="correct the name, or the source",
            )
        keys = np.asarray(table[KEY])
        nothing = np.full(len(keys), "", NAMES)
        if self.method == "hash":
            return assign(keys, given_parts(table), self.test, self.validation)
        if self.method == "grouped":
            # Validation and test by the same group, with salts of their own: no group is in two parts.
            return assign(row_keys(table.select([self.column])), nothing, self.test, self.validation)
        if self.method == "random":
            return assign(_seeded(keys, self.seed), nothing, self.test, self.validation)
        if self.method == "k-fold":
            return self._fold(_seeded(keys, self.seed))
        return {"stratified": self._stratified, "time": self._by_time, "given": self._given}[self.method](table, keys)

    def _fold(self, keys: Words) -> Parts:
        parts = assign(keys, np.full(len(keys), TRAIN, NAMES), 0.0, self.validation)
        places, (low, high) = positions(keys, TEST_SALT), self.cuts[""]
        parts[(places >= low) & (places < high)] = TEST
        return parts

    def places(self, keys: Words) -> NDArray[np.float64]:
        """Where in [0, 1) each key falls for `k-fold`."""
        return positions(_seeded(keys, self.seed), TEST_SALT)

    def _stratified(self, table: pa.Table, keys: Words) -> Parts:
        classes = texts(table[self.column])
        bounds = np.array([self.cuts.get(name, (self.test, self.validation)) for name in classes]).reshape(-1, 2)
        parts = np.full(len(keys), TRAIN, NAMES)
        parts[positions(keys, VALIDATION_SALT) < bounds[:, 1]] = VALIDATION
        parts[positions(keys, TEST_SALT) < bounds[:, 0]] = TEST
        return parts

    def _by_time(self, table: pa.Table, keys: Words) -> Parts:
        times = self.times(table)
        test, validation = self.cuts[""]
        parts = np.full(len(keys), TRAIN, NAMES)
        parts[times >= validation] = VALIDATION
        parts[times >= test] = TEST
        return parts

    def sound(self, table: pa.Table) -> NDArray[np.bool_]:
        """bool[rows]: whether a row has what says where it belongs."""
        if self.method == "time":
            times = numbers(table[self.column])
            return np.zeros(table.num_rows, bool) if times is None else ~np.isnan(times)
        return np.isin(texts(table[self.column or SPLIT]), SPLITS)

    def times(self, table: pa.Table) -> NDArray[np.float64]:
        """Each row's time in seconds since 1970, or its number."""
        times = numbers(table[self.column])
        if times is None:
            raise DataError(
                "E_SPLIT",
                f"{self.column} is {table[self.column].type}, no time and no number",
                place="split.column",
                action=f"declare it: checks.columns.{self.column}: {{type: timestamp, timezone: …}}",
            )
        _refuse(np.isnan(times), table, "has no time", "drop such rows: cleaning: [{kind: require, …}], or checks")
        return times

    def _given(self, table: pa.Table, keys: Words) -> Parts:
        given = texts(table[self.column or SPLIT])
        what = f"is in no part; {self.column or 'the source'} says train, validation or test"
        _refuse(~np.isin(given, SPLITS), table, what, "correct the data, or choose another split.method")
        if self.validation_given:
            return given
        return assign(keys, given, 0.0, self.validation)


def cuts_by_class(split: SplitConfig, classes: Iterable[str], positions_of: Mapping[str, tuple[Any, Any]]) -> Cuts:
    """Bounds that give every class its shares to the row; of each class the rows' two positions."""
    found = {}
    for name in classes:
        first, second = positions_of[name]
        test = _bound(first, round(split.test * len(first)))
        left = second[first >= test]
        found[name] = (test, _bound(left, round(split.validation * len(left))))
    return found


def cuts_of_fold(split: SplitConfig, places: NDArray[np.float64]) -> Cuts:
    """The bounds between which the fold's rows fall: folds are equal but for one row."""
    low, high = (_bound(places, len(places) * one // split.folds) for one in (split.fold, split.fold + 1))
    return {"": (low, high)}


def _bound(values: NDArray[np.float64], count: int) -> float:
    """What `count` of the values are below."""
    return float(np.partition(values, count)[count]) if count < len(values) else 1.0


def positions(keys: Words, salt: int) -> NDArray[np.float64]:
    """Where in [0, 1) each key falls."""
    return np.asarray(mix(keys ^ np.uint64(salt)).astype(np.float64) / 2.0**64)


def _seeded(keys: Words, seed: int) -> Words:
    return mix(keys ^ mix(np.full(1, seed, np.uint64)))


def given_parts(table: pa.Table) -> Parts:
    """What the source says of each row: train, test, or "" where it says nothing."""
    cells = table[SPLIT].combine_chunks()
    if not pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_encode()
    known = np.array([*cells.dictionary.to_pylist(), ""], NAMES)
    codes: Any = cells.indices.fill_null(len(known) - 1)
    found: Parts = known[np.asarray(codes)]
    return found


def texts(cells: pa.ChunkedArray) -> Parts:
    """The cells as text, "" where missing.

    Raises:
        DataError: E_SPLIT, they are lists or bytes.
    """
    if pa.types.is_nested(cells.type) or pa.types.is_binary(cells.type):
        what = f"{cells.type} cells say of no row where it belongs"
        raise DataError("E_SPLIT", what, place="split.column", action="name a column of text, numbers or truths")
    return np.asarray(["" if one is None else one for one in cells.cast(pa.string()).to_pylist()] or [], object)


def _refuse(wrong: NDArray[np.bool_], table: pa.Table, what: str, action: str) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        place = f"{table[FILE][row].as_py()}:{table[ROW][row].as_py()}"
        raise DataError("E_SPLIT", f"{int(wrong.sum())} rows: the row {what}", place=place, action=action)
