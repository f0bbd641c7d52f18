"""How rows are divided, that evaluate finds the same test rows, and what counts as a leak."""

import datetime as dt
import json

import numpy as np
import pyarrow as pa
import pytest

from components import preprocess
from components.cleaning.keep_rows import KeepRows
from components.cleaning.require import Require
from components.contracts.errors import DataError
from components.contracts.spec import FILE, KEY, ROW, SPLIT
from components.preprocess.leaks import LeakConfig
from components.raw_rows import rows_of
from components.statistics.keys import SPLITS, TEST, TRAIN, VALIDATION, row_keys
from components.statistics.splits import Split, SplitConfig
from components.validate import ColumnCheck, ValidateConfig
from tests.line import cleaned_line, table_recipe


def write(folder, rows, name="0.csv"):
    folder.mkdir(parents=True, exist_ok=True)
    lines = [",".join(map(str, row.values())) for row in rows]
    (folder / name).write_text(",".join(rows[0]) + "\n" + "\n".join(lines) + "\n")
    return folder


def made(count=600, seed=0):
    rng = np.random.default_rng(seed)
    start = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    return [
        {
            "n": round(float(rng.normal()), 6),
            "c": rng.choice(["a", "b"]),
            "label": "yes" if rng.random() < 0.07 else "no",
            "person": f"p{rng.integers(40)}",
            "at": (start + dt.timedelta(hours=int(rng.integers(0, 5000)))).strftime("%Y-%m-%dT%H:%M:%S"),
            "part": rng.choice(["train", "train", "train", "test"]),
        }
        for _ in range(count)
    ]


CHECKS = ValidateConfig(columns={"n": ColumnCheck(type="float64"), "at": ColumnCheck(type="timestamp", timezone="UTC")})


def divided(tmp_path, ctx, rows, *, leaks=LeakConfig(), parts=3, **split):
    """The dataset of these rows, and each test row as evaluate sees it."""
    for part in range(parts):
        write(tmp_path / "t", rows[part::parts], f"{part}.csv")
    recipe = table_recipe(tmp_path / "t", checks=CHECKS, cleaning=(), split=SplitConfig(**split))
    clean = cleaned_line(recipe, ctx)
    config = preprocess.PreprocessConfig(
        features=recipe.features, target=recipe.target, split=recipe.split, leaks=leaks
    )
    dataset = preprocess.run(config, clean, ctx=ctx)
    test = [row for chunk in rows_of(dataset, ctx.store) for row in chunk.to_pylist()]
    assert len(test) == dataset.rows[TEST], "evaluate and preprocess agree"
    return dataset, test


def everything(dataset, ctx):
    """Each part's rows, by preprocess's own split."""
    split = Split.model_validate(dataset.split)
    found = {name: [] for name in SPLITS}
    for part in dataset.clean.parts:
        table = preprocess.split_rows(ctx.store, part, split)
        for row, where in zip(table.to_pylist(), split.parts(table), strict=True):
            found[where].append(row)
    assert {name: len(rows) for name, rows in found.items()} == dataset.rows
    return found


def test_strata_have_their_shares_to_the_row(tmp_path, ctx):
    rows = made()
    dataset, test = divided(tmp_path, ctx, rows, method="stratified", column="label", test=0.25, validation=0.2)
    found = everything(dataset, ctx)
    for label in ("yes", "no"):
        total = sum(row["label"] == label for row in rows)
        tested = sum(row["label"] == label for row in test)
        assert tested == round(0.25 * total)
        assert sum(row["label"] == label for row in found[VALIDATION]) == round(0.2 * (total - tested))


def test_groups_stay_together(tmp_path, ctx):
    dataset, _ = divided(
        tmp_path, ctx, made(), method="grouped", column="person", leaks=LeakConfig(group="person", limit=0)
    )
    groups = {name: {row["person"] for row in rows} for name, rows in everything(dataset, ctx).items()}
    assert not groups[TRAIN] & groups[TEST]
    assert not groups[VALIDATION] & groups[TEST]
    assert not groups[TRAIN] & groups[VALIDATION]


def test_the_last_rows_by_time_are_the_test(tmp_path, ctx):
    rows = made()
    leaks = LeakConfig(time="at", limit=0)
    dataset, test = divided(tmp_path, ctx, rows, method="time", column="at", test=0.2, leaks=leaks)
    found = everything(dataset, ctx)
    times = {name: [row["at"] for row in part] for name, part in found.items()}
    assert max(times[TRAIN]) < min(times[VALIDATION])
    assert max(times[VALIDATION]) < min(times[TEST])
    assert abs(len(test) - 120) <= 3
    dataset, test = divided(tmp_path, ctx, rows, method="time", column="at", test_from="2024-05-01", leaks=leaks)
    assert min(row["at"] for row in test) >= dt.datetime(2024, 5, 1, tzinfo=dt.UTC)
    assert len(test) == sum(row["at"] >= "2024-05-01" for row in rows)


def test_every_row_is_tested_in_one_fold(tmp_path, ctx):
    rows = made(300)
    seen = []
    for fold in range(4):
        _, test = divided(tmp_path, ctx, rows, method="k-fold", folds=4, fold=fold)
        assert len(test) == 75
        seen += [(row[FILE], row[ROW]) for row in test]
    assert len(seen) == len(set(seen)) == 300


