"""What training may not share with the test part."""

import io

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image as Pillow

from components import preprocess
from components.contracts.errors import DataError
from components.preprocess.leaks import LeakConfig
from components.sources.files import FilesSource
from components.statistics.near import near_keys, outline
from tests.line import cleaned_line, table_recipe
from tests.test_splitting import CHECKS, divided, made, write


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("leaks", "split", "change", "expected"),
    [
        ({}, {"method": "given", "column": "part"}, "", ""),
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
            r"E_LEAK leaks.time: \d+ test rows are earlier than the last training row, such as",
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


def test_missing_times_and_groups_are_no_leak_and_hide_none(tmp_path, ctx):
    rows = made()
    for row in rows[:10]:
        row["at"] = row["person"] = ""
    with pytest.raises(DataError, match="E_LEAK leaks.time"):
        divided(tmp_path / "a", ctx, rows, leaks=LeakConfig(time="at"), method="random")
    divided(tmp_path / "a", ctx, rows, leaks=LeakConfig(time="at", limit=1), method="random")
    alone = [{**row, "person": "" if at % 3 else f"only {at}"} for at, row in enumerate(made())]
    divided(tmp_path / "b", ctx, alone, leaks=LeakConfig(group="person", limit=0), method="random")
