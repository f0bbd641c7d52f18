"""Answers to every row of a source: those of the package, each once, wherever they go and however often it is asked."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
import sqlalchemy as sql
from deltalake import DeltaTable

from components import ingest, score
from components.adapters.compute import Compute
from components.adapters.snapshot_rows import read_rows
from components.context import open_context
from components.contracts.artifacts import ModelPackage
from components.contracts.closure import ROOT
from components.contracts.errors import DataError, EnvironmentFault
from components.contracts.placement import Placement
from components.contracts.spec import OWN_COLUMNS
from components.packages import open_package
from components.raw_rows import folder_of
from components.score import ScoreConfig, scored_rows
from components.sinks.delta import DeltaSink
from components.sinks.parquet import ParquetSink
from components.sinks.sql import SqlSink
from components.sources.files import FilesSource
from tests.line import packaged, ran, table_recipe, write_table

ROWS = pa.table({
    "row_key": pa.array(["1", "2", "3"]),
    "prediction": pa.array(["yes", "no", None]),
    "confidence": pa.array([0.5, None, 1.0]),
    "probabilities": pa.array([[0.5, 0.5], [1.0, 0.0], None]),
    "row": pa.array([1, 2, 2**62]),
    "scored_at": pa.array([0, 1, 2], pa.timestamp("us", "UTC")),
})


@dataclass
class Line:
    ctx: object
    folder: object
    package: object

    def config(self, **more):
        return ScoreConfig(name="toy", version="1", **more)

    def raw(self):
        return ingest.run(ingest.IngestConfig(source=FilesSource(uri=str(self.folder))), ctx=self.ctx)

    def run(self, **more):
        return score.run(self.config(**more), self.raw(), self.package, ctx=self.ctx)

    def rows(self, made):
        return pa.concat_tables([scored_rows(self.ctx.store, part) for part in made.parts])


@pytest.fixture
def line(tmp_path, ctx):
    folder = write_table(tmp_path / "table")
    _, package = packaged(table_recipe(folder), ctx)
    ctx.outcomes.clear()
    return Line(ctx, folder, package)


def test_scored_rows_are_what_the_package_says_of_each_row(line):
    made = line.run(keep=("label", "n"))
    raw, found = line.raw(), line.rows(made)
    predictor = open_package(folder_of(line.package, line.ctx.store))
    rows = pa.concat_tables([read_rows(line.ctx.store, "ingest", part.key) for part in raw.parts])
    told = predictor.predict(rows.drop(list(OWN_COLUMNS))).table()
    assert found["prediction"].to_pylist() == told["prediction"].to_pylist()
    assert found["confidence"].to_numpy() == pytest.approx(told["confidence"].to_numpy(), abs=1e-6)
    for name in ("label", "n"):
        assert found[name].to_pylist() == rows[name].to_pylist()
    assert set(found["model_version"].to_pylist()) == {"1"}
    assert len(set(found["scored_at"].to_pylist())) <= len(made.parts)
    assert (made.ledger.rows_in, made.ledger.rows_out) == (raw.rows, found.num_rows)


def test_only_new_rows_are_scored_and_another_version_scores_all(line):
    first = line.run()
    assert ran(line.ctx) == ["ingest", "score"]
    assert line.run().fingerprint == first.fingerprint
    assert ran(line.ctx) == []
    (line.folder / "new.csv").write_text("n,c,label\n1.5,a,yes.\n")
    second = line.run()
    assert {one.key for one in first.parts} < {one.key for one in second.parts}
    assert second.ledger.rows_out == first.ledger.rows_out + 1
    other = score.run(line.config().model_copy(update={"version": "2"}), line.raw(), line.package, ctx=line.ctx)
    assert not {one.key for one in other.parts} & {one.key for one in second.parts}


def test_rows_that_cleaning_would_drop_are_set_aside_and_counted(line):
    (line.folder / "odd.csv").write_text("n,c,label\n1.5,a,\n2.5,b,no.\n")
    made = line.run()
    assert made.ledger.dropped == {"rejected": 1}
    part = next(one for one in made.parts if one.place.endswith("odd.csv"))
    record = line.ctx.store.part("score", part.key).standing()
    assert "odd.csv:2" in line.ctx.store.open(record, "rejected.jsonl").read_text()
    assert scored_rows(line.ctx.store, part)["row"].to_pylist() == [3]


def test_a_column_that_is_not_there_is_named(line):
    with pytest.raises(DataError, match=r"E_COLUMN_MISSING keep: .*\(got 'gender'\); allowed: n, c, label"):
        line.run(keep=("gender",))


def parquet(folder):
    def read():
        return pq.read_table(folder / "out") if (folder / "out").exists() else ROWS.schema.empty_table()

    return ParquetSink(uri=str(folder / "out")), read


def database(folder):
    url = f"sqlite:///{folder}/out.db"

    def read():
        engine = sql.create_engine(url)
        with engine.connect() as connection:
            rows = [dict(one) for one in connection.execute(sql.text("select * from answers")).mappings()]
        engine.dispose()
        return pa.Table.from_pylist(rows)

    return SqlSink(url=url, table="answers"), read


def delta(folder):
    return DeltaSink(uri=str(folder / "delta")), lambda: pa.table(DeltaTable(str(folder / "delta")).to_pyarrow_table())


SINKS = {"parquet": parquet, "sql": database, "delta": delta}


@pytest.mark.parametrize("kind", SINKS)
def test_a_sink_takes_a_part_once(kind, tmp_path):
    sink, read = SINKS[kind](tmp_path)
    assert [sink.deliver("a", ROWS), sink.deliver("a", ROWS), sink.deliver("b", ROWS.slice(0, 1))] == [
        True,
        False,
        True,
    ]
    assert sink.deliver("c", ROWS.slice(0, 0))
    assert not sink.deliver("c", ROWS.slice(0, 0))
    found = read()
    assert sorted(found["row_key"].to_pylist()) == ["1", "1", "2", "3"]
    assert sorted(found["row"].to_pylist()) == [1, 1, 2, 2**62]
    assert found["prediction"].null_count == 1


def delivered(home, fingerprint, folder, kind, out, number):
    """In a process of its own: score, and be killed after part `number` was delivered."""
    ctx = open_context(Placement(home=Path(home)), "test")
    ctx.compute = Compute(workers=1, synchronous=True)
    sink, _ = SINKS[kind](Path(out))
    # Parquet files are taken as they are.
    name = "deliver_file" if hasattr(sink, "deliver_file") else "deliver"
    taken, real, one_by_one = 0, getattr(type(sink), name), threading.Lock()

    def deliver(self, key, rows):
        nonlocal taken
        with one_by_one:
            done = real(self, key, rows)
            taken += 1
            if taken == number:
                os.kill(os.getpid(), signal.SIGKILL)
        return done

    setattr(type(sink), name, deliver)
    Line(ctx, folder, ctx.load(ModelPackage, fingerprint)).run(to=sink)


@pytest.mark.e2e
@pytest.mark.parametrize("kind", SINKS)
def test_a_run_that_is_killed_while_it_delivers_goes_on_and_doubles_nothing(line, tmp_path, kind):
    """Killed after each part, before it is noted anywhere that the part was delivered."""
    sink, read = SINKS[kind](tmp_path)
    wanted = line.rows(line.run()).num_rows
    asked = (str(line.ctx.placement.home), line.package.fingerprint, str(line.folder), kind, str(tmp_path))
    for number in range(1, len(line.raw().parts) + 1):
        code = (
            f"from tests.test_scoring import delivered\nif __name__ == '__main__':\n    delivered(*{asked}, {number})"
        )
        ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False)
        assert ended.returncode == -signal.SIGKILL
    assert line.run(to=sink).delivered == 0, "the last one was killed after all of them"
    found = read()
    assert found.num_rows == wanted
    assert len(set(zip(found["file"].to_pylist(), found["row"].to_pylist(), strict=True))) == wanted


def test_a_sink_that_lost_what_it_had_gets_it_again(line, tmp_path):
    sink, _ = parquet(tmp_path)
    assert line.run(to=sink).delivered == 3
    next((tmp_path / "out").glob("*.parquet")).unlink()
    assert line.run(to=sink).delivered == 1
    elsewhere = ParquetSink(uri=str(tmp_path / "elsewhere"))
    assert line.run(to=elsewhere).delivered == 3


def test_a_database_that_refuses_a_part_has_nothing_of_it(tmp_path):
    sink, read = database(tmp_path)
    engine = sql.create_engine(sink.url)
    with engine.begin() as connection:
        connection.execute(sql.text("create table answers (row_key text, row bigint check (row < 100))"))
    engine.dispose()
    few = ROWS.select(["row_key", "row"])
    with pytest.raises(EnvironmentFault, match="E_IO to.url: the database refuses it: CHECK constraint failed"):
        sink.deliver("a", few)
    assert read().num_rows == 0
    assert sink.deliver("a", few.slice(0, 2)), "it is not noted either"
    assert read().num_rows == 2


def test_what_a_sink_cannot_write_is_one_line(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentFault):
        ParquetSink(uri=str(tmp_path / "file" / "out")).deliver("a", ROWS)
    with pytest.raises(EnvironmentFault, match="E_IO to.url"):
        SqlSink(url=f"sqlite:///{tmp_path}/none/out.db", table="answers").deliver("a", ROWS)
    with pytest.raises(DataError, match="E_SOURCE_CONNECT to.url: this is no database address"):
        SqlSink(url="nonsense", table="answers").deliver("a", ROWS)
    with pytest.raises(EnvironmentFault, match="E_IO to.uri"):
        DeltaSink(uri=str(tmp_path / "file")).deliver("a", ROWS)


def test_a_bucket_takes_a_part_once(s3):
    uri = f"{s3.bucket()}/answers"
    sink = ParquetSink(uri=uri)
    assert [sink.deliver("a", ROWS), sink.deliver("a", ROWS), sink.deliver("b", ROWS.slice(0, 1))] == [
        True,
        False,
        True,
    ]
    files = s3fs.S3FileSystem(skip_instance_cache=True)
    names = sorted(files.ls(uri.removeprefix("s3://")))
    assert [name.rpartition("/")[2] for name in names] == ["part-a.parquet", "part-b.parquet"]
    with files.open(names[0]) as file:
        assert pq.read_table(file)["row"].to_pylist() == [1, 2, 2**62]
