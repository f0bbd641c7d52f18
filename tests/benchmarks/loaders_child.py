"""One side of G3 and G4 in a process of its own: `what data folder batch-size workers`; an epoch for each line."""

import json
import sys
import time
from pathlib import Path

import numpy as np


def open_data(path):
    """Rows and labels, mapped."""
    return np.load(Path(path, "rows.npy"), mmap_mode="r"), np.load(Path(path, "labels.npy"))


def ours(data, folder, size, workers):
    import torch

    from components.adapters.dataset_store import Loader, ShardFile
    from components.adapters.shard_files import write_shard

    rows, labels = open_data(data)
    files = []
    for number, part in enumerate(np.array_split(np.arange(len(rows)), 8)):
        path = folder / f"{number}.arrow"
        if not path.exists():
            write_shard({"row": rows[part[0] : part[-1] + 1], "label": labels[part][:, None]}, path)
        files.append(ShardFile(path=str(path), rows=len(part)))
    loader = Loader(files, size, seed=0)

    def epoch(number):
        for batch in loader.ahead(number):
            yield torch.from_numpy(batch["row"]), torch.from_numpy(batch["label"])

    return epoch


def litdata(data, folder, size, workers):
    import litdata as peer

    rows, labels = open_data(data)
    if not (folder / "index.json").exists():
        writer = peer.streaming.writer.BinaryWriter(str(folder), chunk_bytes="64MB")
        for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
            writer.add_item(number, {"row": np.ascontiguousarray(row), "label": int(label)})
        writer.done()
        writer.merge()
    dataset = peer.StreamingDataset(str(folder), shuffle=True)
    loader = peer.StreamingDataLoader(dataset, batch_size=size, num_workers=workers)
    return lambda _: ((batch["row"], batch["label"]) for batch in loader)


def webdataset(data, folder, size, workers):
    import webdataset as peer

    rows, labels = open_data(data)
    if not any(folder.glob("*.tar")):
        with peer.ShardWriter(str(folder / "%03d.tar"), maxcount=-(-len(rows) // 8), verbose=0) as writer:
            for number, (row, label) in enumerate(zip(rows, labels, strict=True)):
                writer.write({"__key__": f"{number:06}", "npy": np.ascontiguousarray(row), "cls": int(label)})
    shards = [str(one) for one in sorted(folder.glob("*.tar"))]
    dataset = peer.WebDataset(shards, shardshuffle=8, empty_check=False).shuffle(1000).decode().to_tuple("npy", "cls")
    loader = peer.WebLoader(dataset.batched(size), batch_size=None, num_workers=workers)
    return lambda _: iter(loader)


def mosaic(data, folder, size, workers):
    import torch

    # The wheel of torchvision for GPUs has no operators for this torch; what is imported here does not call them.
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    import streaming as peer

    rows, labels = open_data(data)
    kind = f"ndarray:{rows.dtype}:{','.join(map(str, rows.shape[1:]))}"
    if not (folder / "index.json").exists():
        with peer.MDSWriter(out=str(folder), columns={"row": kind, "label": "int"}) as writer:
            for row, label in zip(rows, labels, strict=True):
                writer.write({"row": np.ascontiguousarray(row), "label": int(label)})
    peer.base.util.clean_stale_shared_memory()
    dataset = peer.StreamingDataset(local=str(folder), shuffle=True, batch_size=size, num_canonical_nodes=1)
    loader = torch.utils.data.DataLoader(dataset, batch_size=size, num_workers=workers)
    return lambda _: ((batch["row"], batch["label"]) for batch in loader)


def huggingface(data, folder, size, workers):
    """Its own shards of fixed-size lists; `workers` 1 means batches of its own iterator, 0 those of PyTorch's loader."""
    import datasets as peer
    import torch

    rows, labels = open_data(data)
    if not (folder / "state.json").exists():
        if rows.ndim == 4:
            kind = peer.Array3D(shape=rows.shape[1:], dtype=str(rows.dtype))
        else:
            kind = peer.List(peer.Value(str(rows.dtype)), length=rows.shape[1])
        features = peer.Features({"row": kind, "label": peer.Value("int64")})
        blocks = (
            {"row": np.ascontiguousarray(rows[start : start + 1000]), "label": labels[start : start + 1000]}
            for start in range(0, len(rows), 1000)
        )
        pieces = [peer.Dataset.from_dict(block, features=features) for block in blocks]
        peer.concatenate_datasets(pieces).save_to_disk(str(folder))
    dataset = peer.load_from_disk(str(folder)).with_format("torch")
    if workers:
        return lambda number: ((one["row"], one["label"]) for one in dataset.shuffle(seed=number).iter(size))
    loader = torch.utils.data.DataLoader(dataset, batch_size=size, shuffle=True)
    return lambda _: ((batch["row"], batch["label"]) for batch in loader)


def arrow(data, folder, size, workers):
    """Batches in the order of the file, each column made one matrix with the others: not shuffled."""
    import pyarrow as pa
    import pyarrow.dataset as peer
    import torch

    rows, labels = open_data(data)
    path = folder / "all.arrow"
    if not path.exists():
        names = [f"c{number}" for number in range(rows.shape[1])]
        with pa.OSFile(str(path), "wb") as file:
            columns = [*(pa.array(np.ascontiguousarray(rows[:, at])) for at in range(len(names))), pa.array(labels)]
            batch = pa.record_batch(columns, names=[*names, "label"])
            with pa.ipc.new_file(file, batch.schema) as writer:
                writer.write_batch(batch)

    def epoch(_):
        for batch in peer.dataset(str(path), format="arrow").to_batches(batch_size=size):
            columns = [batch.column(at).to_numpy() for at in range(batch.num_columns - 1)]
            yield torch.from_numpy(np.stack(columns, axis=1)), torch.from_numpy(batch.column(-1).to_numpy().copy())

    return epoch


def run():
    what, data, folder, size, workers = sys.argv[1], *sys.argv[2:4], *map(int, sys.argv[4:6])
    place = Path(folder, what)
    place.mkdir(parents=True, exist_ok=True)
    epoch = globals()[what](data, place, size, workers)
    total = label_sum = 0
    for rows, labels in epoch(0):
        total += float(np.asarray(rows).sum(dtype=np.float64))
        label_sum += int(np.asarray(labels).sum())
    print(json.dumps({"checksum": [round(total, 1), label_sum]}), flush=True)
    for number, _ in enumerate(sys.stdin, 1):
        began, seen = time.perf_counter(), 0
        for rows, _labels in epoch(number):
            seen += len(rows)
        print(json.dumps({"seconds": time.perf_counter() - began, "rows": seen}), flush=True)


if __name__ == "__main__":
    run()
