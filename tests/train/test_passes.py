"""Training by passes: the same as libraries find on rows in memory, however the rows lie in parts."""

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sklearn.cluster import KMeans as Theirs
from sklearn.linear_model import LinearRegression, Ridge

from components import preprocess, train
from components.contracts.errors import ConfigError
from components.features.none import Nothing
from components.features.number import Number
from components.features.value import Value
from components.models.k_means import KMeans
from components.models.least_squares import LeastSquares
from components.objectives.clustering import Clustering
from components.objectives.ranking import shared_information
from components.objectives.regression import Regression
from components.sources.files import FilesSource
from components.statistics.keys import TRAIN
from components.train import TrainConfig, TrainSettings, passes
from components.validate import ColumnCheck, ValidateConfig
from tests.line import cleaned_line, loader_of, table_recipe

COLUMNS = ("a", "b", "c")


def written(folder, files=3, rows=200):
    """Rows around four points, and a number that follows from them; each file has two of the points."""
    folder.mkdir()
    drawn = np.random.default_rng(0)
    points = np.array([[0, 0, 0], [9, 0, 1], [0, 9, 2], [9, 9, -9]])
    for number in range(files):
        found = points[drawn.integers(0, 2, rows) + 2 * (number % 2)] + drawn.normal(0, 1, (rows, 3))
        y = found @ [2, -1, 0.5] + 7 + drawn.normal(0, 0.1, rows)
        lines = [",".join(f"{one:.5f}" for one in (*row, value)) for row, value in zip(found, y, strict=True)]
        (folder / f"{number}.csv").write_text("\n".join(["a,b,c,y", *lines]) + "\n")
    return folder


def dataset_of(folder, ctx, target):
    checks = ValidateConfig(columns={name: ColumnCheck(type="float64") for name in (*COLUMNS, "y")})
    recipe = table_recipe(folder, checks=checks, cleaning=(), source=FilesSource(uri=str(folder)))
    features = (Number(columns=COLUMNS, scale="none"),)
    config = preprocess.PreprocessConfig(features=features, target=target)
    return preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)


def trained(dataset, ctx, model, objective, **settings):
    config = TrainConfig(model=model, objective=objective, settings=TrainSettings(**{"max_epochs": 50, **settings}))
    checkpoint = train.run(config, dataset, ctx=ctx)
    record = ctx.store.artifact("train", checkpoint.fingerprint).standing()
    return checkpoint, load_file(ctx.store.open(record, "weights.safetensors"))


def training_rows(dataset, ctx):
    batches = list(loader_of(dataset, ctx, TRAIN, 4096).epoch(0))
    target = dataset.target.config["name"]
    return (np.concatenate([batch[name] for batch in batches]) for name in ("numbers", target))


def test_k_means_finds_the_centres_that_scikit_learn_finds(tmp_path, ctx):
    dataset = dataset_of(written(tmp_path / "t"), ctx, Nothing())
    assert len(dataset.parts) == 3
    checkpoint, weights = trained(dataset, ctx, KMeans(starts=4), Clustering(clusters=4))
    rows, _ = training_rows(dataset, ctx)
    theirs = Theirs(4, n_init=4, random_state=0).fit(rows)
    ours = weights["centres"][np.lexsort(weights["centres"].T)]
    assert ours == pytest.approx(theirs.cluster_centers_[np.lexsort(theirs.cluster_centers_.T)], abs=1e-3)
    assert weights["mean"] == pytest.approx(rows.mean(axis=0), abs=0.5), "of the sample"
    assert len(checkpoint.history) < 50, "it ends when the centres stand"


def test_mini_batches_come_near_the_same_centres(tmp_path, ctx):
    dataset = dataset_of(written(tmp_path / "t"), ctx, Nothing())
    checkpoint, weights = trained(dataset, ctx, KMeans(starts=4, rows_a_pass=100), Clustering(clusters=4))
    rows, _ = training_rows(dataset, ctx)
    theirs = Theirs(4, n_init=4, random_state=0).fit(rows)
    squares = ((rows[:, None] - weights["centres"]) ** 2).sum(2).min(1)
    assert squares.sum() < 1.05 * theirs.inertia_
    again, same = trained(dataset, ctx, KMeans(starts=4, rows_a_pass=100), Clustering(clusters=4))
    assert again.content == checkpoint.content
    assert (same["centres"] == weights["centres"]).all()


@pytest.mark.parametrize("ridge", [0.0, 50.0])
def test_least_squares_is_that_of_scikit_learn_after_one_pass(tmp_path, ctx, ridge):
    dataset = dataset_of(written(tmp_path / "t"), ctx, Value(columns=("y",), scale="none"))
    checkpoint, weights = trained(dataset, ctx, LeastSquares(ridge=ridge), Regression())
    rows, y = training_rows(dataset, ctx)
    theirs = (Ridge(alpha=ridge) if ridge else LinearRegression()).fit(rows.astype(np.float64), y)
    assert weights["layer.weight"] == pytest.approx(theirs.coef_.reshape(1, -1), abs=1e-4)
    assert weights["layer.bias"] == pytest.approx(theirs.intercept_.ravel(), abs=1e-3)
    assert len(checkpoint.history) == 1


def test_shared_information_is_that_of_scikit_learn():
    from sklearn.metrics import normalized_mutual_info_score

    drawn = np.random.default_rng(0)
    first, second = drawn.integers(0, 5, 300), drawn.integers(0, 3, 300)
    second = np.where(drawn.random(300) < 0.6, first % 3, second)
    found = shared_information(first, second, np.ones(300))
    assert found == pytest.approx(normalized_mutual_info_score(first, second))
    assert shared_information(first, first, np.ones(300)) == pytest.approx(1)


@pytest.mark.bad_input
def test_numbers_that_are_none_are_one_line(tmp_path, ctx):
    dataset = dataset_of(written(tmp_path / "t"), ctx, Value(columns=("y",), scale="none"))

    class Broken(LeastSquares):
        def step(self, state, sums):
            return {"weights": np.full_like(state["weights"], np.nan)}, True

    with pytest.raises(ConfigError, match="E_TRAINING features: the loss is no number after pass 1"):
        trained(dataset, ctx, Broken(), Regression())
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: k-means reads numbers .got 'c'"):
        from components.contracts.spec import TensorSpec

        spec = TensorSpec(name="c", shape=(1,), dtype="int64", classes=(4,))
        KMeans().build([spec], Clustering().outputs([], [spec]))


def test_a_pass_over_a_share_sees_about_so_many_rows_and_others_each_time(tmp_path, ctx):
    dataset = dataset_of(written(tmp_path / "t"), ctx, Nothing())
    model = KMeans(starts=1)
    outputs = Clustering(clusters=2).outputs(dataset.outputs, dataset.inputs)
    sample = {"numbers": torch.randn(50, 3)}
    state = model.begin(sample, dataset.inputs, outputs, 0)
    seen = {}
    for rows in (9, 100, 10_000):
        looks = [passes.Look(dataset=dataset, split=TRAIN, seed=1, turn=turn, rows=rows) for turn in (1, 2, 1)]
        first, second, again = (passes._sums(model, look, state, ctx) for look in looks)
        seen[rows] = int(first["rows"])
        assert (first["sums"] == again["sums"]).all()
        assert (first["sums"] == second["sums"]).all() == (rows == 10_000)
    assert 9 <= seen[9] <= 9 + len(dataset.parts)
    assert 0.75 * 100 <= seen[100] <= 100 + len(dataset.parts), "a share of all rows, of which training has most"
    assert seen[10_000] == dataset.rows[TRAIN]
