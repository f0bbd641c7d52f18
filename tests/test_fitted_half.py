"""What is learned from the training part alone: fillings, bounds, rows that are left out, and how classes count."""

from collections import Counter
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
import torch

from components import preprocess
from components.features.category import Category
from components.features.feature import Prepared
from components.features.label import Label
from components.features.number import Number
from components.statistics.keys import TRAIN
from components.statistics.quantiles import POINTS, joined, quantile, summary
from components.validate import ColumnCheck, ValidateConfig
from tests.line import cleaned_line, loader_of, numbers_of, table_recipe


def holed(rows=4000, seed=0, share=0.2):
    """Three columns of which the third follows from the first two, with holes."""
    rng = np.random.default_rng(seed)
    x, y = rng.normal(5, 2, rows), rng.normal(-1, 1, rows)
    values = np.stack([x, y, 3 * x - 2 * y + rng.normal(0, 0.1, rows)], axis=1).astype(np.float32)
    holes = rng.random(values.shape) < share
    return values, np.where(holes, np.nan, values).astype(np.float32), holes


def fitted(feature, values, parts):
    partial = [feature.fit(Prepared(values=one)) for one in np.array_split(values, parts)]
    return feature.finish(reduce(feature.merge, partial))


def applied(feature, state, values):
    """The feature's numbers in the columns' own units."""
    standard = feature.apply(torch.from_numpy(values), state).numpy()
    return standard[:, :3] * np.array(state["scale"]) + np.array(state["mean"])


@pytest.mark.parametrize("parts", [1, 7])
@pytest.mark.parametrize("strategy", ["mean", "median", "mode"])
def test_a_missing_number_is_what_the_training_rows_say(strategy, parts):
    _, values, holes = holed()
    if strategy == "mode":
        values = np.round(values)
    feature = Number(columns=("a", "b", "c"), missing=strategy)
    state = fitted(feature, values, parts)
    if strategy == "mode":
        expected = [Counter(column[~np.isnan(column)].tolist()).most_common(1)[0][0] for column in values.T]
    else:
        expected = (np.nanmean if strategy == "mean" else np.nanmedian)(values.astype(np.float64), axis=0)
    found = applied(feature, state, values)
    for column in range(3):
        assert found[holes[:, column], column] == pytest.approx(expected[column], abs=0.02)
    assert found[~holes] == pytest.approx(values[~holes], abs=1e-4)
    assert state["missing"] == holes.sum(0).tolist()


@pytest.mark.parametrize("parts", [1, 5])
def test_a_missing_number_is_predicted_from_the_other_columns(parts):
    _, values, _ = holed()
    feature = Number(columns=("a", "b", "c"), missing="model")
    state = fitted(feature, values, parts)
    fresh_whole, fresh, fresh_holes = holed(seed=1)
    only = fresh_holes & (fresh_holes.sum(1) == 1)[:, None]
    error = (applied(feature, state, fresh) - fresh_whole)[only]
    mean = {name: state[name] for name in ("mean", "scale")}
    plain = (applied(feature, mean, fresh) - fresh_whole)[only]
    assert np.sqrt((error**2).mean()) < 0.15 * np.sqrt((plain**2).mean())
    assert np.isfinite(applied(feature, state, fresh)).all(), "also where everything is missing"


def test_a_column_that_is_constant_or_wholly_missing_is_filled_and_not_divided_by_nothing():
    values = np.stack([np.full(50, 7.0), np.full(50, np.nan), np.arange(50.0)], axis=1).astype(np.float32)
    for strategy in ("mean", "median", "mode", "model"):
        feature = Number(columns=("a", "b", "c"), missing=strategy, outliers="clip")
        state = fitted(feature, values, 3)
        assert torch.isfinite(feature.apply(torch.from_numpy(values), state)).all(), strategy


@pytest.mark.parametrize("rule", ["iqr", "z-score"])
def test_cells_that_lie_far_off_are_clipped_or_flagged(rule):
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (5000, 1)).astype(np.float32)
    values[:20] = 50
    if rule == "iqr":
        first, last = np.quantile(values, [0.25, 0.75])
        high = last + 3 * (last - first)
    else:
        high = values.mean() + 3 * values.std()
    clip = Number(columns=("a",), outliers="clip", outlier_rule=rule)
    state = fitted(clip, values, 4)
    found = clip.apply(torch.from_numpy(values), state).numpy() * state["scale"][0] + state["mean"][0]
    assert found.max() == pytest.approx(high, rel=0.02)
    flag = Number(columns=("a",), outliers="flag", outlier_rule=rule, missing_flags=True)
    tensor = flag.apply(torch.from_numpy(values), state)
    assert tensor.shape == (5000, 3) == (5000, flag.spec(state).size)
    assert tensor[:, 2].numpy().astype(bool).tolist() == (values[:, 0] > high).tolist()


