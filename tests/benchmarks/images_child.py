"""One side of G5 to G7 in a process of its own: `files root side` or `optimize root folder workers`."""

import json
import os
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image


def listed(root):
    return [(str(path), path.parent.name) for path in sorted(Path(root).rglob("*.jpg"))]


class Files(torch.utils.data.Dataset):
    """Decoded and resized when they are asked for."""

    def __init__(self, root, side):
        self.files, self.side = listed(root), side

    def __len__(self):
        return len(self.files)

    def __getitem__(self, number):
        with Image.open(self.files[number][0]) as image:
            image.draft("RGB", (self.side, self.side))
            pixels = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(pixels).transpose(2, 0, 1))


def files(root, side):
    loader = torch.utils.data.DataLoader(Files(root, int(side)), 64, num_workers=2, shuffle=True)

    def epoch():
        began = time.perf_counter()
        means = [float(batch.numpy().mean()) for batch in loader]
        return {"seconds": time.perf_counter() - began, "mean": float(np.mean(means))}

    return epoch


def decode(item):
    path, label = item
    with Image.open(path) as image:
        return {"image": np.asarray(image.convert("RGB")), "label": label}


def optimize(root, folder, workers):
    # LitData empties a folder `data` in the system's folder for temporary files.
    os.environ["TMPDIR"] = folder
    import litdata

    place = Path(folder, "optimized")

    def once():
        shutil.rmtree(place, ignore_errors=True)
        began = time.perf_counter()
        items = listed(root)
        litdata.optimize(fn=decode, inputs=items, output_dir=str(place), num_workers=int(workers), chunk_bytes="64MB")
        taken = time.perf_counter() - began
        dataset = litdata.StreamingDataset(str(place))
        mean = np.mean([np.asarray(row["image"]).mean() for row in dataset])
        return {"seconds": taken, "rows": len(dataset), "mean": float(mean)}

    return once


def run():
    once = globals()[sys.argv[1]](*sys.argv[2:])
    print(json.dumps({"ready": True}), flush=True)
    for _ in sys.stdin:
        print(json.dumps(once()), flush=True)


if __name__ == "__main__":
    run()
