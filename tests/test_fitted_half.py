"""What is learned from the training part alone: fillings, bounds, rows that are left out, and how classes count."""

from collections import Counter
from functools import reduce

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.ensemble import IsolationForest

from components import preprocess
from components.adapters.dataset_store import Loader, ShardFile
from components.adapters.shard_files import write_shard
from components.contracts.errors import ConfigError, DataError
from components.features.category import Category
from components.features.feature import Prepared
from components.features.label import Label
from components.features.number import Number
from components.features.shards import shard_files
from components.preprocess.outliers import OutlierConfig
from components.preprocess.rebalance import balanced
from components.statistics.keys import TEST, TRAIN, VALIDATION
from components.statistics.quantiles import POINTS, joined, quantile, summary
from components.train import TrainConfig, TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import Classification, cleaned_line, table_recipe
from tests.line import train as train_step


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
    assert tensor.shape == (5000, 3) == (5000, flag.spec(state, (1,)).size)
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
    codes = np.concatenate([
        batch["categories"] for batch in Loader(shard_files(dataset, ctx.store, TRAIN), 1000).epoch(0)
    ])
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


def rows_with_outliers(folder, count=900, far=12):
    rng = np.random.default_rng(0)
    folder.mkdir()
    lines = [
        f"{rng.normal():.5f},{rng.choice(['a', 'b'])},{'yes' if rng.random() < 0.2 else 'no'}" for _ in range(count)
    ]
    lines += [f"{1000 + n},a,no" for n in range(far)]
    rng.shuffle(lines)
    for part in range(3):
        (folder / f"{part}.csv").write_text("n,c,label\n" + "\n".join(lines[part::3]) + "\n")
    return folder


def dataset_of(folder, ctx, **fields):
    recipe = table_recipe(folder, checks=ValidateConfig(columns={"n": ColumnCheck(type="float64")}), cleaning=())
    config = preprocess.PreprocessConfig(features=recipe.features, target=recipe.target, **fields)
    return recipe, preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)


def numbers_of(dataset, ctx, split):
    loader = Loader(shard_files(dataset, ctx.store, split), 100)
    return np.concatenate([batch["numbers"][:, 0] for batch in loader.epoch(0)])


@pytest.mark.parametrize("method", ["iqr", "z-score", "isolation-forest"])
def test_training_rows_that_lie_far_off_are_left_out_and_test_rows_are_not(tmp_path, ctx, method):
    folder = rows_with_outliers(tmp_path / "t")
    _, plain = dataset_of(folder, ctx)
    ctx.outcomes.clear()
    share = {"share": 0.02} if method == "isolation-forest" else {}
    _, dataset = dataset_of(folder, ctx, outliers=(OutlierConfig(columns=("n",), method=method, **share),))
    assert [part.key for part in dataset.parts] == [part.key for part in plain.parts], "the same shards"
    before, after = numbers_of(plain, ctx, TRAIN), numbers_of(dataset, ctx, TRAIN)
    assert (before > 100).sum() > 0
    assert (after > 100).sum() == 0
    dropped = len(before) - len(after)
    assert dataset.ledger.dropped == {"outliers": dropped}
    assert dataset.rows[TRAIN] == len(after)
    assert dropped < (before > 100).sum() + 0.02 * len(before)
    for split in (TEST, VALIDATION):
        assert (numbers_of(dataset, ctx, split) == numbers_of(plain, ctx, split)).all()
    if method == "isolation-forest":
        trees = IsolationForest(random_state=0).fit(before[:, None])
        worst = trees.score_samples(before[:, None]) < np.quantile(trees.score_samples(before[:, None]), 0.02)
        assert abs(dropped - worst.sum()) <= 4


def test_outliers_name_columns_that_are_numbers(tmp_path, ctx):
    folder = rows_with_outliers(tmp_path / "t")
    with pytest.raises(DataError, match=r"E_COLUMN_MISSING outliers.0.columns: .*got 'm'"):
        dataset_of(folder, ctx, outliers=(OutlierConfig(columns=("m",)),))
    with pytest.raises(DataError, match="E_TYPE outliers.columns: c is string, no number"):
        dataset_of(folder, ctx, outliers=(OutlierConfig(columns=("c",)),))


