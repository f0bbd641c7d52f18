"""One checker for every source, then what each has of its own."""

import os
import shutil
import sqlite3
import tarfile
from contextlib import contextmanager, nullcontext

import pyarrow as pa
import pytest
from deltalake import write_deltalake
from pydantic import ValidationError

from components.adapters.store import digest_file
from components.contracts.errors import DataError
from components.contracts.spec import Column
from components.sources import KINDS
from components.sources.annotated import CocoSource, VocSource
from components.sources.audio_folder import AudioFolderSource
from components.sources.delta import DeltaSource
from components.sources.digits import DigitsSource
from components.sources.files import FilesSource
from components.sources.generated import GeneratedSource
from components.sources.image_folder import ImageFolderSource
from components.sources.kafka import KafkaSource
from components.sources.mongo import MongoSource
from components.sources.pixels import CifarSource, MnistSource
from components.sources.redis_keys import RedisSource
from components.sources.redis_stream import RedisStreamSource
from components.sources.sklearn_set import SklearnSource
from components.sources.sql import SqlSource
from components.sources.text_folder import TextFolderSource
from components.sources.windows import WindowsSource


def source_of(kind, place):
    uri = str(place)
    return {
        "audio-folder": lambda: AudioFolderSource(uri=uri, files_per_partition=2),
        "cifar": lambda: CifarSource(uri=uri),
        "coco": lambda: CocoSource(uri=uri, test="", files_per_partition=2),
        "delta": lambda: DeltaSource(uri=uri),
        "digits": DigitsSource,
        "files": lambda: FilesSource(uri=uri),
        "generated": lambda: GeneratedSource(shape="blobs", rows=250, rows_per_partition=100),
        "image-folder": lambda: ImageFolderSource(uri=uri, files_per_partition=2),
        "kafka": lambda: KafkaSource(servers=uri, topic="checked", window_rows=2),
        "mnist": lambda: MnistSource(uri=uri),
        "mongodb": lambda: MongoSource(
            url="mongodb://x", database="d", collection="c", fields={"n": "n"}, watermark="n", rows_per_partition=2
        ),
        "pascal-voc": lambda: VocSource(uri=uri, files_per_partition=2),
        "redis": lambda: RedisSource(url=uri, pattern="checked:*", keys_per_partition=3),
        "redis-stream": lambda: RedisStreamSource(url=uri, stream="checked", window_rows=2),
        "scikit-learn": lambda: SklearnSource(name="iris"),
        "sql": lambda: SqlSource(url=f"sqlite:///{uri}/data.db", table="t", watermark="changed", rows_per_partition=2),
        "text-folder": lambda: TextFolderSource(uri=uri, files_per_partition=2),
        "windows": lambda: WindowsSource(
            of=GeneratedSource(shape="regression", rows=250, rows_per_partition=100),
            values=("x0", "y"),
            window=5,
            horizon=2,
        ),
    }[kind]()


def change(kind, place):
    """Change one row of what lies at `place`."""
    if kind == "sql":
        with sqlite3.connect(place / "data.db") as connection:
            connection.execute("UPDATE t SET n = 'new', changed = 2 WHERE id = 0")
        connection.close()
        return
    if kind == "delta":
        write_deltalake(str(place), pa.table({"n": [4]}), mode="overwrite")
        return
    names = {"coco": "train2017/2.jpg", "pascal-voc": "JPEGImages/1.jpg"}
    first = next(path for path in sorted(place.rglob("*")) if path.is_file())
    path = place / names[kind] if kind in names else first
    path.write_bytes(path.read_bytes() + b"\n")


SERVED = {"kafka", "mongodb", "redis", "redis-stream"}


def served(kind, broker, redis, redis_server):
    """Where the rows of a kind are that a server has."""
    if kind == "kafka":
        broker.send("checked", [b'{"n": %d}' % number for number in range(5)])
        return {kind: broker.servers}
    for number in range(5):
        redis.hset(f"checked:{number}", mapping={"n": number})
        redis.xadd("checked", {"n": number})
    return {kind: redis_server.url} if kind in {"redis", "redis-stream"} else {}


def add_one(kind, documents, broker, redis):
    """Add one row to what a server has."""
    if kind == "mongodb":
        documents.d.c.insert_one({"_id": 5, "n": 5})
    elif kind == "kafka":
        broker.send("checked", [b'{"n": 5}'])
    elif kind == "redis":
        redis.hset("checked:5", mapping={"n": 5})
    else:
        redis.xadd("checked", {"n": 5})


@contextmanager
def pieces_of(source, folder):
    """The source and its pieces, ready to be read."""
    with source.session() if hasattr(source, "session") else nullcontext(source) as opened:
        yield opened, opened.partitions(digest_file, folder / "scratch")


