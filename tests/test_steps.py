import os
from pathlib import Path

import pytest

from components.adapters.snapshot_rows import read_rows
from components.context import open_context
from components.contracts.errors import DataError
from components.contracts.placement import Placement
from components.contracts.spec import FILE, ROW
from components.features.number import Number
from components.sources.files import FilesSource
from components.statistics.splits import SplitConfig
from components.train import TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import (
    image_recipe,
    png,
    prepared,
    ran,
    table_recipe,
    trained,
    write_images,
    write_table,
)

DATA_STEPS = ["ingest", "validate", "clean", "preprocess"]


@pytest.fixture
def folder(tmp_path):
    return write_table(tmp_path / "table")


class Noted:
    """Keeps warnings."""

    def __init__(self):
        self.lines = []

    def warned(self, line):
        self.lines.append(line)

    def started(self, step):
        pass

    advanced = finished = lambda self, *_: None


def test_every_row_is_accounted_for_and_split(folder, ctx):
    (folder / "0.csv").write_text((folder / "0.csv").read_text() + "1.5,a\n" + "2.5,b,\n" + "x,b,no.\n")
    ctx.progress = Noted()
    dataset = prepared(
        table_recipe(
            folder,
            checks=ValidateConfig(columns={"n": ColumnCheck(type="float64", minimum=-100)}, max_bad_fraction=0.05),
        ),
        ctx,
    )
    ledgers = {one.step: one for one in ctx.outcomes}
    assert [ledgers[step].rows for step in DATA_STEPS] == [241, 241, 240, 240]
    assert sum(dataset.rows.values()) == 240
    assert dataset.clean.ledger.dropped == {"require": 1}
    (line,) = ctx.progress.lines
    assert line.startswith(
        "2 of 243 rows quarantined; the first is E_ROW_FIELDS 0.csv:82: 2 fields where 3 are expected"
    )


def test_a_row_is_followed_from_its_line_to_its_split(folder, ctx):
    dataset = prepared(table_recipe(folder), ctx)
    part = dataset.clean.valid.parts[1]
    rows = read_rows(ctx.store, "validate", part.key)
    line = (folder / rows[FILE][7].as_py()).read_text().splitlines()[rows[ROW][7].as_py() - 1]
    assert float(line.split(",")[0]) == rows["n"][7].as_py()


def test_worker_processes_give_the_same_bytes_as_this_process(folder, ctx, tmp_path, monkeypatch):
    here = prepared(table_recipe(folder), ctx)
    elsewhere = open_context(Placement(home=tmp_path / "other"), "test")
    monkeypatch.setattr("components.adapters.compute.THREADS_UP_TO_BYTES", 0)
    there = prepared(table_recipe(folder), elsewhere)
    assert there.fingerprint == here.fingerprint
    assert [part.digest for part in there.parts] == [part.digest for part in here.parts]
    assert there.content == here.content


def test_nothing_changed_reuses_every_step(folder, ctx):
    trained(table_recipe(folder), ctx)
    assert ran(ctx) == [*DATA_STEPS, "train"]
    trained(table_recipe(folder), ctx)
    assert [one.why for one in ctx.outcomes] == ["nothing it depends on changed"] * 5
    assert ran(ctx) == []


def test_a_parameter_reruns_what_depends_on_it_and_says_so(folder, ctx):
    trained(table_recipe(folder), ctx)
    ran(ctx)
    more = TrainSettings(max_epochs=2, batch_size=16, learning_rate=0.02)
    trained(table_recipe(folder, settings=more), ctx)
    assert ctx.outcomes[-1].why == "config.settings.max_epochs 3 → 2 changed"
    assert ran(ctx) == ["train"]


def test_changed_bytes_rerun_the_line_but_only_the_changed_part(folder, ctx):
    prepared(table_recipe(folder), ctx)
    ran(ctx)
    before = {path: path.stat().st_mtime_ns for path in ctx.store.files.root.rglob("part.json")}
    (folder / "1.csv").write_text((folder / "1.csv").read_text() + "3.25,a,yes.\n")
    dataset = prepared(table_recipe(folder), ctx)
    assert ctx.outcomes[0].why == "input.source changed"
    assert ran(ctx) == DATA_STEPS
    after = {path: path.stat().st_mtime_ns for path in ctx.store.files.root.rglob("part.json")}
    assert {path: after[path] for path in before} == before
    assert len(after) - len(before) == len(DATA_STEPS), "one part a step"
    assert sum(dataset.rows.values()) == 241


def test_a_moved_or_touched_file_changes_nothing(folder, ctx):
    prepared(table_recipe(folder), ctx)
    ran(ctx)
    moved = folder.rename(folder.parent / "moved")
    for path in moved.iterdir():
        os.utime(path, (1, 1))
    prepared(table_recipe(moved), ctx)
    assert ran(ctx) == []


def test_equal_output_stops_the_ripple(folder, ctx):
    prepared(table_recipe(folder), ctx)
    ran(ctx)
    checks = ValidateConfig(
        columns={
            "n": ColumnCheck(type="float64", nullable=False, maximum=1e6),
            "c": ColumnCheck(type="string", max_length=9),
        }
    )
    prepared(table_recipe(folder, checks=checks), ctx)
    assert ran(ctx) == ["validate"]


