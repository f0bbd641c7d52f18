"""Scales, bins, series and cells that are none, beside what others make of the same data."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer

from components.contracts.errors import DataError
from components.features.bag import Bag
from components.features.bins import Bins
from components.features.boolean import Boolean
from components.features.boxes import Boxes
from components.features.category import Category
from components.features.image import Image
from components.features.number import Number
from components.features.series import Series
from components.features.times import Times
from components.features.vector import Vector
from tests.features.cases import applied, boxes_table, fit


@pytest.fixture
def numbers():
    random = np.random.default_rng(0)
    return pa.table({"a": random.lognormal(size=3000), "b": np.round(random.normal(0, 2, 3000))})


def array(table):
    return np.stack([table["a"], table["b"]], axis=1)


def test_numbers_are_brought_to_the_scales_that_scikit_learn_has(numbers):
    for scale, theirs, close in (
        ("min-max", MinMaxScaler(), 1e-6),
        ("quantile", QuantileTransformer(n_quantiles=101, subsample=None), 0.01),
    ):
        feature = Number(columns=("a", "b"), scale=scale)
        state = fit(feature, numbers.slice(0, 700), numbers.slice(700))
        assert np.allclose(applied(feature, state, numbers), theirs.fit_transform(array(numbers)), atol=close)
    beyond = pa.table({"a": [-1e6, 1e6], "b": [0.0, None]})
    share = applied(feature, state, beyond)
    assert share[:, 0].tolist() == [0, 1]
    bare = Number(columns=("a", "b"), scale="none")
    assert np.allclose(applied(bare, fit(bare, numbers), numbers), array(numbers), rtol=1e-4, atol=1e-4)
    clipped = Number(columns=("a",), scale="min-max", outliers="clip", outlier_factor=1.0)
    tensor = applied(clipped, fit(clipped, numbers), numbers)
    assert tensor.min() == 0
    assert tensor.max() < 0.5, "what lies far off is clipped first"


def test_bins_hold_as_many_rows_or_are_as_wide(numbers):
    quarters = Bins(columns=("a",), count=4)
    state = fit(quarters, numbers.slice(0, 1000), numbers.slice(1000))
    bins = applied(quarters, state, numbers)[:, 0]
    assert np.bincount(bins).tolist() == pytest.approx([0, 750, 750, 750, 750], abs=4)
    equal = Bins(columns=("b",), count=5, edges="equal")
    state = fit(equal, numbers)
    values = np.asarray(numbers["b"])
    edges = np.linspace(values.min(), values.max(), 6)[1:-1]
    assert np.array(state["edges"][0]) == pytest.approx(edges)
    assert applied(equal, state, numbers)[:, 0].tolist() == (np.digitize(values, edges) + 1).tolist()
    hot = Bins(columns=("b",), count=5, edges="equal", encoding="one-hot")
    some = pa.table({"b": [None, values.min(), 1e9]})
    assert applied(hot, state, some).tolist() == [[1, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 0, 1]]
    constant = pa.table({"b": [2.0, 2.0]})
    assert fit(quarters.model_copy(update={"columns": ("b",)}), constant)["edges"] == [[]]


def test_one_hot_is_a_one_where_the_index_points():
    table = pa.table({"c": ["a", "b", "a", None], "d": ["x", "x", "x", "y"]})
    index, hot = Category(columns=("c", "d")), Category(columns=("c", "d"), encoding="one-hot")
    state = fit(index, table)
    wanted = [torch.nn.functional.one_hot(one, 3) for one in applied(index, state, table).T]
    assert torch.equal(applied(hot, state, table), torch.cat(wanted, 1).float())
    assert hot.spec(state).shape == (6,)


def test_series_are_their_last_steps_each_on_its_own_scale():
    lists = [[1.0, 2.0, 3.0, 5.0], [7.0], [], None, [4.0, 4.0, 4.0]]
    table = pa.table({"s": pa.array(lists, pa.list_(pa.float64()))})
    bare = Series(columns=("s",), window=3, scale="none").prepare(table).values[:, 0]
    assert bare.tolist() == [[2, 3, 5], [7, 7, 7], [0, 0, 0], [0, 0, 0], [4, 4, 4]]
    steps = Series(columns=("s",), window=3, scale="none", differences=True).prepare(table).values[:, 0]
    assert steps[0].tolist() == [0, 1, 2]
    own = Series(columns=("s",), window=3).prepare(table).values[:, 0]
    assert own[0] == pytest.approx((np.array([2, 3, 5]) - 10 / 3) / np.std([2, 3, 5]))
    assert own[1:].tolist() == [[0, 0, 0]] * 4
    whole = Series(columns=("s",), window=3, scale="training")
    tensor = applied(whole, fit(whole, table), table)
    assert tensor.mean() == pytest.approx(0, abs=1e-6)
    assert tensor.std(unbiased=False) == pytest.approx(1, rel=1e-5)
    assert Series(columns=("s",), window=3, scale="none").prepare(table.slice(1, 2)).values[0, 0, 0] == 7
    with pytest.raises(DataError, match="E_VALUE features.series: a list of s lacks a step"):
        whole.prepare(pa.table({"s": pa.array([[1.0, None]])}))


def test_values_that_are_equal_are_not_divided_by_what_rounding_leaves():
    table = pa.table({
        "x": [0.1] * 1000,
        "when": pa.array([10**15] * 1000, pa.timestamp("us")),
        "s": [[0.3] * 10] * 1000,
    })
    number = Number(columns=("x",), log=True)
    state = fit(number, table.slice(0, 333), table.slice(333))
    assert (state["scale"], state["dead"]) == ([1.0], ["x"])
    assert abs(applied(number, state, pa.table({"x": [0.101]}))).max() < 0.01
    times = Times(columns=("when",), parts=("elapsed",))
    assert fit(times, table.slice(0, 333), table.slice(333))["scale"] == [1.0]
    assert np.abs(Series(columns=("s",), window=10).prepare(table).values).max() < 1e-9


def test_the_bare_scale_leaves_numbers_as_they_are():
    random = np.random.default_rng(0)
    values = [*random.lognormal(0, 3, 500).tolist(), 0.001, 1e9]
    table = pa.table({"x": pa.array([*values, None])})
    feature = Number(columns=("x",), scale="none", outliers="clip")
    tensor = applied(feature, fit(feature, table), table)[:, 0].numpy()
    kept = tensor[:-1] == np.array(values, np.float32)
    assert 0.85 < kept.mean() < 1
    assert tensor[500] == np.float32(0.001)
    assert tensor[501] < 1e9, "clipped"


def test_a_few_values_above_many_that_are_the_same_are_a_bin():
    table = pa.table({"x": [0.0] * 95 + [1.0, 2.0, 3.0, 4.0, 5.0]})
    feature = Bins(columns=("x",), count=10)
    state = fit(feature, table)
    assert state == {"edges": [[1.0]], "dead": []}
    assert np.bincount(applied(feature, state, table)[:, 0]).tolist() == [0, 95, 5]


def test_a_column_that_says_whether_it_is_there_is_not_dead():
    holes, nothing = pa.table({"x": [1.0, None] * 50}), pa.table({"x": pa.array([None] * 100, pa.float64())})
    for feature, dead in (
        (Bins(columns=("x",)), []), (Number(columns=("x",), missing_flags=True), []), (Number(columns=("x",)), ["x"]),
    ):  # fmt: skip
        assert fit(feature, holes)["dead"] == dead
        assert fit(feature, nothing)["dead"] == ["x"]


@pytest.mark.parametrize(
    ("feature", "cells", "line"),
    [
        (Vector(column="c", length=2), [[1e39, 1.0]], "E_VALUE features.vector: a number that is none, or that 32 bits"),
        (Vector(column="c", length=2), [[float("nan"), 1.0]], "E_VALUE features.vector: a number that is none"),
        (Series(columns=("c",), window=2), [[float("inf"), 1.0]], "E_VALUE features.series: a number that is none"),
        (Boxes(boxes="c", classes=("a",)), [[0.0, 5.0, 10.0, None]], "E_VALUE features.boxes: a box is empty, or lies"),
        (Boxes(boxes="c", classes=("a",)), ["no"], "E_TYPE features.boxes: c is string, no list of double"),
        (Image(column="c", height=2, width=2), pa.array([None], pa.binary()), "E_IMAGE features.image: a row has no image"),
    ],
)  # fmt: skip
def test_cells_that_are_no_numbers_are_one_line(feature, cells, line):
    table = boxes_table([["a"]], [[0, 0, 1, 1]]).append_column("c", pa.array(cells))
    with np.errstate(all="ignore"), pytest.raises(DataError, match=line):
        feature.prepare(table)


@pytest.mark.parametrize("feature", [Series(columns=("x",), window=2), Vector(column="x", length=2)])
def test_a_column_that_is_no_list_is_one_line(feature):
    with pytest.raises(DataError, match="E_TYPE features.(series|vector): x is double, no lists of numbers"):
        feature.prepare(pa.table({"x": [1.0, 2.0]}))


def test_a_feature_that_says_nothing_is_dead():
    table = pa.table({"c": ["a"] * 3, "b": [True] * 3, "t": pa.array([None] * 3, pa.string())})
    for feature in (Category(columns=("c",)), Boolean(columns=("b",), missing_flags=True), Bag(column="t")):
        assert fit(feature, table)["dead"] == [feature.columns[0]]
    missing = pa.table({"c": ["a", None], "b": [True, None]})
    for feature in (Category(columns=("c",)), Boolean(columns=("b",), missing_flags=True)):
        assert fit(feature, missing)["dead"] == []
