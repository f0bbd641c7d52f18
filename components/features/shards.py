"""A Dataset's shards as files that a loader can open."""

from components.adapters.dataset_store import ShardFile
from components.adapters.store import Store
from components.contracts.artifacts import Dataset
from components.features.fitted import load_feature
from components.statistics.keys import TRAIN


def shard_files(dataset: Dataset, store: Store, split: str) -> list[ShardFile]:
    """The files of one split, each checked, with the lookups of their codes."""
    features = [(load_feature(one), one.state) for one in (*dataset.features, dataset.target)]
    files = []
    for part in dataset.parts:
        record = store.part(dataset.step, part.key).standing()
        rows = record.meta["splits"][split]
        if rows:
            out = _left_out(dataset, store, part.key) if split == TRAIN else ""
            lookups = {
                feature.name: [column.tolist() for column in feature.lookup(state, known)]
                for feature, state in features
                if (known := record.meta["dictionaries"][feature.name])
            }
            path = store.open(record, shard_name(split))
            files.append(ShardFile(path=str(path), rows=rows, without=out, lookups=lookups))
    return files


def shard_name(split: str) -> str:
    """The file of a part that holds its rows of a split."""
    return f"{split}.arrow"


def _left_out(dataset: Dataset, store: Store, key: str) -> str:
    """The checked file of the training rows that are left out of a part; "" where none are."""
    name = f"{key}.npy"
    if name not in dataset.files:
        return ""
    return str(store.open(store.artifact(dataset.step, dataset.fingerprint).standing(), name))
