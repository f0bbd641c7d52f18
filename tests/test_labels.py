"""Lines whose rows have any number of classes, and rows that are to lie near each other; up to the package."""

import numpy as np
import pyarrow as pa
import pytest
import torch

from components import evaluate, preprocess
from components.contracts.errors import ConfigError, DataError
from components.contracts.spec import ROW_WEIGHT
from components.features.label import Label
from components.features.labels import Labels
from components.features.number import Number
from components.models.mlp import Mlp
from components.objectives.metric_learning import MetricLearning
from components.objectives.multi_label import MultiLabel
from components.packages import open_package
from components.preprocess import PreprocessConfig
from components.preprocess.outliers import OutlierConfig
from components.sources.files import FilesSource
from components.train import TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import SHORT, cleaned_line, packaged, table_recipe

COLUMNS = tuple("ab")


def line(folder, tags=None, **changes):
    """Where a and b are above 0; the quarter, of four, is the label."""
    drawn = np.random.default_rng(0).normal(size=(600, 2))
    folder.mkdir()
    cells = []
    for at, (a, b) in enumerate(drawn):
        said = "|".join(name for name, one in (("high", a), ("wide", b)) if one > 0) if tags is None else tags(at)
        cells.append(f'{a:.5f},{b:.5f},"{said}",{"high" if a > 0 else "low"}-{"wide" if b > 0 else "slim"}')
    (folder / "0.csv").write_text("\n".join(["a,b,tags,quarter", *cells]) + "\n")
    checks = {name: ColumnCheck(type="float64") for name in COLUMNS}
    settings = {
        "source": FilesSource(uri=str(folder)),
        "checks": ValidateConfig(columns={**checks, "tags": ColumnCheck(type="string")}),
        "cleaning": (),
        "features": (Number(columns=COLUMNS),),
        "target": Labels(column="tags", separator="|", missing="no class"),
        "model": Mlp(hidden=(16,)),
        "objective": MultiLabel(),
        "settings": TrainSettings(max_epochs=20, batch_size=32, learning_rate=0.02),
    }
    return table_recipe(folder, **(settings | changes))


def test_each_class_of_a_row_is_found_by_itself(tmp_path, ctx):
    dataset, package = packaged(line(tmp_path / "t"), ctx)
    folder = ctx.store.folder(ctx.store.artifact("package", package.fingerprint).record()) / "model"
    told = open_package(folder).predict(pa.table({"a": [1.0, -1.0, 1.0], "b": [1.0, -1.0, -1.0]})).table()
    assert told["prediction"].to_pylist() == [["high", "wide"], [], ["high"]]
    assert all(len(row) == 2 for row in told["probabilities"].to_pylist())
    report = evaluate.run(SHORT, package, dataset, None, ctx=ctx)
    metrics = {name: one.value for name, one in report.metrics.items()}
    assert metrics["subset_accuracy"] > 0.9
    assert metrics["auroc"] > 0.98
    assert metrics["f1"] > 0.95 > report.baseline["f1"]
    page = (ctx.store.folder(ctx.store.artifact("evaluate", report.fingerprint).record()) / "report.html").read_text()
    assert "<th>recall</th>" in page


def test_figures_are_those_of_scikit_learn():
    from sklearn.metrics import f1_score, roc_auc_score

    drawn = np.random.default_rng(3)
    truth, weights = drawn.integers(0, 2, (300, 4)), drawn.integers(0, 4, 300).astype(float)
    score = np.clip(truth * 0.3 + drawn.uniform(0, 0.7, truth.shape), 0, 1).astype(np.float32)
    objective = MultiLabel(threshold=0.4)
    found = objective.pooled(objective.facts({"probabilities": score}, truth))(weights)
    for name, how in (("f1", "macro"), ("f1_micro", "micro")):
        assert found[name] == pytest.approx(f1_score(truth, score >= 0.4, average=how, sample_weight=weights))
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, score, average="macro", sample_weight=weights))


@pytest.mark.bad_input
def test_labels_that_say_nothing_are_one_line(tmp_path, ctx):
    for folder, said, expected in (
        ("same", lambda at: "a|b", "all training rows have the same classes .got 'a, b'"),
        ("none", lambda at: "", "no training row has a class"),
        # Some of sixty rows lie in the test part.
        ("new", lambda at: f"a|n{at}" if at % 10 == 0 else "ab"[at % 2], "a class that no training row has .got 'n"),
    ):
        with pytest.raises(DataError, match=f"E_LABEL target.column tags: {expected}"):
            packaged(line(tmp_path / folder, said), ctx)
    with pytest.raises(DataError, match="E_TYPE target.column: tags is string, no list of texts"):
        packaged(line(tmp_path / "text", target=Labels(column="tags", missing="no class")), ctx)
    lost = line(tmp_path / "lost", target=Labels(column="tags", separator="|"))
    with pytest.raises(DataError, match="E_LABEL target.column: .* rows have no label; the first is 0.csv"):
        packaged(lost, ctx)
    recipe = line(tmp_path / "rare")
    config = PreprocessConfig(features=recipe.features, target=recipe.target, rebalance="over")
    with pytest.raises(ConfigError, match="E_CONFIG rebalance: only classes can be rebalanced"):
        preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)


