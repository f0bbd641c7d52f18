"""One model with several heads: a class, a number and some labels of each row, up to the package and its report."""

import numpy as np
import pyarrow as pa
import pytest

from components import evaluate, preprocess
from components.contracts.errors import ConfigError, DataError
from components.features.label import Label
from components.features.labels import Labels
from components.features.none import Nothing
from components.features.number import Number
from components.features.several import Several
from components.features.value import Value
from components.models.mlp import Mlp
from components.objectives.classification import Classification
from components.objectives.clustering import Clustering
from components.objectives.metric_learning import MetricLearning
from components.objectives.multi_label import MultiLabel
from components.objectives.objective import check_monitor, check_target
from components.objectives.regression import Regression
from components.objectives.several import Several as Objectives
from components.packages import open_package
from components.preprocess import PreprocessConfig
from components.preprocess.leaks import LeakConfig
from components.preprocess.outliers import OutlierConfig
from components.sources.files import FilesSource
from components.statistics.splits import SplitConfig
from components.train import TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import SHORT, cleaned_line, packaged, prepared, table_recipe

COLUMNS = tuple("ab")
PARTS = (
    Label(name="side", column="side"),
    Value(name="far", columns=("far",)),
    Labels(name="tags", column="tags", separator="|", missing="no class"),
)
OBJECTIVES = {"side": Classification(), "far": Regression(), "tags": MultiLabel()}


def line(folder, **changes):
    """Points: on which side they lie, how far away they are, and which of their numbers are high."""
    drawn = np.random.default_rng(0).normal(size=(600, 2))
    folder.mkdir()
    cells = [
        f"{a:.5f},{b:.5f},{'right' if a > b else 'left'},{np.hypot(a, b):.5f},"
        + "|".join(name for name, one in (("a", a), ("b", b)) if one > 0.5)
        for a, b in drawn
    ]
    (folder / "0.csv").write_text("\n".join(["a,b,side,far,tags", *cells]) + "\n")
    settings = {
        "source": FilesSource(uri=str(folder)),
        "checks": ValidateConfig(columns={name: ColumnCheck(type="float64") for name in (*COLUMNS, "far")}),
        "cleaning": (),
        "features": (Number(columns=COLUMNS),),
        "target": Several(parts=PARTS),
        "model": Mlp(hidden=(32,)),
        "objective": Objectives(parts=OBJECTIVES, weights={"far": 2.0}),
        "settings": TrainSettings(max_epochs=30, batch_size=32, learning_rate=0.02, monitor="side_accuracy"),
    }
    return table_recipe(folder, **(settings | changes))


def test_every_head_learns_and_is_told_by_its_name(tmp_path, ctx):
    dataset, package = packaged(line(tmp_path / "t"), ctx)
    assert [spec.name for spec in dataset.outputs] == ["side", "far", "tags"]
    folder = ctx.store.folder(ctx.store.artifact("package", package.fingerprint).record()) / "model"
    told = open_package(folder).predict(pa.table({"a": [1.5, -1.0], "b": [-1.0, 1.5]})).table()
    assert told.column_names == ["side", "side_confidence", "side_probabilities", "far", "tags", "tags_probabilities"]
    assert told["side"].to_pylist() == ["right", "left"]
    assert told["far"].to_pylist() == pytest.approx([1.8, 1.8], abs=0.4)
    assert told["tags"].to_pylist() == [["a"], ["b"]]
    report = evaluate.run(SHORT, package, dataset, package, ctx=ctx)
    metrics = {name: one.value for name, one in report.metrics.items()}
    assert metrics["side_accuracy"] > 0.9
    assert metrics["far_r2"] > 0.8
    assert metrics["tags_auroc"] > 0.95
    assert report.baseline["far_r2"] == pytest.approx(0, abs=0.1)
    assert {"far_mae", "side_log_loss", "tags_log_loss"} <= set(report.lower_is_better)
    assert {name: one.value for name, one in report.gain.items()} == pytest.approx(dict.fromkeys(metrics, 0.0))
    page = (ctx.store.folder(ctx.store.artifact("evaluate", report.fingerprint).record()) / "report.html").read_text()
    assert "<h2>side: Confusion matrix</h2>" in page
    assert "<h2>far: Errors</h2>" in page


def test_a_column_may_be_two_targets():
    twice = Several(parts=(Value(name="low", columns=("x", "y")), Value(name="high", columns=("y",), log=True)))
    assert twice.columns == ("x", "y")


def test_a_weight_is_what_a_loss_counts():
    import torch

    outputs = {"side": torch.randn(4, 2), "far": torch.randn(4, 1)}
    targets = {"side": torch.tensor([0, 1, 1, 0]), "far": torch.randn(4, 1)}
    two = {name: OBJECTIVES[name] for name in outputs}
    alone = [part.loss({name: outputs[name]}, targets) for name, part in two.items()]
    found = Objectives(parts=two, weights={"far": 3.0}).loss(outputs, targets)
    assert found == pytest.approx(float(alone[0] + 3 * alone[1]))


