"""A Dataset's shards as files that a loader can open.

Beside the shards of a part lies what it knows of its features: by name the partial state of its training rows, and the
dictionaries of the codes in its shards.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from components.adapters.dataset_store import ShardFile
from components.adapters.lookups import Lookup
from components.adapters.store import Record, Store
from components.contracts.artifacts import Dataset, FittedFeature
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


def lookups_of(files: Sequence[ShardFile], fitted: Sequence[FittedFeature]) -> list[dict[str, Lookup]]:
    """For each file, what the codes of its columns mean to the fitted features."""
    features = [(load_feature(one), one.state) for one in fitted]
    found = []
    for file in files:
        dictionaries = json.loads(Path(file.fit).read_bytes())["dictionaries"]
        found.append({
            feature.name: Lookup(feature.lookup(state, known))
            for feature, state in features
            if (known := dictionaries[feature.name])
        })
    return found


def shard_name(split: str) -> str:
    """The file of a part that holds its rows of a split."""
    return f"{split}.arrow"


def _left_out(dataset: Dataset, store: Store, key: str) -> str:
    """The checked file of the training rows that are left out of a part; "" where none are."""
    name = f"{key}.npy"
    if name not in dataset.files:
        return ""
    return str(store.open(store.artifact(dataset.step, dataset.fingerprint).standing(), name))
