"""CleanSnapshot → Dataset: split, fitted on the training part only, and sharded.

One pass over the rows: each partition is split by row key, prepared, written to shards and summarised; the partial
states are small and are merged here. Shards do not depend on the merged state, so new data leave old shards alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from components.adapters.shard_files import Ragged, write_shard
from components.adapters.snapshot_rows import read_rows
from components.adapters.store import Store
from components.context import RunContext, summed
from components.contracts.artifacts import CleanSnapshot, Dataset, FittedFeature, Ledger, Part
from components.contracts.config import StepConfig
from components.contracts.errors import ConfigError, DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import FILE, ROW
from components.features.feature import Feature, Prepared, State, merged
from components.features.several import parts_of, together
from components.features.shards import shard_name, write_fit
from components.preprocess.changes import cells_changed
from components.preprocess.columns import check_columns
from components.preprocess.fits import fits_of
from components.preprocess.kept import Kept, dear, keep, kept_states
from components.preprocess.leaks import LeakConfig, check_leaks
from components.preprocess.outliers import OutlierConfig, left_out, write_dropped
from components.preprocess.rebalance import Rebalance, balanced, check_left, classes_left_out
from components.preprocess.reweigh import groups_of, reweighed
from components.preprocess.splitting import fitted_split, split_rows
from components.statistics.keys import SPLITS, TEST, TRAIN, VALIDATION
from components.statistics.splits import Split, SplitConfig, given_parts

DeadColumns = Literal["refuse", "allow"]
MIN_ROWS = {TRAIN: 2, VALIDATION: 1, TEST: 1}
LATER = {"leaks": LeakConfig(), "outliers": (), "rebalance": "none", "dead_columns": "refuse", "refit": 0}
"""What shards do not hang on, as it stands in their keys."""


class PreprocessConfig(StepConfig):
    """Inputs, target and split."""

    features: tuple[Any, ...] = Field(min_length=1)
    target: Any
    split: SplitConfig = SplitConfig()
    leaks: LeakConfig = LeakConfig()
    outliers: tuple[OutlierConfig, ...] = ()
    rebalance: Rebalance = "none"
    reweigh: tuple[str, ...] = ()
    dead_columns: DeadColumns = "refuse"
    refit: int = 0

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        check_names((*self.features, *parts_of(self.target)))
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
        DataError: E_COLUMN_MISSING, E_TOO_FEW_ROWS, E_LABEL, E_SPLIT, E_LEAK.
    """
    check_columns(config, clean)
    bases = {one.name: ctx.base("preprocess", __name__, _alone(config, one)) for one in dear(config.features)}
    kept = kept_states(config.features, bases, clean.content, ctx)

    def build(folder: Path) -> Dataset:
        split = fitted_split(config.split, clean.parts, ctx)
        items = [
            (part.place, digest([part.digest, split.model_dump(mode="json")]), (part, split)) for part in clean.parts
        ]
        parts, records = ctx.parts(
            "preprocess",
            module=__name__,
            # What only concerns which training rows are used, and how often, leaves the shards alone.
            config=config.model_copy(update=LATER),
            work=shard_partition,
            items=items,
            size_bytes=clean.rows * 100,
            native=True,
        )
        rows = {split: sum(record.meta["splits"][split] for record in records) for split in SPLITS}
        _check_rows(rows, config.split)
        given = any(record.meta["given"] for record in records)
        check_leaks(config.leaks, split, config.target.columns, clean.parts, given=given, test_rows=rows[TEST], ctx=ctx)
        targets, groups = parts_of(config.target), groups_of(config.reweigh)
        features = (*config.features, *targets, *groups)
        fits = fits_of(features, [one.name for one in targets], parts, records, ctx)
        partials = [
            {} if feature.name in kept else merged(feature, [one["partial"][feature.name] for one in fits])
            for feature in features
        ]
        fitted = [
            _fit(feature, partial, kept.get(feature.name)) for feature, partial in zip(features, partials, strict=True)
        ]
        inputs, learnt = fitted[: len(config.features)], fitted[len(config.features) :][: len(targets)]
        for one, known in zip(targets, learnt, strict=True):
            _check_labels(one, known, [fit["labels"][one.name] for fit in fits])
        _check_alive(config, inputs)
        target = together(config.target, learnt)
        out = left_out(config.outliers, split, clean.parts, ctx)
        dropped = sum(map(len, out))
        write_dropped(folder, parts, out)
        rows[TRAIN] -= dropped
        _check_rows(rows, config.split)
        lost = [
            classes_left_out(one, known.state, records, out, ctx.store)
            for one, known in zip(targets, learnt, strict=True)
        ]
        for known, gone in zip(learnt, lost, strict=True):
            check_left(known.state, gone)
        rates, weights = balanced(config.rebalance, target.state, lost[0])
        people, training = fitted[-1] if groups else None, list(zip(records, out, strict=True))
        counted = reweighed(people, targets[0], target.state, training, ctx.store) if people else ()
        pairs = [(feature, one.state) for feature, one in zip(features, fitted, strict=True)]
        specs = [feature.spec(state) for feature, state in pairs]
        return Dataset(
            parts=tuple(parts),
            rows=rows,
            features=tuple(inputs),
            target=target,
            inputs=tuple(specs[: len(inputs)]),
            outputs=tuple(specs[len(inputs) :][: len(targets)]),
            split=split.model_dump(mode="json"),
            clean=clean,
            fitted_on={name: one.snapshot for name, one in kept.items()},
            rates=rates,
            weights=weights,
            groups=people,
            group_weights=counted,
            ledger=_with_dropped(summed(records, clean.rows), dropped).model_copy(
                update={"changed": cells_changed(pairs, partials, parts, out=out, ctx=ctx)}
            ),
        )

    known = {"clean": clean.content} | {f"fitted {name}": one.snapshot for name, one in kept.items()}
    dataset = ctx.commit(Dataset, __name__, config, known, build)
    if not ctx.peeking:
        keep(config.features, bases, dataset, ctx)
    return dataset


