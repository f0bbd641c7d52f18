"""Lines without a label to learn: rows that come back, rows that are unusual, rows in clusters; up to the package."""

import numpy as np
import pyarrow as pa
import pytest

from components import evaluate
from components.contracts.errors import ConfigError, DataError
from components.features.anomaly import Anomaly
from components.features.none import Nothing
from components.features.number import Number
from components.models.autoencoder import Autoencoder
from components.models.k_means import KMeans
from components.models.mlp import Mlp
from components.objectives.clustering import Clustering
from components.objectives.objective import check_model
from components.objectives.reconstruction import Reconstruction
from components.packages import open_package
from components.sources.files import FilesSource
from components.train import TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import SHORT, packaged, table_recipe

COLUMNS = tuple("abcd")


def line(folder, **changes):
    """Rows on a plane through four dimensions, in two heaps; one in ten is off it and says `odd`."""
    drawn = np.random.default_rng(0)
    folder.mkdir()
    heap = drawn.integers(0, 2, 600)
    flat = drawn.normal(0, 1, (600, 2)) + 6 * heap[:, None]
    rows = np.hstack([flat, flat @ [[1, 0.5], [-1, 0.5]]])
    odd = drawn.random(600) < 0.1
    rows[odd, 2:] += drawn.normal(0, 6, (odd.sum(), 2))
    cells = [
        ",".join(f"{one:.5f}" for one in row) + f",{'odd' if off else 'plain'},{at}"
        for row, off, at in zip(rows, odd, heap, strict=True)
    ]
    (folder / "0.csv").write_text("\n".join(["a,b,c,d,state,heap", *cells]) + "\n")
    settings = {
        "source": FilesSource(uri=str(folder)),
        "checks": ValidateConfig(columns={name: ColumnCheck(type="float64") for name in COLUMNS}),
        "cleaning": (),
        "features": (Number(columns=COLUMNS),),
        "target": Anomaly(column="state", values=("odd",)),
        "model": Autoencoder(code=2, hidden=(16,)),
        "objective": Reconstruction(),
        "settings": TrainSettings(max_epochs=60, batch_size=32, learning_rate=0.01, weight_decay=0),
    }
    return table_recipe(folder, **(settings | changes))


def asked(recipe, ctx):
    """What its package says of two rows, and its report."""
    dataset, package = packaged(recipe, ctx)
    folder = ctx.store.folder(ctx.store.artifact("package", package.fingerprint).record()) / "model"
    rows = pa.table({"a": [1.0, 1.0], "b": [0.5, 0.5], "c": [0.5, 9.0], "d": [0.75, -9.0]})
    told = open_package(folder).predict(rows).table()
    return told, evaluate.run(SHORT, package, dataset, None, ctx=ctx)


def test_what_is_unusual_comes_back_badly(tmp_path, ctx):
    told, report = asked(line(tmp_path / "t"), ctx)
    usual, odd = told["prediction"].to_pylist()
    assert odd > 10 * usual
    assert len(told["values"][0]) == 4
    assert report.metrics["auroc"].value > 0.9
    assert report.metrics["normal_mse"].value < report.metrics["mse"].value < report.baseline["mse"]


def test_rows_that_are_marked_teach_nothing(tmp_path, ctx):
    """Where the marked rows are half of all, learning from them would make them usual."""
    kept = line(tmp_path / "t")
    _, report = asked(kept, ctx)
    blind = kept.__class__(**(vars(kept) | {"target": Nothing()}))
    _, seen = asked(blind, ctx)
    assert seen.metrics["mse"].value < report.metrics["mse"].value, "who learns them brings them back better"
    assert "auroc" not in seen.metrics


def test_errors_of_inputs_on_another_scale_are_not_compared(tmp_path, ctx):
    """The error is one of scaled numbers, so that another scale would make another champion."""
    recipe = line(tmp_path / "t", settings=TrainSettings(max_epochs=2, batch_size=64))
    _, standard = packaged(recipe, ctx)
    bare = recipe.__class__(**(vars(recipe) | {"features": (Number(columns=COLUMNS, scale="min-max"),)}))
    dataset, package = packaged(bare, ctx)
    with pytest.raises(DataError, match="E_LABEL register.name: the champion cannot be compared"):
        evaluate.run(SHORT, package, dataset, standard, ctx=ctx)
    deeper = recipe.__class__(**(vars(recipe) | {"model": Autoencoder(code=1, hidden=(8,))}))
    dataset, package = packaged(deeper, ctx)
    assert "mse" in evaluate.run(SHORT, package, dataset, standard, ctx=ctx).gain


def test_clusters_are_told_and_judged_by_the_label(tmp_path, ctx):
    from components.features.label import Label

    told, report = asked(
        line(tmp_path / "t", target=Label(column="heap"), model=KMeans(), objective=Clustering(clusters=2)), ctx
    )
    assert set(told.column_names) == {"prediction", "distance"}
    assert report.metrics["nmi"].value > 0.8
    assert report.metrics["inertia"].value < report.baseline["inertia"]
    assert report.baseline["nmi"] == 0


@pytest.mark.bad_input
def test_what_cannot_be_given_back_is_one_line(tmp_path, ctx):
    with pytest.raises(
        ConfigError, match="E_CONFIG objective.feature: the objective is for one input of numbers .*allowed: numbers"
    ):
        packaged(line(tmp_path / "t", objective=Reconstruction(feature="x")), ctx)
    with pytest.raises(DataError, match="E_LABEL target.column state: every training row is an anomaly"):
        packaged(line(tmp_path / "u", target=Anomaly(column="state", values=("odd", "plain"))), ctx)
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: no model of this kind learns clustering .got 'mlp'"):
        check_model(Clustering(), Mlp())
    with pytest.raises(ConfigError, match="E_CONFIG objective.kind: a model of kind k-means is for other objectives"):
        check_model(Reconstruction(), KMeans())
