"""A Dataset's shards as files that a loader can open."""

from components.adapters.dataset_store import ShardFile
from components.adapters.store import Store
from components.contracts.artifacts import Dataset
from components.features.fitted import load_feature
from components.statistics.keys import TRAIN


def shard_files(dataset: Dataset, store: Store, split: str) -> dict[str, list[ShardFile]]:
    """Per feature the files of one split, each checked, with the lookup of its codes."""
    fitted = (*dataset.features, dataset.target)
    features = [(load_feature(one), one.state) for one in fitted]
    files: dict[str, list[ShardFile]] = {feature.name: [] for feature, _ in features}
    for part in dataset.parts:
        record = store.part(dataset.step, part.key).standing()
        rows = record.meta["splits"][split]
        out = _left_out(dataset, store, part.key) if split == TRAIN else ""
        for feature, state in features if rows else ():
            lookup = feature.lookup(state, record.meta["dictionaries"][feature.name])
            path = store.open(record, f"{split}.{feature.name}.npy")
            shard = ShardFile(path=str(path), rows=rows, without=out, lookup=[column.tolist() for column in lookup])
            files[feature.name].append(shard)
    return files


def _left_out(dataset: Dataset, store: Store, key: str) -> str:
    """The checked file of the training rows that are left out of a part; "" where none are."""
    name = f"{key}.npy"
    if name not in dataset.files:
        return ""
    return str(store.open(store.artifact(dataset.step, dataset.fingerprint).standing(), name))
