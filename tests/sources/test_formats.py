"""Every format, plain and packed, in one file and in pieces: the cells are those that were written."""

import bz2
import csv
import gzip
import io
import json
import lzma
import tarfile
import zipfile

import fastavro
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import orc

from components import ingest, validate
from components.adapters.compute import Compute
from components.adapters.snapshot_rows import read_rows
from components.adapters.store import digest_file
from components.context import open_context
from components.contracts.placement import Placement
from components.contracts.spec import OWN_COLUMNS, ROW
from components.sources import columnar
from components.sources.files import FilesSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck

ROWS = [{"n": number, "x": number / 4, "t": f"täxt, {number}" if number % 7 else None} for number in range(3000)]
COLUMNS = {
    "n": ColumnCheck(type="int64").read_as("n"),
    "x": ColumnCheck(type="float64").read_as("x"),
    "t": ColumnCheck(type="string").read_as("t"),
}


def delimited(rows, delimiter):
    out = io.StringIO()
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def written(rows, kind):
    table, sink = pa.Table.from_pylist(rows), io.BytesIO()
    if kind in {"csv", "tsv"}:
        return delimited(rows, "," if kind == "csv" else "\t")
    if kind == "jsonl":
        import json

        return "".join(
            json.dumps({key: value for key, value in row.items() if value is not None}) + "\n" for row in rows
        ).encode()
    if kind == "parquet":
        pq.write_table(table, sink, row_group_size=500)
    elif kind == "arrow":
        with pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table, max_chunksize=500)
    elif kind == "orc":
        orc.write_table(table, sink, stripe_size=1024, batch_size=256)
    else:
        fields = [
            {"name": name, "type": ["null", kind]} for name, kind in (("n", "long"), ("x", "double"), ("t", "string"))
        ]
        schema = {"type": "record", "name": "r", "fields": fields}
        fastavro.writer(sink, fastavro.parse_schema(schema), rows, sync_interval=4000)
    return sink.getvalue()


def read(source, ctx, columns=()):
    raw = ingest.run(ingest.IngestConfig(source=source, columns=tuple(columns)), ctx=ctx)
    return raw, [read_rows(ctx.store, "ingest", part.key) for part in raw.parts]


KINDS = ["csv", "tsv", "jsonl", "parquet", "arrow", "orc", "avro"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_cells_that_were_written_in_pieces_too(tmp_path, ctx, kind):
    (tmp_path / f"a.{kind}").write_bytes(written(ROWS, kind))
    raw, tables = read(FilesSource(uri=str(tmp_path), partition_mb=0.02), ctx, COLUMNS.values())
    assert len(raw.parts) > 2
    rows = [row for table in tables for row in table.select(["n", "x", "t"]).to_pylist()]
    assert rows == ROWS
    numbers = [number for table in tables for number in table[ROW].to_pylist()]
    first = 2 if kind in {"csv", "tsv"} else 1
    assert numbers == list(range(first, first + len(ROWS)))


def test_a_piece_of_avro_is_read_without_what_stands_before_it(tmp_path, monkeypatch):
    """Reading all pieces costs as much as the file, and not as its square."""
    path = tmp_path / "a.avro"
    path.write_bytes(written(ROWS, "avro"))
    pieces = columnar.groups(path, "avro", "a", 20_000)
    assert len(pieces) > 2
    walked, real = [], fastavro.block_reader

    class Reader:
        def __init__(self, file):
            self.blocks = real(file)
            self.writer_schema = self.blocks.writer_schema

        def __iter__(self):
            for block in self.blocks:
                walked.append(block.offset)
                yield block

    monkeypatch.setattr(fastavro, "block_reader", Reader)
    last = pieces[-1]
    table = columnar.read_group(path, "avro", first=last.first, last=last.last, columns=(), place="a")
    assert table.to_pylist() == ROWS[last.row - 1 :]
    assert len(walked) == 1


def test_an_encoding_is_that_of_texts(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), path)
    source = FilesSource(uri=str(path), encoding="latin-1")
    (piece,) = source.partitions(digest_file, tmp_path / "scratch")
    assert source.read(piece).table.to_pylist() == ROWS


