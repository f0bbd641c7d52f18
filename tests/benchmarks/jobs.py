"""Jobs for a training process whose rows are drawn and written as shards, without ingest: what is measured is training."""

from pathlib import Path

import numpy as np

from components.adapters.shard_files import write_shard
from components.features.image import Image
from components.features.label import Label
from components.features.shards import write_fit
from components.features.vector import Vector
from components.models.cnn import Cnn, Conv, Dense, Pool
from components.models.mlp import Mlp
from components.objectives.classification import Classification
from components.train import TrainSettings, pulse

CLASSES = 10
NAMES = [str(one) for one in range(CLASSES)]
MLP = Mlp(hidden=(64, 64))
CNN = Cnn(
    layers=(
        Conv(channels=32, padding="valid"),
        Pool(),
        Conv(channels=64, padding="valid"),
        Pool(),
        Conv(channels=64, padding="valid"),
        Dense(units=64),
    )
)
"""TensorFlow's tutorial for CIFAR-10."""
WIDTH = 32
STEPS = {"cnn": 100, "mlp": 1000}
"""Of an epoch of `learning`: a few seconds."""


def vectors(rows, width=WIDTH, seed=0):
    """float32[rows, width] and the class that follows from them."""
    drawn = np.random.default_rng(seed)
    values = drawn.standard_normal((rows, width), np.float32)
    weights = np.random.default_rng(1).standard_normal((width, CLASSES), np.float32)
    return values, (values @ weights).argmax(1).astype(np.int32)[:, None]


def pictures(rows, seed=0):
    """uint8[rows, 3, 32, 32], each class of another shade."""
    drawn = np.random.default_rng(seed)
    labels = drawn.integers(0, CLASSES, (rows, 1)).astype(np.int32)
    noise = drawn.integers(0, 128, (rows, 3, 32, 32), np.uint8)
    return noise + (labels * 12).astype(np.uint8)[:, :, None, None], labels


def written(folder, name, values, labels):
    """A shard, as a job names it."""
    column = "image" if values.ndim == 4 else "v"
    write_fit(folder, partial={}, dictionaries={column: [], "label": [NAMES]})
    path = folder / f"{name}.arrow"
    write_shard({column: values, "label": labels}, path)
    return {"path": str(path), "rows": len(labels), "without": "", "fit": str(folder / "fit.json")}


def whole(folder, shards, model, classes=NAMES, **settings):
    """The job of such shards; `folder` holds all that it leaves."""
    image = model.kind == "cnn"
    feature = Image(height=32, width=32) if image else Vector(name="v", column="v", length=shards.pop("width", WIDTH))
    state = {"mean": [127.5] * 3, "scale": [64.0] * 3} if image else {"mean": [], "scale": []}
    label = Label(column="y", name="label")
    known = {"classes": list(classes), "counts": [1] * len(classes)}
    Path(folder).mkdir(exist_ok=True)
    pulse.create(Path(folder, "pulse"), 1)
    chosen = TrainSettings(**({"accelerator": "cpu", "devices": 1} | settings))
    return {
        "model": model.model_dump(mode="json"),
        "objective": Classification().model_dump(mode="json"),
        "augment": [],
        "settings": chosen.model_dump(mode="json"),
        "features": [{"config": feature.model_dump(mode="json"), "state": state}],
        "target": {"config": label.model_dump(mode="json"), "state": known},
        "inputs": [feature.spec({}).model_dump(mode="json")],
        "outputs": [label.spec(known).model_dump(mode="json")],
        "mixed": False,
        "more_is_better": False,
        "rates": [],
        "weights": [],
        "shards": shards,
        "folder": str(folder),
        "checkpoints": str(Path(folder, "checkpoints")),
        "pulse": str(Path(folder, "pulse")),
    }


def data(kind, batch):
    """Rows and classes for an epoch of so many steps of a "cnn" or "mlp", and two batches more."""
    rows = batch * (STEPS[kind] + 2)
    return pictures(rows) if kind == "cnn" else vectors(rows)


def learning(kind, batch, epochs, folder):
    """The job of such rows, of which the first two batches validate."""
    rows, labels = data(kind, batch)
    held = batch * 2
    shards = {
        "train": [written(folder, "t", rows[held:], labels[held:])],
        "validation": [written(folder, "v", rows[:held], labels[:held])],
    }
    model = CNN if kind == "cnn" else MLP
    return whole(folder, shards, model, max_epochs=epochs, batch_size=batch, schedule="constant")
