"""Shards that are not as they were committed, or not as their dataset says: refused before a batch is made of them."""

import shutil

import numpy as np
import pyarrow as pa
import pytest

from components import preprocess, train
from components.adapters import store as store_module
from components.adapters.dataset_store import Loader, ShardFile, Shards
from components.adapters.shard_files import write_shard
from components.contracts.errors import DataError, IntegrityError
from components.features.category import Category
from components.features.number import Number
from components.features.shards import ARRAYS, FIT, read_fit, shard_files, shard_name, write_fit
from components.objectives.classification import Classification
from components.sources.files import FilesSource
from components.statistics.keys import TRAIN
from components.statistics.splits import SplitConfig
from components.train import TrainConfig, TrainSettings, job_of
from components.validate import ColumnCheck, ValidateConfig
from tests.faults.kills import killed_at
from tests.line import cleaned_line, prepared, table_recipe, write_table

CHECKS = ValidateConfig(columns={"n": ColumnCheck(type="float64"), "c": ColumnCheck(type="string")})


def recipe_of(folder):
    return table_recipe(folder, features=(Number(columns=("n",), missing="median"), Category(columns=("c",))))


def parts_of(dataset, ctx):
    """The folder of each part."""
    records = [ctx.store.part(dataset.step, part.key).standing() for part in dataset.parts]
    return [ctx.store.open(record, FIT).parent for record in records]


def loads(dataset, ctx):
    """Every row of the training part, read."""
    loader = Loader(shard_files(dataset, ctx.store, TRAIN), 16)
    return sum(len(batch["numbers"]) for batch in loader.epoch(0)) == dataset.rows[TRAIN]


def damaged(path, how, at=0):
    if how == "deleted":
        path.unlink()
        return
    body = bytearray(path.read_bytes())
    body[at] ^= 1 << at % 8
    path.unlink()
    path.write_bytes(body[: max(at, 1)] if how == "truncated" else body)


@pytest.fixture
def versions(tmp_path, ctx):
    """A dataset, the next one with a file more, and the folder of the part that only the next one has."""
    folder = write_table(tmp_path / "t")
    first = prepared(recipe_of(folder), ctx)
    (folder / "9.csv").write_text((folder / "0.csv").read_text().replace("yes", "no"))
    second = prepared(recipe_of(folder), ctx)
    (new,) = set(parts_of(second, ctx)) - set(parts_of(first, ctx))
    return first, second, new


@pytest.mark.faults
def test_fault_F23_a_damaged_part(versions, ctx, tmp_path, tally):
    """F23-flip-truncate-delete: reading refuses, names the file and both digests; the version before still loads."""
    first, second, new = versions
    files = [shard_name(TRAIN), FIT, ARRAYS]
    kept = shutil.copytree(new, tmp_path / "kept")
    drawn = np.random.default_rng(0)
    cases = [("deleted", name, 0) for name in files]
    for how, count in (("flipped", 64), ("truncated", 16)):
        cases += [
            (how, files[at % 3], int(drawn.integers((kept / files[at % 3]).stat().st_size))) for at in range(count)
        ]
    with tally("F23-flip-truncate-delete") as count:
        for how, name, at in cases:
            damaged(new / name, how, at)
            count.injected += 1
            try:
                for file in shard_files(second, ctx.store, TRAIN):
                    assert file.fit
                read_fit(ctx.store, ctx.store.part(second.step, new.parent.name).standing())
            except IntegrityError as error:
                count.hit += 1
                line = str(error)

                def named(line=line, name=name):
                    assert line.startswith("E_DIGEST ")
                    assert name in line
                    assert "committed as" in line
                    assert "found" in line

                count.holds(named)
            count.holds(lambda: loads(first, ctx) or pytest.fail("the version before does not load"))
            (new / name).unlink(missing_ok=True)
            shutil.copyfile(kept / name, new / name)
        assert loads(second, ctx)


@pytest.mark.faults
def test_fault_F24_killed_between_fitting_and_the_end(tmp_path, ctx, tally):
    """F24-kill-in-preprocess: whatever was made before, the next run's state is of its own rows alone."""
    folder = write_table(tmp_path / "t", files=4)
    recipe = recipe_of(folder)
    rows = cleaned_line(recipe, ctx)
    config = preprocess.PreprocessConfig(features=recipe.features, target=recipe.target)
    whole = preprocess.run(config, rows, ctx=ctx)
    place = ctx.placement.home / "store" / "preprocess"
    (folder / "3.csv").write_text((folder / "0.csv").read_text().replace("yes", "no"))
    changed_rows = cleaned_line(recipe, ctx)
    changed = preprocess.run(config, changed_rows, ctx=ctx)
    assert changed.content != whole.content
    shutil.rmtree(place)
    with tally("F24-kill-in-preprocess") as count:
        number = 0
        while True:
            number += 1
            store_module.CHECKED.clear()
            if not killed_at(number, lambda: preprocess.run(config, rows, ctx=ctx)):
                break
            count.injected += 1
            count.hit += 1

            def same():
                store_module.CHECKED.clear()
                assert preprocess.run(config, changed_rows, ctx=ctx).content == changed.content
                assert preprocess.run(config, rows, ctx=ctx).content == whole.content

            count.holds(same)
            shutil.rmtree(place)
    assert count.injected > 15


