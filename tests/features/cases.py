"""Rows with a column of every type, and features of every kind over them."""

import io
from functools import reduce

import numpy as np
import pyarrow as pa
import soundfile
from PIL import Image as Pillow

from components.features.anomaly import Anomaly
from components.features.audio import Audio
from components.features.bag import Bag
from components.features.bins import Bins
from components.features.boolean import Boolean
from components.features.boxes import Boxes
from components.features.category import Category
from components.features.feature import indexed
from components.features.image import Image
from components.features.label import Label
from components.features.labels import Labels
from components.features.none import Nothing
from components.features.number import Number
from components.features.series import Series
from components.features.text import Text
from components.features.text_pair import TextPair
from components.features.times import Times
from components.features.value import Value
from components.features.vector import Vector

WORDS = ["the", "mill", "turns", "water", "Grain", "don't", "12", "naïve", "水", "and", "stones"]


def jpeg(random, size=(6, 5), kind="JPEG"):
    buffer = io.BytesIO()
    Pillow.fromarray(random.integers(0, 255, (*size, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def wav(random, seconds, rate=8000, channels=1, kind="WAV"):
    """A tone in a little noise."""
    time = np.arange(int(seconds * rate)) / rate
    tone = 0.5 * np.sin(2 * np.pi * random.uniform(200, 2000) * time) + random.normal(0, 0.01, len(time))
    buffer = io.BytesIO()
    soundfile.write(buffer, np.stack([tone] * channels, axis=1), rate, format=kind)
    return buffer.getvalue()


def rows_of(rows, seed=0):
    random = np.random.default_rng(seed)
    counts = random.integers(0, 4, rows)
    corners = [random.integers(0, 40, (count, 2)) for count in counts]

    def text(least, most):
        return " ".join(random.choice(WORDS, random.integers(least, most))) + random.choice([".", "!", " (so)"])

    def some(values, lost):
        return [None if row % lost == 0 else value for row, value in enumerate(values)]

    return pa.table({
        "id": pa.array(range(rows), pa.int64()),
        "x": pa.array([None if value < -1 else value for value in random.normal(3, 2, rows)], pa.float64()),
        "y": pa.array(random.integers(0, 9, rows), pa.int64()),
        "z": pa.array(some(random.normal(1, 3, rows).tolist(), 4)),
        "c": pa.array([random.choice(["a", "b", "c", None], p=[0.5, 0.3, 0.1, 0.1]) for _ in range(rows)]),
        "image": pa.array([jpeg(random) for _ in range(rows)], pa.binary()),
        "b": pa.array([random.choice([True, False, None], p=[0.6, 0.3, 0.1]) for _ in range(rows)], pa.bool_()),
        "when": pa.array(
            some([int(random.integers(0, 2 * 10**15)) for _ in range(rows)], 9), pa.timestamp("us", tz="UTC")
        ),
        "v": pa.array(some([random.normal(5, 2, 3).tolist() for _ in range(rows)], 11)),
        "s": pa.array(some([random.normal(5, 2, random.integers(0, 9)).tolist() for _ in range(rows)], 13)),
        "r": pa.array([random.normal(0, 9, 6).tolist() for _ in range(rows)]),
        "t": pa.array(some([text(1, 9) for _ in range(rows)], 10)),
        "u": pa.array(some([text(0, 4) for _ in range(rows)], 12)),
        "sound": pa.array(some([wav(random, random.uniform(0.05, 0.3)) for _ in range(rows)], 17), pa.binary()),
        "boxes": pa.array([np.concatenate([one, one + 9], axis=1).ravel().tolist() for one in corners],
                          pa.list_(pa.float64())),
        "labels": pa.array([random.choice(["cat", "dog"], count).tolist() for count in counts], pa.list_(pa.string())),
        "width": pa.array([64] * rows, pa.int64()),
        "height": pa.array([50] * rows, pa.int64()),
        "label": pa.array([str(value) for value in random.integers(0, 3, rows)]),
        "price": pa.array(random.lognormal(3, 2, rows)),
    })  # fmt: skip


FEATURES = {
    "anomaly": Anomaly(column="label", values=("2",)),
    "audio": Audio(name="mel", column="sound", rate=8000, seconds=0.2, bands=8),
    "audio mfcc": Audio(name="mfcc", column="sound", form="mfcc", rate=11_025, seconds=0.2, bands=12, coefficients=5),
    "audio wave": Audio(name="wave", column="sound", form="wave", rate=8000, seconds=0.1),
    "bag": Bag(column="t"),
    "bag binary": Bag(name="has", column="t", weight="binary", max_share=0.7),
    "bag count": Bag(name="often", column="t", weight="count", vocabulary=5, lowercase=False),
    "bins": Bins(columns=("x", "y"), count=4),
    "bins equal": Bins(name="equal", columns=("x",), edges="equal", encoding="one-hot"),
    "boolean": Boolean(columns=("b",), missing_flags=True),
    "boxes": Boxes(classes=("cat", "dog")),
    "boxes most": Boxes(name="two", classes=("dog", "cat"), most=2),
    "category": Category(columns=("c", "y")),
    "category one-hot": Category(name="hot", columns=("c", "y"), encoding="one-hot", min_count=3),
    "datetime": Times(
        columns=("when",),
        parts=("time-of-day", "day-of-week", "day-of-month", "day-of-year", "month", "elapsed"),
        missing_flags=True,
    ),
    "image": Image(height=4, width=4),
    "image pad": Image(name="margin", height=9, width=4, fit_to="pad", normalise="unit"),
    "image crop": Image(name="grey", height=3, width=7, fit_to="crop", normalise="imagenet", channels=1),
    "label": Label(column="label"),
    "labels": Labels(name="tags", column="labels"),
    "labels of text": Labels(name="words_of", column="u", separator=" "),
    "none": Nothing(),
    "number": Number(columns=("x", "y"), missing_flags=True),
    "number min-max": Number(name="range", columns=("x", "y"), scale="min-max", outliers="clip"),
    "number quantile": Number(name="share", columns=("x", "y"), scale="quantile", missing="median"),
    "number none": Number(name="bare", columns=("y", "x"), scale="none", log=True),
    "number model": Number(name="guess", columns=("x", "y", "z"), missing="model"),
    "series": Series(columns=("s", "r"), window=5),
    "series training": Series(name="whole", columns=("s",), window=3, scale="training", differences=True),
    "text": Text(column="t"),
    "text character": Text(name="letters", column="t", tokens="character", length=20, keep="end", min_count=1),
    "text byte-pair": Text(name="parts", column="t", tokens="byte-pair", vocabulary=60, lowercase=False),
    "text-pair": TextPair(first="t", second="u"),
    "value": Value(columns=("price",), log=True),
    "vector": Vector(column="v", length=3, standardise=True),
}


def fit(feature, *tables):
    """The state, fitted on some partitions."""
    return feature.finish(reduce(feature.merge, [feature.fit(feature.prepare(table)) for table in tables]))


def applied(feature, state, table):
    """What serving makes of the rows."""
    return feature.apply(indexed(feature, state, table), state)


def boxes_table(labels, boxes):
    return pa.table({
        "boxes": pa.array(boxes, pa.list_(pa.float64())), "labels": pa.array(labels, pa.list_(pa.string())),
        "width": [100] * len(labels), "height": [50] * len(labels),
    })  # fmt: skip