@pytest.mark.parametrize("kind", KINDS)
def test_every_source_reads_the_same_rows_each_time_and_wherever_it_lies(
    kind, places, tmp_path, documents, broker, redis, redis_server
):
    documents.d.c.insert_many([{"_id": number, "n": number} for number in range(5)])
    places |= served(kind, broker, redis, redis_server)
    with pieces_of(source_of(kind, places[kind]), tmp_path) as (source, pieces):
        rows = [source.read(piece) for piece in pieces]
        assert sum(one.table.num_rows for one in rows) > 2
        for piece, one in zip(pieces, rows, strict=True):
            assert source.read(piece).table.equals(one.table)
            assert len(one.numbers) == one.table.num_rows
            assert piece.size_bytes > 0
            declared = source.columns()
            assert not declared or [column.name for column in declared] == one.table.column_names
        versions = [piece.version for piece in pieces]
        assert len(set(versions)) == len(versions)
    before = source_of(kind, places[kind]).version(digest_file)
    if kind in SERVED:
        add_one(kind, documents, broker, redis)
        again = source_of(kind, places[kind])
        assert again.version(digest_file) != before
        with pieces_of(again, tmp_path) as (_, others):
            assert sum(one.version not in versions for one in others) == (len(others) if kind == "redis" else 1)
            assert sum(again.read(one).table.num_rows for one in others) == 6
        return
    if places[kind] is None:
        return
    moved = tmp_path / "elsewhere"
    shutil.copytree(places[kind], moved)
    for path in moved.rglob("*"):
        os.utime(path, (1, 1))
    again = source_of(kind, moved)
    assert again.version(digest_file) == before
    with pieces_of(again, tmp_path) as (_, same):
        assert [one.version for one in same] == versions
    change(kind, moved)
    assert again.version(digest_file) != before
    with pieces_of(again, tmp_path) as (_, others):
        assert sum(one.version not in versions for one in others) == 1


def read(folder, text, **settings):
    path = folder / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    source = FilesSource(uri=str(path), **settings)
    (piece,) = source.partitions(digest_file, folder)
    return source.read(piece)


def test_cells_stay_text_and_only_declared_ones_are_missing(tmp_path):
    rows = read(tmp_path, 'zip,n\n00123,9007199254740993\nNA," a, b"\n ? ,\n', null_values=["?"], trim=True)
    assert rows.table.to_pydict() == {"zip": ["00123", "NA", None], "n": ["9007199254740993", "a, b", ""]}
    assert rows.numbers.to_pylist() == [2, 3, 4]


def test_a_header_is_found_or_not(tmp_path):
    names = ["a", "b"]
    assert read(tmp_path, "a,b\n1,2\n", names=names).table.num_rows == 1
    assert read(tmp_path, "1,2\n3,4\n", names=names).table.to_pydict() == {"a": ["1", "3"], "b": ["2", "4"]}
    assert read(tmp_path, "b,Z\n2,1\n", names=names, rename={"Z": "a"}).table["a"].to_pylist() == ["1"]
    assert read(tmp_path, "|note\n1,2\n", names=names, comment="|").numbers.to_pylist() == [2]
    assert read(tmp_path, "a,b\n1,2\n", names=names, header="absent").table.num_rows == 2
    assert read(tmp_path, b"\xef\xbb\xbfa,b\r\n1,2\r\n", names=names).table.to_pydict() == {"a": ["1"], "b": ["2"]}


def test_a_header_that_lacks_a_column_is_one_line(tmp_path):
    with pytest.raises(DataError, match=r"E_COLUMN_MISSING t.csv:1: .*without \['c'\], with \['x'\]"):
        read(tmp_path, "a,b,x\n1,2,3\n", names=["a", "b", "c"])


def test_a_header_may_be_quoted(tmp_path):
    assert read(tmp_path, '"a","b, c"\n1,2\n').table.to_pydict() == {"a": ["1"], "b, c": ["2"]}
    assert read(tmp_path, '"a","b"\n1,2\n', names=["a", "b"]).table.num_rows == 1


@pytest.mark.parametrize("text", ["|note", "|note\n|more", "|note\n\n"])
def test_a_file_of_notes_only_ends(tmp_path, text):
    with pytest.raises(DataError, match=r"E_FILE_EMPTY t\.csv"):
        read(tmp_path, text, comment="|")


def test_no_header_needs_names():
    with pytest.raises(ValidationError, match="header: absent needs names"):
        FilesSource(uri="x", header="absent")


def test_a_row_of_another_length_is_set_aside_with_its_number_and_never_shifted(tmp_path):
    rows = read(tmp_path, "a,b\n1,2\n3\n4,5,6\n7,8\n")
    assert rows.table.to_pydict() == {"a": ["1", "7"], "b": ["2", "8"]}
    assert rows.numbers.to_pylist() == [2, 5]
    assert [(bad.row, bad.code, bad.text) for bad in rows.bad] == [
        (3, "E_ROW_FIELDS", "3"),
        (4, "E_ROW_FIELDS", "4,5,6"),
    ]
    skipped = read(tmp_path, "|note\na,b\n1,2\n3\n", comment="|")
    assert [bad.row for bad in skipped.bad] == [4]
    assert skipped.numbers.to_pylist() == [3]


def test_published_parts_come_from_their_members(tmp_path):
    for name in ("x.data", "x.test"):
        (tmp_path / name).write_text(f"{name}\n")
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        archive.add(tmp_path / "x.data", "set/x.data")
        archive.add(tmp_path / "x.test", "set/x.test")
    for place in (tmp_path, tmp_path / "x.tgz"):
        source = FilesSource(uri=str(place), train="x.data", test="x.test", names=["n"], header="absent")
        pieces = source.partitions(digest_file, tmp_path / "scratch")
        assert [piece.split for piece in pieces] == ["train", "test"]
        assert [source.read(piece).table["n"].to_pylist() for piece in pieces] == [["x.data"], ["x.test"]]
        assert source.columns() == (Column(name="n", type="string"),)
