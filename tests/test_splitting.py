"""How rows are divided, that evaluate finds the same test rows, and what counts as a leak."""

import datetime as dt
import io
import json

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow

from components import evaluate, preprocess
from components.contracts.errors import DataError
from components.contracts.spec import FILE, KEY, ROW, SPLIT
from components.preprocess.leaks import LeakConfig
from components.statistics.keys import SPLITS, TEST, TRAIN, VALIDATION, row_keys
from components.statistics.near import near_keys, outline
from components.statistics.splits import Split, SplitConfig
from components.validate import ColumnCheck, ValidateConfig
from tests.line import cleaned_line, table_recipe


def write(folder, rows, name="0.csv"):
    folder.mkdir(exist_ok=True)
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
    test = [row for chunk in evaluate._test_rows(dataset, ctx.store) for row in chunk.to_pylist()]
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
        assert 50 < len(test) < 100
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


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("leaks", "split", "change", "expected"),
    [
        ({}, {"method": "given", "column": "part"}, "same", ""),
        (
            {"group": "person"},
            {"method": "random"},
            "",
            r"E_LEAK leaks.group: \d+ test rows have a group .* such as \d.csv:\d+, ",
        ),
        (
            {"time": "at"},
            {"method": "random"},
            "",
            r"E_LEAK leaks.time: \d+ training rows are later than the first test row",
        ),
        (
            {"near": True},
            {"method": "random"},
            "near",
            r"E_LEAK leaks.near: \d+ test rows are nearly a training row, such as",
        ),
        ({"near": True}, {"method": "random"}, "", ""),
        ({"rows": True}, {"method": "time", "column": "n"}, "", ""),
    ],
)
def test_bad_input_B42_leaks(tmp_path, ctx, leaks, split, change, expected):
    rows = made()
    if change == "near":
        rows += [{**row, "c": f" {row['c'].upper()}. "} for row in rows[:200]]
    if expected:
        with pytest.raises(DataError, match=expected):
            divided(tmp_path, ctx, rows, leaks=LeakConfig(**leaks), **split)
        return
    divided(tmp_path, ctx, rows, leaks=LeakConfig(**leaks), **split)


@pytest.mark.bad_input
def test_bad_input_B42_the_same_row_in_both_parts(tmp_path, ctx):
    rows = made()
    for part in range(2):
        write(tmp_path / "t", rows if part == 0 else rows[:100], f"{'train' if part == 0 else 'test'}.csv")
    from components.sources.files import FilesSource

    source = FilesSource(uri=str(tmp_path / "t"), train="train.csv", test="test.csv")
    recipe = table_recipe(tmp_path / "t", source=source, checks=CHECKS, cleaning=())
    clean = cleaned_line(recipe, ctx)
    config = preprocess.PreprocessConfig(features=recipe.features, target=recipe.target)
    with pytest.raises(
        DataError, match=r"E_LEAK leaks.rows: 100 test rows .* such as test.csv:2, test.csv:3, test.csv:4; "
    ):
        preprocess.run(config, clean, ctx=ctx)
    warned = []
    ctx.progress.warned = warned.append
    allowed = config.model_copy(update={"leaks": LeakConfig(limit=1)})
    preprocess.run(allowed, clean, ctx=ctx)
    assert "100 test rows have the cells of a training row" in warned[0]


def test_near_rows_share_a_key():
    image = np.tile(np.linspace(0, 255, 64).astype(np.uint8), (64, 1))

    def encoded(pixels, kind, **more):
        buffer = io.BytesIO()
        Pillow.fromarray(pixels).save(buffer, kind, **more)
        return buffer.getvalue()

    copies = [encoded(image, "PNG"), encoded(image, "JPEG", quality=80), encoded(image[:, ::-1].copy(), "PNG")]
    assert outline(copies[0]) == outline(copies[1]) != outline(copies[2])
    table = pa.table({
        "t": ["Hello, World!", "hello world", "hello there"],
        "x": [1.2341, 1.2339, 1.2339],
        "i": pa.array([copies[0], copies[1], copies[0]], pa.binary()),
    })
    keys = near_keys(table)
    assert keys[0] == keys[1] != keys[2]


def test_a_split_survives_json_and_an_older_one_is_read():
    table = pa.table({"x": np.arange(50.0), KEY: row_keys(pa.table({"x": np.arange(50.0)}))})
    table = table.append_column(SPLIT, pa.array([""] * 50)).append_column(FILE, pa.array(["f"] * 50))
    table = table.append_column(ROW, pa.array(range(50)))
    older = Split.model_validate({"test": 0.2, "validation": 0.1})
    again = Split.model_validate(json.loads(json.dumps(older.model_dump(mode="json"))))
    assert (older.parts(table) == again.parts(table)).all()
