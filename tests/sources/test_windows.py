"""Windows of long tables: every one that is whole, of one series, wherever partitions end."""

import sqlite3

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from pydantic import ValidationError

from components import ingest
from components.adapters.snapshot_rows import read_rows
from components.adapters.store import digest_file
from components.contracts.errors import ConfigError, DataError
from components.sources.files import FilesSource
from components.sources.windows import WindowsSource


def write(folder, lengths, cut):
    """Files of so many rows of series a, b …; value n of series s is 100 s + n."""
    folder.mkdir(exist_ok=True)
    lines = [f"{'abc'[s]},{n},{100 * s + n}" for s, length in enumerate(lengths) for n in range(length)]
    for number, start in enumerate(range(0, len(lines), cut)):
        (folder / f"{number}.csv").write_text("\n".join(["s,t,v", *lines[start : start + cut]]) + "\n")
    return FilesSource(uri=str(folder))


def windows(source, tmp_path):
    pieces = source.partitions(digest_file, tmp_path / "scratch")
    return pa.concat_tables([source.read(piece).table for piece in pieces])


@pytest.mark.parametrize("cut", [7, 13, 100])
@pytest.mark.parametrize("horizon", [0, 2])
def test_every_window_of_a_series_comes_once_wherever_partitions_end(tmp_path, cut, horizon):
    lengths = [20, 3, 11]
    source = WindowsSource(
        of=write(tmp_path / "t", lengths, cut), values=("v",), window=4, horizon=horizon, series="s", time="t"
    )
    found = windows(source, tmp_path)
    wanted = [(name, first) for s, name in enumerate("abc") for first in range(max(0, lengths[s] - 4 - horizon + 1))]
    assert (
        list(zip(found["s"].to_pylist(), [int(row[0]) % 100 for row in found["v"].to_pylist()], strict=True)) == wanted
    )
    for row in found.to_pylist():
        start = row["v"][0]
        assert row["v"] == [start + n for n in range(4)]
        assert int(row["t"]) == start % 100 + 3
        assert row.get("v_next", []) == [start + 4 + n for n in range(horizon)]
    assert [one.name for one in source.columns()] == found.column_names


def test_windows_begin_at_multiples_of_the_stride(tmp_path):
    of = write(tmp_path / "t", [40], 100)
    every = windows(WindowsSource(of=of, values=("v",), window=4), tmp_path)
    third = windows(WindowsSource(of=of, values=("v",), window=4, stride=3), tmp_path)
    starts = [row[0] for row in third["v"].to_pylist()]
    assert np.diff(starts).tolist() == [3.0] * (len(starts) - 1)
    assert len(every) == 37
    assert len(starts) in {12, 13}


def test_a_file_that_comes_behind_leaves_windows_before_it(tmp_path, ctx):
    source = WindowsSource(of=write(tmp_path / "t", [40], 10), values=("v",), window=4, horizon=1)
    first = ingest.run(ingest.IngestConfig(source=source), ctx=ctx)
    assert first.ledger.rows_out == 36
    (tmp_path / "t" / "4.csv").write_text("s,t,v\n" + "\n".join(f"a,{n},{n}" for n in range(40, 50)) + "\n")
    second = ingest.run(ingest.IngestConfig(source=source), ctx=ctx)
    assert second.ledger.rows_out == 46
    same = {part.key for part in first.parts} & {part.key for part in second.parts}
    assert len(same) == 3, "all but the last, whose windows go on"
    rows = pa.concat_tables([read_rows(ctx.store, "ingest", part.key) for part in second.parts])
    assert [row[0] for row in rows["v"].to_pylist()] == list(range(46))


@pytest.mark.parametrize(
    ("fields", "line"),
    [
        ({"values": ("w",)}, "E_COLUMN_MISSING .*0.csv: the steps have no such column .got 'w'.; allowed: s, t, v"),
        ({"values": ("s",)}, "E_TYPE source.values: s is no number"),
        ({"values": ("v",), "window": 9}, "E_VALUE .*1.csv: a partition has 5 steps, and a window goes on for 8"),
    ],
)
def test_mistakes_are_one_line(tmp_path, fields, line):
    source = WindowsSource(of=write(tmp_path / "t", [20], 5), **{"window": 3, **fields})
    with pytest.raises(DataError, match=line):
        windows(source, tmp_path)


