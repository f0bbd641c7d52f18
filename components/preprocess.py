"""CleanSnapshot → Dataset: split, fitted on the training part only, and sharded.

One pass over the rows: each partition is split by row key, prepared, written to shards and summarised; the partial
states are small and are merged here. Shards do not depend on the merged state, so new data leave old shards alone.
"""

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from components.adapters.dataset_store import write_shard
from components.adapters.snapshot_rows import read_rows
from components.adapters.store import Record, Store
from components.context import RunContext, summed
from components.contracts.artifacts import CleanSnapshot, Dataset, FittedFeature, Ledger, Part
from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError, DataError
from components.contracts.spec import FILE, KEY, ROW, SPLIT
from components.features.feature import Feature, Prepared
from components.statistics.keys import SPLITS, TEST, TRAIN, VALIDATION, assign

MIN_ROWS = {TRAIN: 2, VALIDATION: 1, TEST: 1}


class SplitConfig(StepConfig):
    """How rows are divided. A row whose source gives its part keeps it."""

    test: float = Field(0.2, ge=0, lt=1, description="share of rows held out for evaluate, by row key")
    validation: float = Field(0.1, gt=0, lt=1, description="share of the training rows put aside for choosing")


class PreprocessConfig(StepConfig):
    """Inputs, target and split."""

    features: tuple[Any, ...] = Field(min_length=1)
    target: Any
    split: SplitConfig = SplitConfig()

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        check_names((*self.features, self.target))
        return self


def check_names(features: Sequence[Any]) -> None:
    """Raise E_CONFIG where two features share a name: shards and batches are kept by it."""
    names = [feature.name for feature in features]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        raise ConfigError(
            "E_CONFIG", "two features have this name", place="features.name", value=double, action="name one otherwise"
        )


def run(config: PreprocessConfig, clean: CleanSnapshot, *, ctx: RunContext) -> Dataset:
    """Write the shards and fit the features.

    Raises:
        DataError: E_COLUMN_MISSING, E_TOO_FEW_ROWS, E_LABEL.
    """
    _check_columns(config, clean)

    def build(_: Path) -> Dataset:
        items = [(part.place, part.digest, part) for part in clean.parts]
        parts, records = ctx.parts(
            "preprocess", module=__name__, config=config, work=shard_partition, items=items, size_bytes=clean.rows * 100
        )
        rows = {split: sum(record.meta["splits"][split] for record in records) for split in SPLITS}
        _check_rows(rows, config.split)
        fitted = [_fit(feature, records) for feature in (*config.features, config.target)]
        _check_labels(config.target, fitted[-1], records)
        specs = [
            feature.spec(state.state, tuple(records[0].meta["shapes"][feature.name]))
            for feature, state in zip((*config.features, config.target), fitted, strict=True)
        ]
        return Dataset(
            parts=tuple(parts),
            rows=rows,
            features=tuple(fitted[:-1]),
            target=fitted[-1],
            inputs=tuple(specs[:-1]),
            outputs=(specs[-1],),
            split=config.split.model_dump(),
            clean=clean,
            ledger=summed(records, clean.rows),
        )

    return ctx.commit(Dataset, __name__, config, {"clean": clean.content}, build)


def shard_partition(store: Store, config: PreprocessConfig, part: Part, folder: Path) -> dict[str, Any]:
    """Write one partition's shards, one file per split and feature, with the partial states of its training rows."""
    table = read_rows(store, "clean", part.key)
    given = np.asarray(table[SPLIT].cast("string").to_pylist() or [], object)
    splits = assign(np.asarray(table[KEY]), given, config.split.test, config.split.validation)
    unlabelled = np.flatnonzero(np.asarray(table[config.target.columns[0]].is_null()))
    if len(unlabelled):
        row = int(unlabelled[0])
        raise DataError(
            "E_LABEL",
            f"{len(unlabelled)} rows have no label; the first is {table[FILE][row].as_py()}:{table[ROW][row].as_py()}",
            place="target.column",
            value=config.target.columns[0],
            action="drop such rows: cleaning: [{kind: require, columns: [" + config.target.columns[0] + "]}]",
        )
    meta: dict[str, Any] = {"dictionaries": {}, "partial": {}, "shapes": {}}
    for feature in (*config.features, config.target):
        prepared = feature.prepare(table)
        for split in SPLITS:
            write_shard(prepared.values[splits == split], folder / f"{split}.{feature.name}.npy")
        training = Prepared(values=prepared.values[splits == TRAIN], dictionaries=prepared.dictionaries)
        meta["partial"][feature.name] = feature.fit(training)
        meta["dictionaries"][feature.name] = prepared.dictionaries
        meta["shapes"][feature.name] = list(prepared.values.shape[1:])
    rows = table.num_rows
    ledger = Ledger(rows_in=rows, rows_out=rows).model_dump()
    return {"rows": rows, "ledger": ledger, "splits": {split: int((splits == split).sum()) for split in SPLITS}, **meta}


def _fit(feature: Any, records: list[Record]) -> FittedFeature:
    partial = reduce(feature.merge, [record.meta["partial"][feature.name] for record in records])
    return FittedFeature(config=feature.model_dump(mode="json"), state=feature.finish(partial))


def _check_columns(config: PreprocessConfig, clean: CleanSnapshot) -> None:
    names = [column.name for column in clean.columns]
    places = [f"features.{number}" for number in range(len(config.features))]
    for place, feature in zip([*places, "target"], (*config.features, config.target), strict=True):
        for column in feature.columns:
            if column not in names:
                raise DataError(
                    "E_COLUMN_MISSING",
                    "the cleaned rows have no such column",
                    place=f"{place}.column",
                    value=column,
                    allowed=", ".join(names),
                    action="correct the name",
                )


def _check_rows(rows: dict[str, int], split: SplitConfig) -> None:
    for part, least in MIN_ROWS.items():
        if rows[part] < least:
            raise DataError(
                "E_TOO_FEW_ROWS",
                f"the {part} part has {rows[part]} rows of {sum(rows.values())}",
                place="split",
                value=split.model_dump(),
                allowed=f"at least {least}",
                action="bring more data or change split.test and split.validation",
            )


def _check_labels(target: Feature, fitted: FittedFeature, records: list[Record]) -> None:
    for record in records:
        for table, entries in zip(
            target.lookup(fitted.state, record.meta["dictionaries"][target.name]),
            record.meta["dictionaries"][target.name],
            strict=False,
        ):
            unseen = [entry for entry, index in zip(entries, table, strict=False) if index < 0]
            if unseen:
                raise DataError(
                    "E_LABEL",
                    "a class that no training row has",
                    place=f"target.column {target.columns[0]}",
                    value=unseen[0],
                    allowed=", ".join(fitted.state["classes"]),
                    action="clean the labels, or bring training rows of that class",
                )
