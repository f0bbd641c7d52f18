"""Delta tables at their versions."""

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from components import ingest
from components.adapters.snapshot_rows import read_rows
from components.contracts.errors import DataError, MillraceError
from components.contracts.spec import OWN_COLUMNS
from components.sources import delta
from components.sources.delta import DeltaSource


@pytest.fixture
def table(tmp_path):
    """Three versions: 100 rows, 50 more, and half of the first deleted."""
    place = tmp_path / "table"
    write_deltalake(str(place), rows(0, 100), partition_by=["c"])
    write_deltalake(str(place), rows(100, 150), mode="append")
    DeltaTable(str(place)).delete("n < 50")
    return place


def rows(start, end):
    return pa.table({"n": list(range(start, end)), "c": ["ab"[one % 2] for one in range(start, end)]})


def read(source, ctx):
    raw = ingest.run(ingest.IngestConfig(source=source), ctx=ctx)
    found = [read_rows(ctx.store, "ingest", part.key).drop(list(OWN_COLUMNS)).to_pylist() for part in raw.parts]
    return raw, sorted((row["n"], row["c"]) for part in found for row in part)


@pytest.mark.parametrize(
    ("at", "numbers"), [(0, range(100)), (1, range(150)), (2, range(50, 150)), (-1, range(50, 150))]
)
def test_each_version_is_read_as_it_was(table, ctx, at, numbers):
    assert read(DeltaSource(uri=str(table), at=at), ctx)[1] == [(one, "ab"[one % 2]) for one in numbers]


def test_a_later_version_reads_only_files_that_are_new(table, ctx, monkeypatch):
    monkeypatch.setattr(delta, "PIECE_BYTES", 1)
    first, _ = read(DeltaSource(uri=str(table), at=0), ctx)
    second, _ = read(DeltaSource(uri=str(table), at=1), ctx)
    assert {part.key for part in first.parts} < {part.key for part in second.parts}
    ctx.outcomes.clear()
    read(DeltaSource(uri=str(table), at=1), ctx)
    assert [one.reused for one in ctx.outcomes] == [True]


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("uri", "at", "expected"),
    [
        ("nothing", -1, "E_SOURCE_EMPTY source.uri: nothing is there"),
        ("table/c=a", -1, "E_SOURCE_EMPTY source.uri: no Delta table is there"),
        ("table", 9, "E_SOURCE_EMPTY source.at: the table has no such version"),
    ],
)
def test_bad_input_what_is_no_table_is_one_line(table, ctx, uri, at, expected):
    with pytest.raises(DataError, match=expected):
        read(DeltaSource(uri=str(table.parent / uri), at=at), ctx)


CANARY = "c4nary-5ecret-of-the-lake"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("what", "code"), [("403", "E_CREDENTIALS"), ("expired", "E_CREDENTIALS"), ("503", "E_SERVER_UNREACHABLE")]
)
@pytest.mark.parametrize("where", ["_delta_log", ".parquet"])
@pytest.mark.parametrize("at", [-1, 0])
def test_bad_input_B37_a_bucket_that_refuses(s3, ctx, monkeypatch, caplog, *, what, code, where, at):
    """In the log and in the data files; one line, and the credential is nowhere."""
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setattr(delta, "FIRST_PAUSE", 0.01)
    place = s3.bucket() + "/versions/403"
    write_deltalake(place, rows(0, 10))
    # The one of a login's words that is sent as it is.
    monkeypatch.setenv("AWS_SESSION_TOKEN", CANARY)
    caplog.set_level("DEBUG")
    with s3.ruled(lambda _number, _method, path: what if where in path else "pass") as door:
        with pytest.raises(MillraceError, match=f"{code} source.uri: the server") as caught:
            read(DeltaSource(uri=place, at=at), ctx)
        assert any(where in path for _, path, _, _ in door.log)
    kept = b"".join(path.read_bytes() for path in ctx.placement.home.rglob("*") if path.is_file())
    assert CANARY not in caplog.text + caught.value.line()
    assert CANARY.encode() not in kept


def test_a_bucket(s3, ctx, monkeypatch):
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    place = s3.bucket() + "/table"
    write_deltalake(place, rows(0, 10))
    assert read(DeltaSource(uri=place), ctx)[1] == [(one, "ab"[one % 2]) for one in range(10)]