@pytest.mark.parametrize(("pattern", "expected"), [("*.csv", 2), ("x*.csv", 1), ("*/*.csv", 1), ("?1.csv", 1)])
def test_a_glob_of_this_machine_names_files(tmp_path, ctx, pattern, expected):
    (tmp_path / "deep").mkdir()
    for name in ("x1.csv", "deep/y2.csv", "z3.txt"):
        (tmp_path / name).write_bytes(written(ROWS[:50], "csv"))
    _, tables = read(FilesSource(uri=f"{tmp_path}/{pattern}"), ctx, COLUMNS.values())
    assert sum(one.num_rows for one in tables) == 50 * expected


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_same_key_whatever_format_it_comes_in(tmp_path, ctx, kind):
    from components.contracts.spec import KEY

    (tmp_path / f"a.{kind}").write_bytes(written(ROWS[:50], kind))
    _, (table,) = read(FilesSource(uri=str(tmp_path)), ctx, COLUMNS.values())
    (tmp_path / "b").mkdir()
    pq.write_table(pa.Table.from_pylist(ROWS[:50]), tmp_path / "b" / "a.parquet")
    _, (other,) = read(FilesSource(uri=str(tmp_path / "b")), ctx, COLUMNS.values())
    assert table[KEY].to_pylist() == other[KEY].to_pylist()


def zipped(body):
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("deep/a.csv", body)
    return sink.getvalue()


def tarred(body, mode):
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode=mode) as archive:
        info = tarfile.TarInfo("deep/a.csv")
        info.size = len(body)
        archive.addfile(info, io.BytesIO(body))
    return sink.getvalue()


PACKED = {
    "a.csv.gz": gzip.compress,
    "a.csv.bz2": bz2.compress,
    "a.csv.xz": lzma.compress,
    "a.csv.zst": lambda body: pa.compress(body, "zstd", asbytes=True),
    "a.zip": zipped,
    "a.tar": lambda body: tarred(body, "w"),
    "a.tar.gz": lambda body: tarred(body, "w:gz"),
    "a.tar.xz": lambda body: tarred(body, "w:xz"),
}


@pytest.mark.parametrize("name", PACKED)
def test_every_packing_gives_the_same_rows(tmp_path, ctx, name):
    (tmp_path / name).write_bytes(PACKED[name](written(ROWS, "csv")))
    _, tables = read(FilesSource(uri=str(tmp_path / name), partition_mb=0.02), ctx, COLUMNS.values())
    assert [row for table in tables for row in table.select(["n", "x", "t"]).to_pylist()] == ROWS


def test_the_folders_of_a_partitioned_tree_are_columns(tmp_path, ctx):
    for year in (2023, 2024):
        (tmp_path / f"year={year}" / "month=1").mkdir(parents=True)
        (tmp_path / f"year={year}" / "month=1" / "a.csv").write_text(f"n\n{year}\n")
    columns = (ColumnCheck(type="int64").read_as("year"),)
    _, tables = read(FilesSource(uri=str(tmp_path)), ctx, columns)
    rows = [row for table in tables for row in table.drop(list(OWN_COLUMNS)).to_pylist()]
    assert rows == [{"n": str(year), "year": year, "month": "1"} for year in (2023, 2024)]


def test_a_grown_file_is_read_again_only_where_it_grew(tmp_path, ctx):
    path = tmp_path / "a.csv"
    path.write_bytes(written(ROWS, "csv"))
    source = FilesSource(uri=str(path), partition_mb=0.01)
    first, _ = read(source, ctx)
    path.write_bytes(written(ROWS, "csv") + b"3000,1,new\r\n")
    second, _ = read(source, ctx)
    assert len({part.key for part in second.parts} - {part.key for part in first.parts}) == 1
    assert second.rows == 3001


