"""A Dataset's shards as files that a loader can open.

Beside the shards of a part lies what it knows of its features: by name the partial state of its training rows, and the
dictionaries of the codes in its shards.
"""

import json
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from components.adapters.dataset_store import ShardFile
from components.adapters.lookups import Later, Lookup
from components.adapters.store import Record, Store
from components.contracts.artifacts import Dataset, FittedFeature
from components.features.feature import Feature, OfNumbers, State
from components.features.fitted import load_feature
from components.statistics.keys import TRAIN

FIT, ARRAYS = "fit.json", "fit.safetensors"
ARRAY = "\0array"
"""The one key of what stands in the JSON for an array, which lies in the other file."""


def write_fit(folder: Path, **found: Any) -> None:
    """Write what a part knows of its features; numbers in arrays may stand anywhere in it."""
    arrays: dict[str, NDArray[Any]] = {}

    def kept(value: Any) -> dict[str, str]:
        arrays[str(len(arrays))] = np.ascontiguousarray(value)
        return {ARRAY: str(len(arrays) - 1)}

    text = json.dumps(found, default=kept)
    (folder / FIT).write_text(text)
    if arrays:
        (folder / ARRAYS).write_bytes(save(arrays))


def read_fit(store: Store, record: Record) -> dict[str, Any]:
    """The same, checked."""
    there = {file.name for file in record.files}
    arrays = load(store.open(record, ARRAYS).read_bytes()) if ARRAYS in there else {}

    def whole(value: dict[str, Any]) -> Any:
        return arrays[value[ARRAY]] if value.keys() == {ARRAY} else value

    found: dict[str, Any] = json.loads(store.open(record, FIT).read_bytes(), object_hook=whole)
    return found


def shard_files(dataset: Dataset, store: Store, split: str) -> list[ShardFile]:
    """The files of one split, each checked."""
    files = []
    for part in dataset.parts:
        record = store.part(dataset.step, part.key).standing()
        rows = record.meta["splits"][split]
        if rows:
            out = _left_out(dataset, store, part.key) if split == TRAIN else ""
            path, fit = store.open(record, shard_name(split)), store.open(record, FIT)
            files.append(ShardFile(path=str(path), rows=rows, without=out, fit=str(fit)))
    return files


def lookups_of(files: Sequence[ShardFile], fitted: Sequence[FittedFeature]) -> list[dict[str, Later]]:
    """For each file, what the codes of its columns mean to the fitted features; its dictionaries are read when used."""
    features = [(load_feature(one), one.state) for one in fitted]
    coded = [(feature, state) for feature, state in features if not isinstance(feature, OfNumbers)]
    return [
        {feature.name: Later(partial(_lookup, feature, state, known)) for feature, state in coded}
        for known in (_Dictionaries(file.fit) for file in files)
    ]


class _Dictionaries:
    """Those of one part, read once."""

    def __init__(self, path: str) -> None:
        self._path = path

    @cached_property
    def by_feature(self) -> dict[str, list[list[str]]]:
        found: dict[str, list[list[str]]] = json.loads(Path(self._path).read_bytes())["dictionaries"]
        return found


def _lookup(feature: Feature, state: State, known: _Dictionaries) -> Lookup | None:
    entries = known.by_feature[feature.name]
    return Lookup(feature.lookup(state, entries)) if entries else None


def shard_name(split: str) -> str:
    """The file of a part that holds its rows of a split."""
    return f"{split}.arrow"


def _left_out(dataset: Dataset, store: Store, key: str) -> str:
    """The checked file of the training rows that are left out of a part; "" where none are."""
    name = f"{key}.npy"
    if name not in dataset.files:
        return ""
    return str(store.open(store.artifact(dataset.step, dataset.fingerprint).standing(), name))