@pytest.mark.bad_input
def test_heads_that_do_not_fit_are_one_line(tmp_path, ctx):
    two = Several(parts=PARTS[:2])
    for parts, expected in (
        (OBJECTIVES, "objective.parts: every target needs an objective.* .got 'tags'.; allowed: side, far"),
        ({"side": Classification(), "fat": Regression()}, "objective.parts: every target .* .got 'far'"),
        ({"side": Clustering(), "far": Regression()}, "objective.parts.side.kind: this is learnt alone"),
        ({"side": Regression(), "far": Regression()}, "target.kind: regression takes no such target"),
    ):
        with pytest.raises(ConfigError, match=f"E_CONFIG {expected}"):
            check_target(Objectives(parts=parts), two)
    near = Several(parts=(PARTS[0], PARTS[1].model_copy(update={"name": "side_far"})))
    with pytest.raises(ConfigError, match="E_CONFIG target.parts: a target's name begins with another's"):
        check_target(Objectives(parts={"side": Classification(), "side_far": Regression()}), near)
    with pytest.raises(ConfigError, match="several takes no such target"):
        check_target(Objectives(parts=OBJECTIVES), Nothing())
    with pytest.raises(ConfigError, match="E_CONFIG train.monitor: .*allowed: loss, side_accuracy, far_absolute_error"):
        check_monitor(Objectives(parts=OBJECTIVES), "accuracy")
    with pytest.raises(ValueError, match="name them all in one list"):
        Several(parts=(two, PARTS[2]))
    with pytest.raises(ValueError, match="E_CONFIG features.name: two features have this name"):
        prepared(line(tmp_path / "t", target=Several(parts=(PARTS[0], PARTS[0]))), ctx)
    strict = Several(parts=(PARTS[0], Labels(column="tags", separator="|")))
    with pytest.raises(DataError, match="E_LABEL target.column: .*rows have no label.*got 'tags'"):
        prepared(line(tmp_path / "u", target=strict), ctx)


BRIEF = TrainSettings(max_epochs=1, batch_size=64)


def test_champions_of_other_objectives_are_not_compared(tmp_path, ctx):
    recipe = line(tmp_path / "t", settings=BRIEF)
    _, champion = packaged(recipe, ctx)
    parts = OBJECTIVES | {"side": MetricLearning(width=4)}
    dataset, package = packaged(recipe.__class__(**(vars(recipe) | {"objective": Objectives(parts=parts)})), ctx)
    with pytest.raises(DataError, match="E_LABEL register.name: the champion cannot be compared"):
        evaluate.run(SHORT, package, dataset, champion, ctx=ctx)
    parts = OBJECTIVES | {"far": Regression(error="quantile")}
    dataset, package = packaged(recipe.__class__(**(vars(recipe) | {"objective": Objectives(parts=parts)})), ctx)
    report = evaluate.run(SHORT, package, dataset, champion, ctx=ctx)
    assert "far_coverage" in report.metrics
    assert "far_coverage" not in report.gain
    assert "far_mae" in report.gain


def test_outliers_and_leaks_know_every_target(tmp_path, ctx):
    """All rows of one class lie far out; and rows are the same but for what is to be predicted."""
    (tmp_path / "t").mkdir()
    drawn = np.random.default_rng(0)
    rows = [(f"{a:.3f}", "usual", at) for at, a in enumerate(drawn.normal(size=100))] + [
        ("900", "odd", 1),
        ("901", "odd", 2),
    ]
    cells = [f"{a},{side},{at}" for a, side, at in rows]
    (tmp_path / "t" / "0.csv").write_text("\n".join(["a,side,far", *cells]) + "\n")
    target = Several(parts=(PARTS[1], PARTS[0]))
    checks = ValidateConfig(columns={name: ColumnCheck(type="float64") for name in ("a", "far")})
    recipe = line(tmp_path / "u", target=target, checks=checks, source=FilesSource(uri=str(tmp_path / "t")))
    config = PreprocessConfig(
        features=(Number(columns=("a",)),),
        target=target,
        split=SplitConfig(test=0.1, validation=0.1),
        outliers=(OutlierConfig(columns=("a",), method="iqr", factor=5),),
    )
    with pytest.raises(DataError, match="E_LABEL outliers: every training row of a class .* .got 'odd'"):
        preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)
    cells = [f"{at % 7},{'ab'[at % 2]},{at}" for at in range(300)]
    (tmp_path / "t" / "0.csv").write_text("\n".join(["a,side,far", *cells]) + "\n")
    config = PreprocessConfig(features=(Number(columns=("a",)),), target=target, leaks=LeakConfig(near=True))
    with pytest.raises(DataError, match="E_LEAK"):
        preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)
