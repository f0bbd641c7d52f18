"""Rows B1 to B32, B34 and B35 of the bad-input matrix: what may be wrong with files, what a person is told, what is kept.

Each row is told in one line with its code, its place and what to do; every row of the data is accounted for; and once
the file is mended, the same command gives what the mended data give alone.
"""

import json
import re

import pytest

from components import ingest, validate
from components.adapters.compute import Compute
from components.adapters.snapshot_rows import read_rows
from components.context import open_context
from components.contracts.errors import DataError
from components.contracts.placement import Placement
from components.contracts.spec import OWN_COLUMNS
from components.sources import pieces
from components.sources.files import FilesSource
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from tests.sources.bad_archives import ARCHIVES
from tests.sources.bad_files import CASES, CSV, GOOD, INT, Case


def write(folder, files):
    folder.mkdir(exist_ok=True)
    for name, body in files.items():
        (folder / name).write_bytes(body if isinstance(body, bytes) else body.encode())
    return folder


def checked(case, folder, ctx):
    """The line as far as validate."""
    checks = ValidateConfig(columns=case.columns, **case.checks)
    config = ingest.IngestConfig(
        source=FilesSource(uri=str(folder), **case.source),
        columns=checks.declared(),
        set_aside_files=checks.max_bad_files > 0,
        allow_empty=checks.allow_empty,
    )
    raw = ingest.run(config, ctx=ctx)
    return raw, validate.run(checks, raw, ctx=ctx)


def rows_of(valid, ctx):
    tables = [read_rows(ctx.store, "validate", part.key).drop(list(OWN_COLUMNS)) for part in valid.parts]
    return [row for table in tables for row in table.to_pylist()]


def quarantined(ctx):
    found = []
    for path in sorted(ctx.store.files.root.rglob("quarantine.jsonl")):
        found += [json.loads(line) for line in path.read_text().splitlines()]
    return found


@pytest.mark.bad_input
@pytest.mark.parametrize("name", CASES)
def test_bad_input(name, tmp_path, ctx):
    case = CASES[name]
    folder = write(tmp_path / "data", case.files)
    if case.error:
        with pytest.raises(DataError, match=case.error) as caught:
            checked(case, folder, ctx)
        assert caught.value.exit_code == 2
        assert "\n" not in caught.value.line()
        assert not list(ctx.store.files.root.glob("validate/*/record.json"))
    else:
        raw, valid = checked(case, folder, ctx)
        assert raw.ledger.added == raw.rows + raw.ledger.quarantined
        assert valid.ledger.rows_in == raw.rows == valid.rows + valid.ledger.quarantined
        assert valid.rows == case.rows
        bad = quarantined(ctx)
        assert [(one["place"], one["code"]) for one in bad] == list(case.bad)
        assert all(one["reason"] for one in bad)
    if case.fixed:
        write(folder, case.fixed)
        mended = rows_of(checked(case, folder, ctx)[1], ctx)
        elsewhere = open_context(Placement(home=tmp_path / "elsewhere"), "test")
        elsewhere.compute = Compute(workers=1, synchronous=True)
        assert mended == rows_of(checked(case, folder, elsewhere)[1], elsewhere)


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ARCHIVES)
def test_bad_input_archive(name, tmp_path, ctx):
    """Refused whole, and nothing is written outside the step's own folder."""
    body, expected = ARCHIVES[name]
    inside = tmp_path / "inside"
    place = write(inside, {"packed": body}) / "packed"
    with pytest.raises(DataError, match=expected):
        checked(Case(files={}), place, ctx)
    assert {path.name for path in tmp_path.rglob("*.csv")} == set()
    assert not list(ctx.store.files.root.rglob("*.json"))


@pytest.mark.bad_input
def test_bad_input_B18_what_looks_like_missing_or_a_number_stays_text(tmp_path, ctx):
    folder = write(tmp_path / "data", {"a.csv": "id,zip\nNA,00123\nnull,1e5\nNaN,0x1F\n"})
    _, valid = checked(Case(files={}, columns={"zip": ColumnCheck(type="string")}), folder, ctx)
    assert rows_of(valid, ctx) == [
        {"id": "NA", "zip": "00123"},
        {"id": "null", "zip": "1e5"},
        {"id": "NaN", "zip": "0x1F"},
    ]


@pytest.mark.bad_input
def test_bad_input_B20_whole_numbers_beside_blanks_are_not_rounded(tmp_path, ctx):
    folder = write(tmp_path / "data", {"a.csv": "n,c\n9007199254740993,x\n,y\n"})
    _, valid = checked(Case(files={}, columns=INT), folder, ctx)
    assert [row["n"] for row in rows_of(valid, ctx)] == [9007199254740993, None]


@pytest.mark.bad_input
@pytest.mark.parametrize("name", ["a.csv", "a.jsonl"])
def test_bad_input_B29_a_line_without_an_end(name, tmp_path, ctx, monkeypatch):
    monkeypatch.setattr(pieces, "LONGEST", 2**20)
    body = "n\n" + "9" * 3 * 2**20 if name == "a.csv" else '{"n": "' + "9" * 3 * 2**20 + '"}'
    case = Case(files={}, source={"partition_mb": 0.5})
    with pytest.raises(DataError, match=f"E_LINE_TOO_LONG {name}, after line .: a record of more than 1 MiB"):
        checked(case, write(tmp_path / "data", {name: body}), ctx)


@pytest.mark.bad_input
@pytest.mark.parametrize("what", ["grows", "is replaced"])
@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_bad_input_B35_a_file_that_changes_while_it_is_read(name, what, tmp_path, ctx):
    body = GOOD if name == "a.parquet" else CSV.encode()
    folder = write(tmp_path / "data", {name: body})

    class Changing(FilesSource):
        def read(self, partition):
            rows = super().read(partition)
            new = body + b"9,x\n" if what == "grows" else body.replace(b"x", b"y")
            (folder / name).write_bytes(new)
            return rows

    with pytest.raises(DataError, match="E_SOURCE_CHANGED source: the file changed .*run the same command again"):
        ingest.run(ingest.IngestConfig(source=Changing(uri=str(folder))), ctx=ctx)
    assert not list(ctx.store.files.root.rglob("*.json"))


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("bad", "rows", "fails"), [(2, 200, False), (3, 200, True), (1000, 200_000, False), (1001, 200_000, True)]
)
def test_bad_input_limit_one_in_a_hundred_or_a_thousand(bad, rows, fails, tmp_path, ctx):
    folder = write(tmp_path / "data", {"a.csv": "n\n" + "1\n" * (rows - bad) + "x\n" * bad})
    case = Case(files={}, columns=INT)
    if fails:
        with pytest.raises(DataError, match=f"E_QUARANTINE_LIMIT checks: {bad} of {rows} rows"):
            checked(case, folder, ctx)
        assert not list(ctx.store.files.root.glob("validate/*/record.json"))
    else:
        assert checked(case, folder, ctx)[1].rows == rows - bad


def test_the_matrix_has_every_row_of_files():
    rows = {re.match(r"B\d+", name)[0] for name in (*CASES, *ARCHIVES)} | {"B18", "B20", "B29", "B33", "B35"}
    assert {f"B{number}" for number in range(1, 36)} - {"B33"} <= rows
