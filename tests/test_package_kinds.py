"""Packages of features that read lists, texts and sounds, and what they say that they need."""

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import context
from components.features.bag import Bag
from components.features.series import Series
from components.features.vector import Vector
from components.packages import kind_modules, open_package, private_code
from components.sources.files import FilesSource
from components.statistics.keys import TEST
from components.validate import ValidateConfig
from tests.line import packaged, table_recipe, trained

# MLflow gives advice about type hints whenever a model is loaded.
pytestmark = pytest.mark.filterwarnings("ignore:.*Add type hints")


def recipe_of(folder):
    """Lists and texts that say the label."""
    drawn = np.random.default_rng(0)
    folder.mkdir()
    labels = drawn.integers(0, 2, 200)
    pq.write_table(
        pa.table({
            "v": [[float(label), drawn.normal()] for label in labels],
            "s": [drawn.normal(label, 1, drawn.integers(3, 6)).tolist() for label in labels],
            "t": [f"it is {'good' if label else 'bad'} {number}" for number, label in enumerate(labels)],
            "label": [str(label) for label in labels],
        }),
        folder / "rows.parquet",
    )
    features = (Vector(column="v", length=2), Series(columns=("s",), window=3, scale="none"), Bag(column="t"))
    return table_recipe(
        folder, source=FilesSource(uri=str(folder)), checks=ValidateConfig(), cleaning=(), features=features
    )


def test_a_package_of_lists_and_texts_answers_as_mlflow_has_them(tmp_path, ctx):
    dataset, model = packaged(recipe_of(tmp_path / "t"), ctx)
    assert dataset.rows[TEST] > 10
    folder = ctx.store.folder(ctx.store.artifact("package", model.fingerprint).record()) / "model"
    frame = pd.DataFrame({
        "v": [[0.0, 1.0], [1.0, 0.5]], "s": [[1.0, 2.0, 3.0], [0.5, 0.5]], "t": ["it is bad", "good"],
    })  # fmt: skip
    theirs = mlflow.pyfunc.load_model(str(folder)).predict(frame)
    ours = open_package(folder).predict(pa.Table.from_pandas(frame)).table().to_pandas()
    pd.testing.assert_frame_equal(theirs, ours)
    first, second = (row[1] for row in theirs["probabilities"])
    assert abs(first - second) > 0.01


def test_a_package_names_the_libraries_of_its_features():
    kinds = {"text": "text:Text", "audio": "audio:Audio", "number": "number:Number"}

    def libraries(kind):
        columns = {"columns": ["x"]} if kind == "number" else {"column": "x"}
        modules = kind_modules("features", kinds, [{"kind": kind, **columns}])
        return private_code(modules).libraries

    assert "tokenizers" in libraries("text")
    assert {"soundfile", "scipy"} <= set(libraries("audio"))
    assert "scikit-learn" not in libraries("number"), "only fitting needs it"


def test_what_a_feature_does_to_a_batch_is_part_of_what_is_trained(tmp_path, ctx, monkeypatch):
    """Shards and fitted state may be the same when it changes."""
    asked = []
    real = context.code_of
    monkeypatch.setattr(context, "code_of", lambda step, *more: (asked.append((step, more)), real(step, *more))[1])
    trained(recipe_of(tmp_path / "t"), ctx)
    (kinds,) = [more[1] for step, more in asked if step == "components.train"]
    assert {f"components.features.{one}" for one in ("vector", "series", "bag", "label")} == set(kinds)
    config = next(more[0] for step, more in asked if step == "components.train")
    assert real("components.train", config, kinds).digest != real("components.train", config).digest