@pytest.mark.parametrize("how", ["flipped", "truncated", "deleted"])
def test_a_damaged_shard_is_refused_before_training_starts(versions, ctx, how, monkeypatch):
    first, second, new = versions
    config = TrainConfig(model=recipe_of(new).model, objective=Classification(), settings=TrainSettings(max_epochs=1))
    damaged(new / shard_name(TRAIN), how, 100)
    with pytest.raises(IntegrityError, match=f"E_DIGEST .*{shard_name(TRAIN)}.*--rerun preprocess"):
        train.run(config, second, ctx=ctx)
    assert loads(first, ctx)


def test_a_shard_is_checked_once(versions, ctx, monkeypatch):
    """By the process that starts training; what it starts is told that they are sound."""
    _, second, new = versions
    store_module.CHECKED.clear()
    looked = []
    monkeypatch.setattr(
        store_module, "digest_file", lambda path, real=store_module.digest_file: (looked.append(path), real(path))[1]
    )
    config = TrainConfig(model=recipe_of(new).model, objective=Classification())
    for _ in range(2):
        job_of(config, second, ctx, new)
    shards = [path for path in looked if path.suffix == ".arrow"]
    assert len(shards) == len(set(shards)) == 2 * len(second.parts)


def test_shards_that_are_not_what_the_dataset_says_are_refused(tmp_path):
    def shard(name, rows=4, kind=np.float32, **more):
        write_shard({"x": np.zeros((rows, 2), kind), **more}, tmp_path / name)
        return ShardFile(path=str(tmp_path / name), rows=4)

    sound = shard("a")
    assert Shards([sound, shard("b")]).rows == 8
    for wrong, what in (
        (shard("c", rows=3), "it has 3 rows"),
        (shard("d", kind=np.float64), "its column x is float64[2]"),
        (shard("e", y=np.zeros(4)), "its column y is float64[]"),
    ):
        with pytest.raises(IntegrityError) as raised:
            Shards([sound, wrong])
        assert str(raised.value).startswith(f"E_SHARD {wrong.path}: a shard is not as its dataset says: {what[:20]}")
        assert "--rerun preprocess" in str(raised.value)