def test_another_seed_gives_another_random_split_and_the_same_one_the_same(tmp_path, ctx):
    rows = made()
    drawn = [divided(tmp_path, ctx, rows, method="random", seed=seed)[1] for seed in (0, 0, 1)]
    ids = [{(row[FILE], row[ROW]) for row in test} for test in drawn]
    assert ids[0] == ids[1] != ids[2]
    assert all(90 < len(one) < 150 for one in ids)


def test_parts_that_a_column_gives(tmp_path, ctx):
    rows = made()
    _, test = divided(tmp_path, ctx, rows, method="given", column="part")
    assert {row["part"] for row in test} == {"test"}
    assert len(test) == sum(row["part"] == "test" for row in rows)
    rows[7]["part"] = "holdout"
    with pytest.raises(
        DataError, match=r"E_SPLIT .*csv:\d+: 1 rows: the row is in no part; part says train, validation"
    ):
        divided(tmp_path, ctx, rows, method="given", column="part")


def test_rows_without_a_time_are_one_line(tmp_path, ctx):
    rows = made()
    rows[7]["at"] = ""
    with pytest.raises(DataError, match=r"E_SPLIT 1.csv:4: 1 rows: the row has no time"):
        divided(tmp_path, ctx, rows, method="time", column="at")
    with pytest.raises(DataError, match=r"E_SPLIT .*label is string, no time and no number"):
        divided(tmp_path, ctx, made(), method="time", column="label")
    with pytest.raises(DataError, match="E_COLUMN_MISSING split.column: .*got 'perso'"):
        divided(tmp_path, ctx, made(), method="grouped", column="perso")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"method": "grouped"}, "grouped needs column"),
        ({"method": "hash", "column": "a"}, "hash looks at no column"),
        ({"method": "k-fold", "fold": 5}, "there are folds 0 to 4"),
        ({"test_from": "2024-01-01"}, "test_from belongs to time"),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(fields, expected):
    with pytest.raises(ValueError, match=expected):
        SplitConfig(**fields)


def test_the_default_split_does_not_change_while_data_grow(tmp_path, ctx):
    rows = made()
    _, few = divided(tmp_path, ctx, rows[:300])
    _, more = divided(tmp_path, ctx, rows)
    assert {row["n"] for row in few} <= {row["n"] for row in more}


def test_a_split_survives_json_and_an_older_one_is_read():
    table = pa.table({"x": np.arange(50.0), KEY: row_keys(pa.table({"x": np.arange(50.0)}))})
    table = table.append_column(SPLIT, pa.array([""] * 50)).append_column(FILE, pa.array(["f"] * 50))
    table = table.append_column(ROW, pa.array(range(50)))
    older = Split.model_validate({"test": 0.2, "validation": 0.1})
    again = Split.model_validate(json.loads(json.dumps(older.model_dump(mode="json"))))
    assert (older.parts(table) == again.parts(table)).all()


def test_parts_that_files_give_are_the_same_however_rows_lie_in_files(tmp_path, ctx):
    rows = [{**row, "part": ["train", "train", "validation", "test"][at % 4]} for at, row in enumerate(made(400))]
    together, _ = divided(tmp_path / "a", ctx, rows, parts=1, method="given", column="part")
    for name in ("train", "validation", "test"):
        write(tmp_path / "b", [row for row in rows if row["part"] == name], f"{name}.csv")
    recipe = table_recipe(tmp_path / "b", checks=CHECKS, cleaning=(), split=SplitConfig(method="given", column="part"))
    config = preprocess.PreprocessConfig(features=recipe.features, target=recipe.target, split=recipe.split)
    apart = preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)
    assert apart.rows == together.rows == {TRAIN: 200, VALIDATION: 100, TEST: 100}


@pytest.mark.parametrize(("method", "column"), [("time", "at"), ("given", "part")])
def test_rows_that_cleaning_drops_need_not_be_divided(tmp_path, ctx, method, column):
    rows = made()
    rows[7][column] = rows[300][column] = ""
    for part in range(3):
        write(tmp_path / "t", rows[part::3], f"{part}.csv")
    cleaning = (
        (Require(columns=(column,)), KeepRows(column=column, when="not-equal", value=""))
        if method == "given"
        else (Require(columns=(column,)),)
    )
    split = SplitConfig(method=method, column=column)
    recipe = table_recipe(tmp_path / "t", checks=CHECKS, cleaning=cleaning, split=split)
    config = preprocess.PreprocessConfig(features=recipe.features, target=recipe.target, split=split)
    dataset = preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)
    assert sum(chunk.num_rows for chunk in rows_of(dataset, ctx.store)) == dataset.rows[TEST]


def test_what_cannot_say_where_a_row_belongs_is_one_line(tmp_path, ctx):
    table = pa.table({
        "l": [[1]],
        "b": pa.array([b"\xff"]),
        KEY: pa.array([1], pa.uint64()),
        SPLIT: [""],
        FILE: ["f"],
        ROW: [1],
    })
    for column in ("l", "b"):
        with pytest.raises(DataError, match="E_SPLIT split.column: .* cells say of no row where it belongs"):
            Split(method="stratified", column=column).parts(table)
    with pytest.raises(ValueError, match="Invalid isoformat"):
        SplitConfig(method="time", column="at", test_from="next monday")