@pytest.mark.parametrize("how", ["over", "under"])
def test_an_epoch_has_every_class_as_often(tmp_path, how):
    labels = np.array([0] * 90 + [1] * 10 + [2] * 25, np.int32)[:, None]
    write_shard({"x": np.arange(125)[:, None], "label": labels}, tmp_path / "all.arrow")
    rates, weights = balanced(how, {"counts": [90, 10, 25]})
    assert weights == ()
    loader = Loader([ShardFile(path=str(tmp_path / "all.arrow"), rows=125)], 16, seed=0, classes="label", rates=rates)
    each = 90 if how == "over" else 10
    epochs = []
    for epoch in range(2):
        seen = list(loader.epoch(epoch))
        assert len(seen) == len(loader)
        rows = np.concatenate([batch["x"][:, 0] for batch in seen])
        counts = Counter(labels[rows, 0].tolist())
        assert counts == {0: each, 1: each, 2: each}
        times = Counter(rows.tolist())
        if how == "over":
            assert set(times) == set(range(125)), "every row is there"
            assert max(times[row] for row in range(100, 125)) - min(times[row] for row in range(100, 125)) <= 1
        else:
            assert max(times.values()) == 1
        epochs.append(sorted(rows.tolist()))
    assert epochs[0] != epochs[1], "drawn anew"
    again = [[one["x"][:, 0].tolist() for one in loader.epoch(1)] for _ in range(2)]
    assert again[0] == again[1]


@pytest.mark.parametrize("how", ["none", "weights", "over", "under"])
def test_a_rare_class_is_found_when_classes_are_rebalanced(tmp_path, ctx, how):
    rng = np.random.default_rng(0)
    (tmp_path / "t").mkdir()
    lines = [
        f"{rng.normal(1.2 if rare else 0):.5f},a,{'rare' if rare else 'often'}" for rare in rng.random(1500) < 0.06
    ]
    (tmp_path / "t" / "0.csv").write_text("n,c,label\n" + "\n".join(lines) + "\n")
    recipe, dataset = dataset_of(tmp_path / "t", ctx, rebalance=how)
    settings = TrainSettings(max_epochs=6, batch_size=64, learning_rate=0.05)
    config = TrainConfig(model=recipe.model, objective=Classification(), settings=settings)
    found = train_step.run(config, dataset, ctx=ctx).metrics
    if how == "none":
        assert found["validation_accuracy"] > 0.9, "it says `often` to nearly everything"
    else:
        assert found["validation_accuracy"] < 0.9, "it says `rare` where rows may be"
    assert len(dataset.weights) == (2 if how == "weights" else 0)


def test_only_classes_can_be_rebalanced():
    with pytest.raises(ConfigError, match="E_CONFIG rebalance: only classes can be rebalanced"):
        balanced("over", {})
    assert balanced("none", {}) == ((), ())
    assert balanced("weights", {"counts": [30, 10]})[1] == pytest.approx((2 / 3, 2))


def test_nothing_is_learned_from_rows_outside_the_training_part(tmp_path, ctx):
    folder = rows_with_outliers(tmp_path / "t")
    recipe = table_recipe(
        folder,
        checks=ValidateConfig(columns={"n": ColumnCheck(type="float64")}),
        cleaning=(),
        features=(Number(columns=("n",), missing="median", outliers="clip"),),
    )
    config = preprocess.PreprocessConfig(features=recipe.features, target=recipe.target)
    dataset = preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)
    values = numbers_of(dataset, ctx, TRAIN).astype(np.float32)[:, None]
    alone = fitted(recipe.features[0], values, 1)
    assert dataset.features[0].state["mean"] == pytest.approx(alone["mean"], rel=1e-5)
    assert dataset.features[0].state["high"] == pytest.approx(alone["high"], rel=1e-3)


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


def test_classes_are_balanced_over_the_rows_that_are_left(tmp_path, ctx):
    rng = np.random.default_rng(0)
    (tmp_path / "t").mkdir()
    lines = [
        f"{rng.normal() + (500 if at % 25 == 0 else 0):.4f},a,{'yes' if at % 5 == 0 else 'no'}" for at in range(1500)
    ]
    (tmp_path / "t" / "0.csv").write_text("n,c,label\n" + "\n".join(lines) + "\n")
    _, dataset = dataset_of(tmp_path / "t", ctx, rebalance="over", outliers=(OutlierConfig(columns=("n",)),))
    loader = Loader(shard_files(dataset, ctx.store, TRAIN), 64, seed=0, classes="label", rates=dataset.rates)
    seen = Counter(np.concatenate([batch["label"][:, 0] for batch in loader.epoch(0)]).tolist())
    assert abs(seen[0] - seen[1]) <= 1
    lines = [f"{500 if at % 20 == 0 else rng.normal():.4f},a,{'yes' if at % 20 == 0 else 'no'}" for at in range(1500)]
    (tmp_path / "t" / "0.csv").write_text("n,c,label\n" + "\n".join(lines) + "\n")
    with pytest.raises(
        DataError, match="E_LABEL outliers: every training row of a class was left out as an outlier .got 'yes'"
    ):
        dataset_of(tmp_path / "t", ctx, outliers=(OutlierConfig(columns=("n",)),))
