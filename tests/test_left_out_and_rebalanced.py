"""Training rows that are left out, and how much the rows of a class count."""

from collections import Counter

import numpy as np
import pytest
from sklearn.ensemble import IsolationForest

from components import preprocess
from components.adapters.dataset_store import Loader, ShardFile
from components.adapters.shard_files import write_shard
from components.contracts.errors import ConfigError, DataError
from components.features.feature import Prepared
from components.features.number import Number
from components.preprocess.outliers import OutlierConfig
from components.preprocess.rebalance import balanced
from components.statistics.keys import TEST, TRAIN, VALIDATION
from components.train import TrainConfig, TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import Classification, cleaned_line, loader_of, numbers_of, table_recipe
from tests.line import train as train_step


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
        f"{rng.normal(1.2 if rare else 0):.5f},{'ab'[at % 2]},{'rare' if rare else 'often'}"
        for at, rare in enumerate(rng.random(1500) < 0.06)
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
    (feature,) = recipe.features
    alone = feature.finish(feature.fit(Prepared(values=values)))
    assert dataset.features[0].state["mean"] == pytest.approx(alone["mean"], rel=1e-5)
    assert dataset.features[0].state["high"] == pytest.approx(alone["high"], rel=1e-3)


def test_classes_are_balanced_over_the_rows_that_are_left(tmp_path, ctx):
    rng = np.random.default_rng(0)
    (tmp_path / "t").mkdir()
    lines = [
        f"{rng.normal() + (500 if at % 25 == 0 else 0):.4f},{'ab'[at % 2]},{'yes' if at % 5 == 0 else 'no'}"
        for at in range(1500)
    ]
    (tmp_path / "t" / "0.csv").write_text("n,c,label\n" + "\n".join(lines) + "\n")
    _, dataset = dataset_of(tmp_path / "t", ctx, rebalance="over", outliers=(OutlierConfig(columns=("n",)),))
    loader = loader_of(dataset, ctx, TRAIN, 64, seed=0, classes="label", rates=dataset.rates)
    seen = Counter(np.concatenate([batch["label"][:, 0] for batch in loader.epoch(0)]).tolist())
    assert abs(seen[0] - seen[1]) <= 1
    lines = [
        f"{500 if at % 20 == 0 else rng.normal():.4f},{'ab'[at // 2 % 2]},{'yes' if at % 20 == 0 else 'no'}"
        for at in range(1500)
    ]
    (tmp_path / "t" / "0.csv").write_text("n,c,label\n" + "\n".join(lines) + "\n")
    with pytest.raises(
        DataError, match="E_LABEL outliers: every training row of a class was left out as an outlier .got 'yes'"
    ):
        dataset_of(tmp_path / "t", ctx, outliers=(OutlierConfig(columns=("n",)),))
