"""A line that predicts numbers: from rows to a registered model that answers in the target's own units."""

import numpy as np
import pyarrow as pa
import pytest
from mlflow.models import Model

from components import evaluate, gate, register
from components.adapters.snapshot_rows import read_rows
from components.contracts.errors import DataError
from components.features.value import Value
from components.gate import GateConfig
from components.models.linear import Linear
from components.objectives.regression import Regression
from components.packages import open_package
from components.register import RegisterConfig
from components.sources.files import FilesSource
from components.statistics.keys import TRAIN
from components.statistics.splits import Split
from components.train import TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from flows.line import STAGES
from flows.pipeline import load_recipe
from tests.line import SHORT, packaged, prepared, table_recipe

BRIEF = TrainSettings(max_epochs=30, batch_size=32, learning_rate=0.05, monitor="absolute_error")


def line(folder, **changes):
    """A line of which y = 1000 + 50 a - 30 b, and z is its tenth."""
    random = np.random.default_rng(0)
    folder.mkdir()
    rows = random.normal(size=(400, 2))
    y = 1000 + 50 * rows[:, 0] - 30 * rows[:, 1] + random.normal(0, 2, 400)
    cells = "".join(f"{a:.5f},{b:.5f},{one:.4f},{one / 10:.4f}\n" for (a, b), one in zip(rows, y, strict=True))
    (folder / "0.csv").write_text("a,b,y,z\n" + cells)
    settings = {
        "source": FilesSource(uri=str(folder)),
        "checks": ValidateConfig(columns={name: ColumnCheck(type="float64") for name in "abyz"}),
        "cleaning": (),
        "features": (table_recipe(folder).features[0].model_copy(update={"columns": ("a", "b")}),),
        "target": Value(columns=("y",)),
        "model": Linear(),
        "settings": BRIEF,
        "objective": Regression(),
    }
    return table_recipe(folder, **(settings | changes))


def folder_of(ctx, package):
    return ctx.store.folder(ctx.store.artifact("package", package.fingerprint).record()) / "model"


def test_a_regression_goes_the_whole_way(tmp_path, ctx):
    dataset, package = packaged(line(tmp_path / "t"), ctx)
    folder = folder_of(ctx, package)
    rows = pa.table({"a": [0.0, 1.0, 0.0], "b": [0.0, 0.0, 1.0]})
    told = open_package(folder).predict(rows).table().to_pydict()["prediction"]
    assert told == pytest.approx([1000, 1050, 970], abs=3), "the line's own units"
    assert [(one.name, str(one.type)) for one in Model.load(str(folder)).signature.outputs] == [
        ("prediction", "DataType.double")
    ]
    report = evaluate.run(SHORT, package, dataset, None, ctx=ctx)
    assert report.metrics["r2"].value > 0.99
    assert report.metrics["r2"].low <= report.metrics["r2"].value <= report.metrics["r2"].high
    assert report.metrics["rmse"].value == pytest.approx(report.metrics["mse"].value ** 0.5)
    assert report.baseline["r2"] == pytest.approx(0, abs=0.05)
    page = (ctx.store.folder(ctx.store.artifact("evaluate", report.fingerprint).record()) / "report.html").read_text()
    for text in ("Predicted and true", "Errors", "mean of the training rows", "Worst answers", " off"):
        assert text in page
    verdict = gate.run(GateConfig(minimum={"r2": 0.9}, maximum={"mae": 5.0}), report)
    assert verdict.verdict == "approved"
    assert register.run(RegisterConfig(name="line"), verdict, package, ctx=ctx).version == 1
    rival = register.rival(ctx, "line", package)
    again = evaluate.run(SHORT.model_copy(update={"worst": 3}), package, dataset, rival or package, ctx=ctx)
    assert {name: one.value for name, one in again.gain.items()} == dict.fromkeys(again.gain, 0.0)
    worse = again.model_copy(update={"gain": again.gain | {"mae": again.gain["mae"].model_copy(update={"value": 2.0})}})
    assert gate.run(GateConfig(max_regression={"mae": 1.0}), worse).verdict == "rejected", "more of an error is worse"


def test_several_numbers_and_bounds_are_predicted_at_once(tmp_path, ctx):
    recipe = line(tmp_path / "t", target=Value(columns=("y", "z")), objective=Regression(error="quantile"))
    dataset, package = packaged(recipe, ctx)
    told = open_package(folder_of(ctx, package)).predict(pa.table({"a": [0.0], "b": [0.0]})).table().to_pylist()[0]
    assert told["prediction"] == pytest.approx([1000, 100], rel=0.02)
    assert told["low"][0] <= told["prediction"][0] <= told["high"][0]
    report = evaluate.run(SHORT, package, dataset, None, ctx=ctx)
    assert 0.3 < report.metrics["coverage"].value <= 1


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("cells", "said"),
    [
        ("1,2,5,1\n" * 40, "E_LABEL target.columns y: the target is the same in every training row .got 5.0"),
        ("1,2,,1\n" + "1,2,3,4\n" * 40, "E_LABEL target.column: 1 rows have no label"),
    ],
)
def test_targets_that_cannot_be_learnt_are_one_line(tmp_path, ctx, cells, said):
    recipe = line(tmp_path / "t")
    body = "".join(f"{at}{line[line.index(',') :]}\n" for at, line in enumerate(cells.splitlines()))
    (tmp_path / "t" / "0.csv").write_text("a,b,y,z\n" + body)
    with pytest.raises(DataError, match=said):
        prepared(recipe, ctx)


def test_gradient_descent_finds_the_line_that_least_squares_finds(ctx):
    """Recipe synthetic-linear: slope and intercept within 0.05 of least squares on the same training rows."""
    config = load_recipe("synthetic-linear")
    found = {}
    for name, stage in STAGES.items():
        found[name] = stage.run(stage.config(config), *(found[one] for one in stage.takes), ctx=ctx)
        if name == "package":
            break
    predictor = open_package(folder_of(ctx, found["package"]))
    at_zero, at_one = predictor.predict(pa.table({"x0": [0.0, 1.0]})).table()["prediction"].to_pylist()
    rows = pa.concat_tables([read_rows(ctx.store, "clean", part.key) for part in found["clean"].parts])
    kept = rows.filter(pa.array(Split.model_validate(found["preprocess"].split).parts(rows) == TRAIN))
    slope, intercept = np.polyfit(kept["x0"].to_numpy(), kept["y"].to_numpy(), 1)
    assert (at_one - at_zero, at_zero) == pytest.approx((slope, intercept), abs=0.05)
    assert (slope, intercept) == pytest.approx((2, 1), abs=0.05)