def test_what_is_no_shard_of_ours_is_refused(tmp_path):
    """Of another format, cut off, or a table that somebody else wrote."""
    write_shard({"x": np.zeros((4, 2))}, tmp_path / "whole")
    body = (tmp_path / "whole").read_bytes()
    (tmp_path / "cut").write_bytes(body[: len(body) // 2])
    (tmp_path / "none").write_bytes(b"")
    table = pa.table({"x": pa.array([[1.0], [2.0]], pa.list_(pa.float64(), 1))})
    with pa.ipc.new_file(str(tmp_path / "other"), table.schema) as writer:
        writer.write_table(table)
    for name in ("cut", "none", "other", "gone"):
        with pytest.raises(IntegrityError, match=f"E_SHARD .*{name}: a shard cannot be read"):
            Shards([ShardFile(path=str(tmp_path / name), rows=4)])


def test_arrays_anywhere_in_what_a_part_knows_come_back(tmp_path, ctx):
    known = {
        "partial": {"a": {"q": [np.arange(6.0).reshape(2, 3), np.zeros((2, 0))], "n": 3}},
        "dictionaries": {"b": [["array"]]},
        "counts": {"array": 2},
    }
    with ctx.store.part("preprocess", "0" * 32).attempt() as attempt:
        write_fit(attempt.folder, **known)
        record = attempt.commit({})
    found = read_fit(ctx.store, record)
    assert found["dictionaries"] == known["dictionaries"]
    assert found["counts"] == known["counts"], "a text of the data is no mark of ours"
    assert found["partial"]["a"]["n"] == 3
    for one, other in zip(found["partial"]["a"]["q"], known["partial"]["a"]["q"], strict=True):
        assert np.array_equal(one, other)
        assert one.shape == other.shape


def test_states_of_many_parts_are_those_of_all_rows_and_runs_stay(tmp_path, ctx):
    """More parts than are merged at a time; one that changes has its own run merged again."""
    folder = write_table(tmp_path / "t", rows=1200, files=40)
    recipe = recipe_of(folder)
    many = prepared(recipe, ctx)
    assert len(many.parts) == 40
    (tmp_path / "one").mkdir()
    lines = [line for path in sorted(folder.glob("*.csv")) for line in path.read_text().splitlines()[1:]]
    (tmp_path / "one" / "0.csv").write_text("\n".join(["n,c,label", *lines]) + "\n")
    alone = prepared(recipe_of(tmp_path / "one"), ctx)
    for one, other in zip(many.features, alone.features, strict=True):
        for name, value in other.state.items():
            exact = not (isinstance(value, list) and value and isinstance(value[0], float))
            assert one.state[name] == (value if exact else pytest.approx(value, rel=1e-9))
    runs = {path.parent for path in (ctx.placement.home / "store" / "preprocess" / "parts").glob("*/*/fit.json")}
    (folder / "39.csv").write_text((folder / "38.csv").read_text().replace("yes", "no"))
    again = prepared(recipe, ctx)
    more = {path.parent for path in (ctx.placement.home / "store" / "preprocess" / "parts").glob("*/*/fit.json")}
    assert again.content != many.content
    assert len(more) - len(runs) == 2, "the part, and the run that it is in"


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("row", "header", "lines", "line"),
    [
        ("B41-one-class", "n,c,label,id", "{0},a,yes,{3}", "E_LABEL target.column label: the training part has fewer than two classes"),
        ("B41-missing", "n,c,label,id", "{0},a,{1},{3}", "E_LABEL target.column: 1 rows have no label; the first is .*0.csv:6"),
        ("B41-all-missing", "n,c,label,id", ",a,{2},{3}", "E_FEATURE_DEAD features.0.columns: 1 columns have no value, or one alone"),
        ("B41-constant", "n,c,label,id", "5,a,{2},{3}", "E_FEATURE_DEAD features.0.columns: .*got 'n'.; leave them out, or set dead_col"),
        ("B41-no-category", "n,c,label,id", "{0},,{2},{3}", "E_FEATURE_DEAD features.1.columns: .*got 'c'"),
        ("B41-one-category", "n,c,label,id", "{0},a,{2},{3}", "E_FEATURE_DEAD features.1.columns: .*got 'c'"),
    ],
)  # fmt: skip
def test_bad_input_B41_labels_and_features(row, header, lines, line, tmp_path, ctx):
    """B41: one line before training, with what to do."""
    (tmp_path / "t").mkdir()
    rows = [lines.format(at * 1.5, "" if at == 4 else "ab"[at % 2], "ab"[at % 2], at) for at in range(200)]
    (tmp_path / "t" / "0.csv").write_text("\n".join([header, *rows]) + "\n")
    recipe = table_recipe(tmp_path / "t", cleaning=(), checks=CHECKS)
    with pytest.raises(DataError, match=line):
        prepared(recipe, ctx)


@pytest.mark.bad_input
def test_bad_input_B41_a_class_that_no_training_row_has(tmp_path, ctx):
    """B41-unseen-class: it would be in the test part alone."""
    (tmp_path / "t").mkdir()
    lines = [f"{at * 1.5},a,{'ab'[at % 2]},{'test' if at % 4 == 0 else 'train'}" for at in range(200)]
    lines.append("7,a,z,test")
    (tmp_path / "t" / "0.csv").write_text("\n".join(["n,c,label,part", *lines]) + "\n")
    recipe = table_recipe(
        tmp_path / "t",
        source=FilesSource(uri=str(tmp_path / "t")),
        checks=CHECKS,
        cleaning=(),
        split=SplitConfig(method="given", column="part"),
    )
    with pytest.raises(DataError, match="E_LABEL target.column label: a class that no training row has .got 'z'"):
        prepared(recipe, ctx)


@pytest.mark.bad_input
def test_bad_input_B43_fewer_rows_than_processes_or_none_at_all(tmp_path, ctx, monkeypatch):
    """B43: said before a process is started; an empty part is said by preprocess."""
    recipe = table_recipe(write_table(tmp_path / "t", rows=30))
    dataset = prepared(recipe, ctx)
    monkeypatch.setattr(train, "check_devices", lambda *_: None)
    settings = TrainSettings(devices=dataset.rows["validation"] + 1)
    config = TrainConfig(model=recipe.model, objective=Classification(), settings=settings)
    with pytest.raises(DataError, match="E_TOO_FEW_ROWS train.devices: the validation part has .* rows for"):
        train.run(config, dataset, ctx=ctx)
    few = table_recipe(write_table(tmp_path / "few", rows=3))
    with pytest.raises(DataError, match="E_TOO_FEW_ROWS split: the .* part has . rows"):
        prepared(few, ctx)