@pytest.mark.parametrize(("rule", "how"), [("iqr", "clipped"), ("z-score", "flagged"), ("isolation-forest", "flagged")])
def test_cells_that_are_filled_clipped_or_flagged_are_counted(tmp_path, ctx, rule, how):
    folder = tmp_path / "t"
    folder.mkdir()
    drawn = np.random.default_rng(0)
    for part in range(3):
        cells = [("500" if at % 50 == 0 else "" if at % 10 == 1 else f"{drawn.normal():.4f}") for at in range(300)]
        lines = [f"{one},{'' if at % 7 == 0 else 'a'},{at % 2},{part * 300 + at}" for at, one in enumerate(cells)]
        (folder / f"{part}.csv").write_text("n,c,label,id\n" + "\n".join(lines) + "\n")
    checks = ValidateConfig(columns={"n": ColumnCheck(type="float64"), "c": ColumnCheck(type="string")})
    recipe = table_recipe(folder, checks=checks, cleaning=())
    number = Number(
        columns=("n",), outliers="clip" if how == "clipped" else "flag", outlier_rule=rule, outlier_share=0.02
    )
    features = (number, Category(columns=("c",), missing="mode"))
    config = preprocess.PreprocessConfig(features=features, target=Label(column="label"))
    dataset = preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)
    values = numbers_of(dataset, ctx, TRAIN)
    far = int((values == 500).sum())
    assert far > 5
    codes = np.concatenate([batch["categories"] for batch in loader_of(dataset, ctx, TRAIN, 1000).epoch(0)])
    changed = dataset.ledger.changed
    assert changed["numbers filled"] == np.isnan(values).sum() > 20
    assert changed[f"numbers {how}"] == pytest.approx(far, abs=3 if rule == "isolation-forest" else 0)
    assert 0.1 < changed["categories filled"] / len(codes) < 0.2
    assert set(changed) == {"numbers filled", f"numbers {how}", "categories filled"}
    plain = preprocess.PreprocessConfig(features=(Number(columns=("n",)),), target=Label(column="label"))
    assert set(preprocess.run(plain, cleaned_line(recipe, ctx), ctx=ctx).ledger.changed) == {"numbers filled"}


def test_a_missing_category_is_its_own_or_the_commonest():
    table = pa.table({"c": ["x", "y", "x", None, "z"]})
    for how, expected in (("own", 0), ("mode", 1)):
        feature = Category(columns=("c",), missing=how)
        prepared = feature.prepare(table)
        state = feature.finish(feature.fit(prepared))
        (lookup,) = feature.lookup(state, prepared.dictionaries)
        assert lookup[prepared.values[:, 0]].tolist()[3] == expected


def test_quantiles_of_many_parts_are_those_of_all():
    rng = np.random.default_rng(0)
    values = rng.lognormal(size=200_000)
    found = reduce(joined, [summary(one) for one in np.array_split(values, 300)])
    assert len(found[0]) <= POINTS
    for share in (0.01, 0.25, 0.5, 0.75, 0.99):
        assert abs((values < quantile(found, share)).mean() - share) < 0.005
    few = summary(np.array([3.0, 1.0, np.nan, 2.0]))
    assert [quantile(few, share) for share in (0, 0.25, 0.5, 1)] == [1, 1.5, 2, 3]
    assert np.isnan(quantile(summary(np.empty(0)), 0.5))


@pytest.mark.parametrize("value", [0.1, 0.3, 0.7, 1.1, 9.9])
def test_a_value_that_most_rows_have_is_no_outlier(value):
    values = np.full((5000, 1), value, np.float32)
    values[:900, 0] = np.random.default_rng(0).normal(5, 1, 900)
    feature = Number(columns=("a",), outliers="flag")
    state = fitted(feature, values, 7)
    assert feature.apply(torch.from_numpy(values), state)[:, 1].sum() == 0
    whole = reduce(joined, [summary(one.astype(np.float64)) for one in np.array_split(values[:, 0], 9)])
    assert quantile(whole, 0.25) == quantile(whole, 0.75) == np.float64(np.float32(value))


def test_columns_that_say_the_same_do_not_drive_predictions_off():
    rng = np.random.default_rng(0)
    base = rng.normal(100, 5, (3000, 1))
    whole = (base + rng.normal(0, 0.35, (3000, 3))).astype(np.float32)
    holes = rng.random(whole.shape) < 0.2
    feature = Number(columns=("a", "b", "c"), missing="model")
    values = np.where(holes, np.nan, whole).astype(np.float32)
    state = fitted(feature, values, 4)
    only = holes & (holes.sum(1) == 1)[:, None]
    error = (applied(feature, state, values) - whole)[only] / 5
    assert np.sqrt((error**2).mean()) < 0.15


@pytest.mark.parametrize("rule", ["iqr", "z-score"])
@pytest.mark.parametrize("log", [False, True])
def test_what_lies_far_off_is_counted_without_looking_at_the_rows_again(rule, log):
    """As long as less lies there than is kept of each end; the tails may be on one side, or beyond the mean."""
    rng = np.random.default_rng(0)
    values = np.stack([rng.normal(size=9000), rng.lognormal(0, 3, 9000), rng.integers(0, 3, 9000)], axis=1)
    values[rng.random(values.shape) < 0.05] = np.nan
    values = values.astype(np.float32)
    for factor in (0.5, 2.0, 5.0):
        feature = Number(columns=("a", "b", "c"), outliers="clip", outlier_rule=rule, outlier_factor=factor, log=log)
        partials = [feature.fit(Prepared(values=part)) for part in np.array_split(values, 7)]
        partial = reduce(feature.merge, partials)
        state = feature.finish(partial)
        told = feature.total(partial, state)
        assert told in (None, feature.counted(values, state))
        assert told is not None or factor == 0.5