def shard_partition(store: Store, config: PreprocessConfig, item: tuple[Part, Split], folder: Path) -> dict[str, Any]:
    """Write one partition's shards, a file for each split, with the partial states of its training rows."""
    part, divided = item
    table = read_rows(store, "clean", part.key)
    looked = split_rows(store, part, divided)
    splits = divided.parts(looked)
    targets = parts_of(config.target)
    for target in targets:
        if getattr(target, "missing", "refuse") == "refuse":
            _check_labelled(table, target.columns[:1])
    chosen = {split: splits == split for split in SPLITS}
    stored, partial, dictionaries = {}, {}, {}
    for feature in (*config.features, *targets, *groups_of(config.reweigh)):
        prepared = feature.prepare(table)
        stored[feature.name] = {split: prepared.values[rows] for split, rows in chosen.items()}
        training = Prepared(values=stored[feature.name][TRAIN], dictionaries=prepared.dictionaries)
        partial[feature.name] = feature.fit(training)
        dictionaries[feature.name] = prepared.dictionaries
    write_fit(folder, partial=partial, dictionaries=dictionaries)
    for split in SPLITS:
        write_shard({name: values[split] for name, values in stored.items()}, folder / shard_name(split))
    count = table.num_rows
    ledger = Ledger(rows_in=count, rows_out=count).model_dump()
    return {
        "rows": count,
        "ledger": ledger,
        "splits": {split: int(rows.sum()) for split, rows in chosen.items()},
        "given": bool((given_parts(looked) != "").any()),
    }


def _check_labelled(table: Any, columns: Sequence[str]) -> None:
    for name in columns:
        unlabelled = np.flatnonzero(np.asarray(table[name].is_null()))
        if len(unlabelled):
            row = int(unlabelled[0])
            first = f"{table[FILE][row].as_py()}:{table[ROW][row].as_py()}"
            raise DataError(
                "E_LABEL",
                f"{len(unlabelled)} rows have no label; the first is {first}",
                place="target.column",
                value=name,
                action=f"drop such rows: cleaning: [{{kind: require, columns: [{name}]}}]",
            )


def _with_dropped(ledger: Ledger, rows: int) -> Ledger:
    if not rows:
        return ledger
    return ledger.model_copy(update={"rows_out": ledger.rows_out - rows, "dropped": {"outliers": rows}})


def _alone(config: PreprocessConfig, feature: Feature) -> PreprocessConfig:
    """What the state of one feature hangs on."""
    return config.model_copy(update={**LATER, "features": (feature,), "refit": config.refit})


def _fit(feature: Any, partial: State, kept: Kept | None) -> FittedFeature:
    state = feature.finish(partial) if kept is None else kept.state
    return FittedFeature(config=feature.model_dump(mode="json"), state=state)


def _check_alive(config: PreprocessConfig, fitted: Sequence[FittedFeature]) -> None:
    """Raise E_FEATURE_DEAD where a column has no value, or one alone, in the training part: nothing follows from it."""
    if config.dead_columns == "allow":
        return
    for number, one in enumerate(fitted):
        if one.state.get("dead"):
            raise DataError(
                "E_FEATURE_DEAD",
                f"{len(one.state['dead'])} columns have no value, or one alone, in the training part",
                place=f"features.{number}.columns",
                value=", ".join(one.state["dead"][:5]),
                action="leave them out, or set dead_columns: allow",
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


def _check_labels(target: Feature, fitted: FittedFeature, labels: list[list[list[str]]]) -> None:
    for known in labels:
        found = target.lookup(fitted.state, known)
        # Of ragged codes, one that becomes no index.
        tables = [np.diff(found.offsets) - 1] if isinstance(found, Ragged) else found
        for table, entries in zip(tables, known, strict=False):
            unseen = [entry for entry, index in zip(entries, table, strict=False) if index < 0]
            if unseen:
                classes = fitted.state.get("classes", ())
                numbers = all(one.replace(".", "", 1).lstrip("-").isdigit() for one in classes)
                raise DataError(
                    "E_LABEL",
                    "a class that no training row has",
                    place=f"target.column {target.columns[0]}",
                    value=unseen[0],
                    allowed=", ".join(classes),
                    action="clean the labels, or bring training rows of that class"
                    + ("; what is a number has target: {kind: value}" if numbers else ""),
                )