def test_a_step_that_is_missing_and_a_source_that_is_none_are_one_line(tmp_path):
    (tmp_path / "0.csv").write_text('v\n1\n""\n3\n')
    with pytest.raises(DataError, match="E_VALUE source.values: v lacks a step|E_TYPE source.values: v is no number"):
        windows(WindowsSource(of=FilesSource(uri=str(tmp_path)), values=("v",), window=2), tmp_path)
    with pytest.raises((ConfigError, ValidationError), match="there is no kind of that name"):
        WindowsSource.model_validate({"kind": "windows", "of": {"kind": "fils"}, "values": ["v"], "window": 2})


def lines(path, cells):
    path.parent.mkdir(exist_ok=True)
    path.write_text("\n".join(["v", *cells]) + "\n")


def test_a_bad_step_is_set_aside_and_no_window_skips_it(tmp_path, ctx):
    lines(tmp_path / "t" / "0.csv", ["0", "1", "2,extra", "3", "4", "5,extra"])
    lines(tmp_path / "t" / "1.csv", ["6", "7"])
    source = WindowsSource(of=FilesSource(uri=str(tmp_path / "t")), values=("v",), window=2)
    made = ingest.run(ingest.IngestConfig(source=source), ctx=ctx)
    rows = pa.concat_tables([read_rows(ctx.store, "ingest", part.key) for part in made.parts])
    assert rows["v"].to_pylist() == [[0, 1], [3, 4], [6, 7]]
    assert made.ledger.quarantined == 2


def test_no_window_lies_in_two_parts_of_the_split_and_files_are_watched(tmp_path):
    for name, first in (("train", 0), ("test", 5)):
        lines(tmp_path / f"{name}.csv", map(str, range(first, first + 5)))
    source = WindowsSource(
        of=FilesSource(uri=str(tmp_path), train="train.csv", test="test.csv"), values=("v",), window=3
    )
    pieces = source.partitions(digest_file, tmp_path / "scratch")
    assert {piece.split for piece in pieces} == {"train", "test"}
    assert all(piece.files or piece.stamps for piece in pieces)
    assert all(max(row) < 5 or min(row) >= 5 for row in windows(source, tmp_path)["v"].to_pylist())


def test_steps_come_from_a_database_in_one_session(tmp_path, ctx):
    with sqlite3.connect(tmp_path / "steps.db") as made:
        made.execute("create table steps (t integer primary key, v real)")
        made.executemany("insert into steps values (?, ?)", [(n, n / 2) for n in range(10)])
    made.close()
    of = {"kind": "sql", "url": f"sqlite:///{tmp_path}/steps.db", "table": "steps"}
    source = WindowsSource(of=of, values=("v",), window=4)
    assert ingest.run(ingest.IngestConfig(source=source), ctx=ctx).ledger.rows_out == 7


def test_files_of_whole_and_of_broken_numbers_go_together(tmp_path):
    (tmp_path / "t").mkdir()
    for number, kind in enumerate((pa.int64(), pa.float64())):
        parquet.write_table(
            pa.table({"v": pa.array([number * 3 + n for n in range(3)], kind)}), tmp_path / "t" / f"{number}.parquet"
        )
    source = WindowsSource(of=FilesSource(uri=str(tmp_path / "t")), values=("v",), window=2)
    assert windows(source, tmp_path)["v"].to_pylist() == [[n, n + 1] for n in range(5)]


def test_a_broken_file_leaves_the_one_before_it(tmp_path, ctx):
    lines(tmp_path / "t" / "0.csv", ["0", "1", "2"])
    (tmp_path / "t" / "1.csv").write_text("")
    source = WindowsSource(of=FilesSource(uri=str(tmp_path / "t")), values=("v",), window=2)
    made = ingest.run(ingest.IngestConfig(source=source, set_aside_files=True), ctx=ctx)
    assert (made.ledger.rows_out, len(made.aside)) == (2, 1)