def test_asking_for_a_step_again_runs_it_once(folder, ctx):
    trained(table_recipe(folder), ctx)
    ran(ctx)
    ctx.rerun = ctx.reruns(["train"])
    trained(table_recipe(folder), ctx)
    assert (ctx.outcomes[-1].why, ran(ctx)) == ("rerun asked changed", ["train"])
    ctx.rerun = ctx.reruns([])
    trained(table_recipe(folder), ctx)
    assert ran(ctx) == []


@pytest.mark.bad_input
def test_bad_input_non_image_a_non_image_among_images_is_set_aside_by_name(tmp_path, ctx):
    folder = write_images(tmp_path / "images")
    (folder / "dark" / "007.png").write_text("not an image")
    ctx.progress = Noted()
    dataset = prepared(image_recipe(folder), ctx)
    assert sum(dataset.rows.values()) == 119
    (line,) = ctx.progress.lines
    assert line.startswith("1 of 120 rows quarantined; the first is E_IMAGE dark/007.png:1: image does not decode")


@pytest.mark.bad_input
def test_bad_input_non_image_too_many_non_images_are_one_line_and_nothing_is_committed(tmp_path, ctx):
    folder = write_images(tmp_path / "images")
    for number in (3, 7):
        (folder / "dark" / f"{number:03}.png").write_bytes(png(3)[:40])
    with pytest.raises(DataError, match=r"E_QUARANTINE_LIMIT checks: 2 of 120 rows .*E_IMAGE dark/003.png:1") as caught:
        prepared(image_recipe(folder), ctx)
    assert caught.value.exit_code == 2
    assert not list(ctx.store.files.root.glob("validate/*/record.json"))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"checks": ValidateConfig(columns={"m": ColumnCheck(type="int64")})},
            "E_COLUMN_MISSING source: .*got 'm'.*n, c",
        ),
        ({"split": SplitConfig(test=0.0)}, "E_TOO_FEW_ROWS split: the test part has 0 rows of 240"),
        ({"source": "b"}, "E_COLUMN_MISSING b.csv: the file lacks a column .*got 'label'"),
        ({"source": "c"}, "E_NO_ROWS source: the source has no rows"),
    ],
)
def test_what_cannot_be_learned_from_is_one_line(folder, ctx, changes, expected):
    (folder / "b.csv").write_text("n,c\n1,a\n")
    only = folder.parent / "empty.csv"
    only.write_text("n,c,label\n")
    sources = {"b": FilesSource(uri=str(folder)), "c": FilesSource(uri=str(only))}
    changes = {name: sources.get(value, value) if name == "source" else value for name, value in changes.items()}
    if "source" not in changes:
        (folder / "b.csv").unlink()
    with pytest.raises(DataError, match=expected):
        prepared(table_recipe(folder, **changes), ctx)


def test_a_row_without_a_label_is_one_line_before_anything_is_trained(folder, ctx):
    (folder / "0.csv").write_text((folder / "0.csv").read_text() + "1,a,\n")
    with pytest.raises(
        DataError, match=r"E_LABEL target.column: 1 rows have no label; the first is 0.csv:82 .*require"
    ):
        prepared(table_recipe(folder, cleaning=()), ctx)


def test_a_class_that_training_never_saw_is_one_line(tmp_path, ctx):
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "a.train").write_text("n,c,label\n" + "".join(f"{n},a,{'xy'[n % 2]}\n" for n in range(60)))
    (folder / "a.test").write_text("n,c,label\n1,a,z\n")
    source = FilesSource(uri=str(folder), train="a.train", test="a.test")
    with pytest.raises(DataError, match="E_LABEL target.column label: a class that no training row has .got 'z'"):
        prepared(table_recipe(folder, source=source), ctx)
    (folder / "a.train").write_text("n,c,label\n" + "".join(f"{n},a,{n / 8}\n" for n in range(60)))
    with pytest.raises(DataError, match="no training row has .*; what is a number has target: {kind: value}"):
        prepared(table_recipe(folder, source=source), ctx)


class Growing(FilesSource):
    """A source whose file is written to while it is read."""

    def read(self, partition):
        rows = super().read(partition)
        with Path(partition.stamps[0][0]).open("a") as file:
            file.write("9,a,yes.\n")
        return rows


def test_a_file_that_changes_while_it_is_read_is_not_committed(folder, ctx):
    with pytest.raises(DataError, match="E_SOURCE_CHANGED source: the file changed while it was read"):
        prepared(table_recipe(folder, source=Growing(uri=str(folder))), ctx)
    assert not list(ctx.store.files.root.rglob("*.json"))


def test_features_need_names_of_their_own(folder, ctx):
    twice = (Number(columns=("n",)), Number(columns=("n",)))
    with pytest.raises(ValueError, match="E_CONFIG features.name: two features have this name .got 'numbers'"):
        prepared(table_recipe(folder, features=twice), ctx)


def test_statistics_come_from_the_training_part_only(tmp_path, ctx):
    folder = tmp_path / "t"
    folder.mkdir()
    (folder / "a.train").write_text("n,c,label\n" + "".join(f"{n},{'ab'[n // 40]},{'xy'[n % 2]}\n" for n in range(50)))
    (folder / "a.test").write_text("n,c,label\n1000000,zzz,x\n")
    dataset = prepared(table_recipe(folder, source=FilesSource(uri=str(folder), train="a.train", test="a.test")), ctx)
    assert dataset.features[0].state["mean"][0] < 50
    assert dataset.features[1].state["vocabularies"] == [["a", "b"]]
    assert dataset.rows["test"] == 1
