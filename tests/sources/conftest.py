import gzip
import io
import json
import sqlite3
import time
from contextlib import contextmanager

import fsspec
import numpy as np
import pytest
from PIL import Image

from components.adapters import blobs
from tests.postgres import PASSWORD, Postgres
from tests.sources.remote import CSV
from tests.streams import Broker, Kafka, RedisServer, RedisStream

XML = """<annotation><size><width>64</width><height>48</height></size>{}</annotation>"""
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def png(value):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()


def class_folder(folder, ending, body):
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        for number in range(3):
            (folder / label / f"{number}.{ending}").write_bytes(body(number))
    return folder


def table(folder):
    folder.mkdir()
    (folder / "a.csv").write_text("id,n\nNA,1\n007,\n")
    (folder / "b.csv").write_text("id,n\nx, 3 \n")
    return folder


def database(folder):
    folder.mkdir()
    with sqlite3.connect(folder / "data.db") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, n TEXT, changed INTEGER)")
        connection.executemany("INSERT INTO t VALUES (?, ?, 1)", [(number, f"text {number}") for number in range(5)])
    connection.close()
    return folder


def voc(folder):
    for inner in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (folder / inner).mkdir(parents=True)
    for number in range(4):
        (folder / "JPEGImages" / f"{number}.jpg").write_bytes(png(number))
        (folder / "Annotations" / f"{number}.xml").write_text(XML.format(OBJECT.format("cell", 1, 2, 3, 4)))
    (folder / "ImageSets" / "Main" / "trainval.txt").write_text("2\n0\n3\n")
    (folder / "ImageSets" / "Main" / "test.txt").write_text("1\n")
    return folder


def coco(folder):
    (folder / "train2017").mkdir(parents=True)
    (folder / "annotations").mkdir()
    for number in range(3):
        (folder / "train2017" / f"{number}.jpg").write_bytes(png(number))
    boxes = [{"image_id": 0, "category_id": 7, "bbox": box} for box in ([1, 1, 2, 2], [0, 0, 1, 1])]
    images = [{"id": one, "file_name": f"{one}.jpg", "width": 4, "height": 4} for one in (2, 0, 1)]
    data = {"images": images, "categories": [{"id": 7, "name": "dog"}], "annotations": boxes}
    (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    return folder


def mnist(folder):
    folder.mkdir()
    images = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype(np.uint8)
    for start, rows in (("train", slice(0, 4)), ("t10k", slice(4, 6))):
        (folder / f"{start}-images-idx3-ubyte").write_bytes(idx(images[rows]))
        (folder / f"{start}-labels-idx1-ubyte").write_bytes(idx(np.arange(6, dtype=np.uint8)[rows]))
    return folder


def cifar(folder):
    folder.mkdir()
    for number, name in enumerate(("data_batch_1", "data_batch_2", "test_batch")):
        (folder / f"{name}.bin").write_bytes(
            np.random.default_rng(number).integers(0, 2, 2 * 3073).astype(np.uint8).tobytes()
        )
    return folder


def delta(folder):
    import pyarrow as pa
    from deltalake import write_deltalake

    write_deltalake(str(folder), pa.table({"n": [1, 2, 3]}))
    return folder


@pytest.fixture
def documents(monkeypatch):
    """A MongoDB that is none: mongomock answers the queries."""
    import mongomock

    from components.sources import mongo

    made = mongomock.MongoClient()

    @contextmanager
    def opened(url, user, password, *, database, name):
        yield made[database][name]

    monkeypatch.setattr(mongo, "collection", opened)
    return made


MAKERS = {
    "audio-folder": lambda folder: class_folder(folder, "wav", lambda number: b"RIFF%d" % number),
    "cifar": cifar,
    "coco": coco,
    "delta": delta,
    "files": table,
    "image-folder": lambda folder: class_folder(folder, "png", png),
    "mnist": mnist,
    "pascal-voc": voc,
    "sql": database,
    "text-folder": lambda folder: class_folder(folder, "txt", lambda number: b"text %d" % number),
}


class Places(dict):
    """Where the data of each kind lie, made when they are asked for; None where a kind has none."""

    def __init__(self, folder):
        super().__init__()
        self.folder = folder

    def __missing__(self, kind):
        self[kind] = MAKERS[kind](self.folder / kind) if kind in MAKERS else None
        return self[kind]


@pytest.fixture
def places(tmp_path):
    (tmp_path / "places").mkdir()
    return Places(tmp_path / "places")


@pytest.fixture(scope="module")
def server():
    made = Postgres()
    yield made
    made.stop()


@pytest.fixture(scope="package")
def broker():
    return Broker()


@pytest.fixture(scope="package")
def redis_server():
    made = RedisServer()
    yield made
    made.stop()


@pytest.fixture
def redis(redis_server):
    """A client of an empty Redis server."""
    with redis_server.connect() as client:
        client.flushall()
        yield client


@pytest.fixture(params=["kafka", "redis-stream"])
def stream(request, broker, redis, redis_server):
    name = f"t-{time.monotonic_ns()}"
    return Kafka(broker, name) if request.param == "kafka" else RedisStream(redis, redis_server.url, name)


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("MILLRACE_SECRET_PG", PASSWORD)


@pytest.fixture
def bucket(s3):
    """A bucket with two files, and its address."""
    place = s3.bucket()
    name = place.split("/")[2]
    client = s3.client()
    client.put_object(Bucket=name, Key="store/data/a.csv", Body=CSV.encode())
    client.put_object(Bucket=name, Key="store/data/deep/b.csv.gz", Body=gzip.compress(CSV.encode()))
    return client, name, f"{place}/data"


@pytest.fixture
def impatient(monkeypatch):
    monkeypatch.setattr(blobs.time, "sleep", lambda _: None)
    fsspec.config.conf.pop("s3", None)
