"""What parts know of their features, merged in runs of parts: a run of which no part changed is not merged again."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from components.adapters.store import Record, Store
from components.context import RunContext
from components.contracts.artifacts import Dataset, Ledger, Part
from components.contracts.config import StepConfig
from components.contracts.fingerprint import digest
from components.features.feature import merged
from components.features.shards import read_fit, write_fit

RUN = 16
"""Parts that are merged at a time."""


class Fits(StepConfig):
    """The features, and which of them are targets."""

    features: tuple[Any, ...]
    targets: tuple[str, ...]


def fits_of(
    features: Sequence[Any], targets: Sequence[str], parts: Sequence[Part], records: Sequence[Record], ctx: RunContext
) -> list[dict[str, Any]]:
    """Some states that are all parts' together: `partial` by feature, and `labels`, the dictionaries of each target."""
    if len(parts) <= RUN:
        return [_of_part(targets, ctx.store, record) for record in records]
    runs = [parts[start : start + RUN] for start in range(0, len(parts), RUN)]
    items = [
        (f"{run[0].place} and on", digest([part.digest for part in run]), [part.key for part in run]) for run in runs
    ]
    _, made = ctx.parts(
        Dataset.step, module=__name__, config=Fits(features=tuple(features), targets=tuple(targets)), work=merge_fits,
        items=items, size_bytes=0, shown="preprocess", what="fitted",
    )  # fmt: skip
    return [read_fit(ctx.store, record) for record in made]


def merge_fits(store: Store, config: Fits, keys: list[str], folder: Path) -> dict[str, Any]:
    """Write the merged state of a run of parts."""
    records = [store.part(Dataset.step, key).standing() for key in keys]
    found = [_of_part(config.targets, store, record) for record in records]
    partial = {
        feature.name: merged(feature, [one["partial"][feature.name] for one in found]) for feature in config.features
    }
    labels = {
        name: [sorted(set().union(*entries)) for entries in zip(*(one["labels"][name] for one in found), strict=True)]
        for name in config.targets
    }
    write_fit(folder, partial=partial, labels=labels)
    return {"rows": sum(record.meta["rows"] for record in records), "ledger": Ledger().model_dump()}


def _of_part(targets: Sequence[str], store: Store, record: Record) -> dict[str, Any]:
    fit = read_fit(store, record)
    return {"partial": fit["partial"], "labels": {name: fit["dictionaries"][name] for name in targets}}