@pytest.mark.bad_input
def test_a_class_that_outliers_were_all_rows_of_is_one_line(tmp_path, ctx):
    """Of one class all rows lie far off; of the other, a row too."""
    recipe = line(tmp_path / "t")
    far = dict.fromkeys(range(0, 400, 20), "rare") | {7: "high"}
    rows = [f"{at + 5000 * (at in far)},0,{far.get(at, ('high', '')[at % 2])}" for at in range(400)]
    (tmp_path / "t" / "0.csv").write_text("\n".join(["a,b,tags", *rows]) + "\n")
    outliers = (OutlierConfig(columns=("a",), method="iqr", factor=5),)
    config = PreprocessConfig(features=(Number(columns=("a",)),), target=recipe.target, outliers=outliers)
    with pytest.raises(DataError, match="E_LABEL outliers: every training row of a class .* .got 'rare'"):
        preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)
    rows[20], rows[40] = "20,0,rare|high", "40,0,rare"
    (tmp_path / "t" / "0.csv").write_text("\n".join(["a,b,tags", *rows]) + "\n")
    assert preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx).ledger.dropped["outliers"] > 10


@pytest.mark.parametrize("way", ["contrastive", "triplet"])
def test_rows_of_one_class_come_to_lie_near_each_other(way, tmp_path, ctx):
    """Four quarters as labels; vectors of two numbers from one hidden layer."""
    target, objective = Label(column="quarter"), MetricLearning(way=way, width=2)
    dataset, package = packaged(line(tmp_path / "t", target=target, objective=objective), ctx)
    report = evaluate.run(SHORT, package, dataset, None, ctx=ctx)
    assert report.metrics["recall_at_1"].value > 0.9
    assert 0.1 < report.baseline["recall_at_1"] < 0.45
    folder = ctx.store.folder(ctx.store.artifact("package", package.fingerprint).record()) / "model"
    told = open_package(folder).predict(pa.table({"a": [1.0, 1.5, -1.0], "b": [1.0, 0.7, -1.0]})).table()
    vectors = np.array(told["prediction"].to_pylist())
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert vectors[0] @ vectors[1] > 0.8 > vectors[0] @ vectors[2]


def test_neighbours_are_looked_for_among_all_rows_however_they_lie_in_files(tmp_path, ctx):
    """A file for each class and features that say nothing: who looked within a file would find the class each time."""
    (tmp_path / "t").mkdir()
    drawn = np.random.default_rng(0)
    for name in "xyz":
        cells = [f"{a:.5f},{b:.5f},{name}" for a, b in drawn.normal(size=(200, 2))]
        (tmp_path / "t" / f"{name}.csv").write_text("\n".join(["a,b,quarter", *cells]) + "\n")
    recipe = table_recipe(
        tmp_path / "t",
        checks=ValidateConfig(columns={name: ColumnCheck(type="float64") for name in COLUMNS}),
        cleaning=(),
        features=(Number(columns=COLUMNS),),
        target=Label(column="quarter"),
        objective=MetricLearning(way="triplet", width=4),
        settings=TrainSettings(max_epochs=2, batch_size=32),
    )
    dataset, package = packaged(recipe, ctx)
    report = evaluate.run(SHORT, package, dataset, package, ctx=ctx)
    assert report.metrics["recall_at_1"].value < 0.5
    assert report.gain["recall_at_1"].value == 0


def test_what_a_row_weighs_is_what_it_counts():
    """As a mix of two rows needs it: a weight of a quarter is a quarter of the loss, and of 0 as if it were not there."""
    vectors, labels = {"label": torch.randn(8, 4)}, torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    for way in ("contrastive", "triplet"):
        objective = MetricLearning(way=way, width=4)
        whole = objective.loss(vectors, {"label": labels})
        quarter = objective.loss(vectors, {"label": labels, ROW_WEIGHT: torch.full((8,), 0.25)})
        assert quarter == pytest.approx(float(whole) / 4, rel=1e-5)
        six = objective.loss({"label": vectors["label"][:6]}, {"label": labels[:6]})
        filled = objective.loss(vectors, {"label": labels, ROW_WEIGHT: torch.tensor([1.0] * 6 + [0.0] * 2)})
        assert filled == pytest.approx(float(six), rel=1e-5)


def test_a_class_that_no_test_row_has_says_nothing_of_the_order():
    truth = np.array([[1, 0], [0, 0], [1, 0]])
    facts = MultiLabel().facts({"probabilities": np.array([[0.9, 0.1], [0.2, 0.3], [0.8, 0.2]], np.float32)}, truth)
    assert MultiLabel().pooled(facts)(np.ones(3))["auroc"] == 1