def test_texts_that_read_otherwise_have_other_versions(tmp_path):
    def version(name, text):
        path = tmp_path / name
        path.write_text(text)
        return FilesSource(uri=str(path), comment="#").version(digest_file)

    rows = '{"a": 1}\n{"a": 2}\n'
    texts = [
        ("a.csv", "a,b\n1,2\n"), ("a.csv", "a,b\n1,3\n"), ("a.csv", "a,c\n1,2\n"), ("a.csv", "\na,b\n1,2\n"),
        ("a.csv", "a,b\n"), ("a.csv", ""), ("a.csv", 'a,b\n"1,2\n'), ("a.csv", "a,a\n1,2\n"), ("b.csv", "a,b\n1,2\n"),
        ("a.tsv", "a,b\n1,2\n"), ("a.jsonl", rows), ("a.csv", rows), ("a.jsonl", rows[:-1]),
    ]  # fmt: skip
    versions = [version(*one) for one in texts]
    assert len(set(versions)) == len(texts)
    assert versions == [version(*one) for one in texts]
    assert version("a.csv", "# one\na,b\n1,2\n") == version("a.csv", "# other\na,b\n1,2\n"), "a note is no row"


CELLS = st.text(st.sampled_from('a",\n\r é0'), max_size=6)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=30), st.integers(1, 60))
def test_quoted_text_in_any_pieces_is_what_pythons_reader_reads(tmp_path_factory, rows, piece):
    """The oracle is csv.reader; a piece ends between records wherever the quotes stand."""
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([("p", "q"), *rows])
    path = tmp_path_factory.mktemp("quoted") / "a.csv"
    path.write_bytes(out.getvalue().encode())
    wanted = list(csv.reader(io.StringIO(out.getvalue(), newline="")))[1:]
    source = FilesSource(uri=str(path), partition_mb=piece / 2**20)
    found = []
    for one in source.partitions(digest_file, path.parent):
        part = source.read(one)
        assert part.bad == []
        found += [[row["p"] or "", row["q"] or ""] for row in part.table.to_pylist()]
    assert found == wanted


def test_pieces_do_not_change_what_a_snapshot_says_of_its_rows(tmp_path):
    (tmp_path / "a.csv").write_bytes(written(ROWS, "csv"))
    said = []
    for size in (0.01, 1):
        ctx = open_context(Placement(home=tmp_path / f"home-{size}"), "test")
        ctx.compute = Compute(workers=1, synchronous=True)
        _, tables = read(FilesSource(uri=str(tmp_path / "a.csv"), partition_mb=size), ctx, COLUMNS.values())
        said.append(pa.concat_tables(tables).to_pylist())
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("cells", "how", "expected"),
    [
        (
            ["1.234,50 €", "€-3,5", "1234,5", "1.234.567,0"],
            {"decimal": ",", "thousands": ".", "unit": "€"},
            [1234.5, -3.5, 1234.5, 1234567.0],
        ),
        (["$1,234.5", "12", "1,234,567"], {"thousands": ",", "unit": "$"}, [1234.5, 12.0, 1234567.0]),
        (["12 kg", "3kg", "kg 4"], {"unit": "kg"}, [12.0, 3.0, 4.0]),
        (["1,23.4", "12,3", "1.5"], {"thousands": ","}, [None, None, 1.5]),
        (["1.5", "1,5,5", "x"], {"decimal": ","}, [None, None, None]),
        (["5 lb", "kg"], {"unit": "kg"}, [None, None]),
    ],
)
def test_numbers_as_people_write_them(tmp_path, ctx, cells, how, expected):
    """A number that only looks like one is set aside, not guessed at."""
    for name, text in (
        ("t.csv", "n;i\n" + "".join(f"{one};{at}\n" for at, one in enumerate(cells))),
        ("t.jsonl", "".join(json.dumps({"n": one, "i": at}) + "\n" for at, one in enumerate(cells))),
    ):
        (tmp_path / name).write_text(text)
        config = ValidateConfig(
            columns={"n": ColumnCheck(type="float64", **how), "i": ColumnCheck(type="int64")}, max_bad_fraction=1
        )
        source = FilesSource(uri=str(tmp_path / name), **({"delimiter": ";"} if name == "t.csv" else {}))
        raw = ingest.run(ingest.IngestConfig(source=source, columns=config.declared()), ctx=ctx)
        valid = validate.run(config, raw, ctx=ctx)
        rows = [
            row for part in valid.parts for row in read_rows(ctx.store, "validate", part.key, ["n"])["n"].to_pylist()
        ]
        assert rows == [one for one in expected if one is not None]
        assert raw.ledger.quarantined == expected.count(None)
