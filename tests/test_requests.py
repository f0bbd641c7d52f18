"""A request as MLflow hands it on is cleaned as the training rows were, whatever types its cells come in."""

from datetime import date

import mlflow
import pandas as pd
import pyarrow as pa
import pytest

from components.cleaning.cast import Cast
from components.cleaning.clip import Clip
from components.cleaning.fill import Fill
from components.cleaning.keep_rows import KeepRows
from components.cleaning.map_values import MapValues
from components.cleaning.normalise_text import NormaliseText
from components.cleaning.parse import Parse
from components.features.category import Category
from components.features.number import Number
from components.packages import open_package
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from tests.line import packaged, table_recipe

# MLflow gives advice about type hints whenever a model is loaded.
pytestmark = pytest.mark.filterwarnings("ignore:.*Add type hints")


def made(folder, ctx, cells, check, feature, cleaning):
    """A package trained on rows of `x`, of which the label says whether the row's number is even, and its folder."""
    (folder / "t").mkdir()
    lines = [f'"{cell}",{"yes" if at % 2 else "no"},{at}' for at, cell in enumerate(cells)]
    (folder / "t" / "0.csv").write_text("x,label,id\n" + "\n".join(lines) + "\n")
    checks = ValidateConfig(columns={"x": check}, max_bad_fraction=0.5)
    _, model = packaged(table_recipe(folder / "t", checks=checks, cleaning=cleaning, features=(feature,)), ctx)
    return ctx.store.folder(ctx.store.artifact("package", model.fingerprint).record()) / "model"


def answers(folder, frame, rows):
    """What MLflow answers to the frame, which is what the package answers to the typed rows."""
    theirs = mlflow.pyfunc.load_model(str(folder)).predict(frame)
    ours = open_package(folder).predict(rows).table().to_pandas()
    pd.testing.assert_frame_equal(theirs, ours)
    return theirs


def known(found):
    """Whether the first two rows were told from each other: a value that is not known looks like any other such."""
    return found["probabilities"][0][0] > found["probabilities"][1][0] + 0.01


NUMBER, CATEGORY = Number(columns=("x",)), Category(columns=("x",))


def test_a_date_that_becomes_text_does_so_at_a_request_too(tmp_path, ctx):
    days = [f"2024-05-0{1 + at % 2}" for at in range(120)]
    cleaning = (Cast(columns=("x",), type="string"),)
    folder = made(tmp_path, ctx, days, ColumnCheck(type="date"), CATEGORY, cleaning)
    frame = pd.DataFrame({"x": pd.to_datetime(["2024-05-01", "2024-05-02"])})
    found = answers(folder, frame, pa.table({"x": [date(2024, 5, 1), date(2024, 5, 2)]}))
    assert known(found)


def test_a_whole_number_that_may_be_missing_becomes_the_same_text(tmp_path, ctx):
    codes = [("12345678901", "98765432101")[at % 2] for at in range(119)] + [""]
    cleaning = (Cast(columns=("x",), type="string"),)
    folder = made(tmp_path, ctx, codes, ColumnCheck(type="int64"), CATEGORY, cleaning)
    frame = pd.DataFrame({"x": [12345678901.0, 98765432101.0, None]})
    found = answers(folder, frame, pa.table({"x": [12345678901, 98765432101, None]}))
    assert known(found)


def test_a_time_is_that_of_the_source_or_of_utc(tmp_path, ctx):
    times = [f"2024-05-01T1{at % 2}:00:00Z" for at in range(120)]
    folder = made(tmp_path, ctx, times, ColumnCheck(type="timestamp"), CATEGORY, ())
    frame = pd.DataFrame({"x": pd.to_datetime(["2024-05-01 10:00", "2024-05-01 11:00"])})
    rows = pa.table({"x": frame["x"].dt.tz_localize("UTC")})
    assert known(answers(folder, frame, rows))


def test_text_is_cleaned_and_parsed_at_a_request_too(tmp_path, ctx):
    """Text operations, on what pandas holds as text, as a number beside text, or as nothing at all."""
    cells = ["bad", "", *(("Low", "HIGH")[at % 2] for at in range(118))]
    cleaning = (
        NormaliseText(columns=("x",), lower=True),
        MapValues(columns=("x",), to={"low": "-5", "high": "5"}),
        KeepRows(column="x", when="not-equal", value="worse"),
        Fill(columns=("x",), value="0"),
        Parse(columns=("x",), type="float64"),
        Clip(columns=("x",), minimum=-9),
    )
    folder = made(tmp_path, ctx, cells, ColumnCheck(type="string"), NUMBER, cleaning)
    found = answers(folder, pd.DataFrame({"x": ["low", "High", 5]}), pa.table({"x": ["low", "High", "5"]}))
    assert found["prediction"].tolist() == ["no", "yes", "yes"], "a number beside text is text"
    model = mlflow.pyfunc.load_model(str(folder))
    with pytest.raises(ValueError, match="E_ROW_REJECTED request row 2"):
        model.predict(pd.DataFrame({"x": ["5", "bad"]}))
    with pytest.raises(ValueError, match="E_ROW_REJECTED request row 1"):
        model.predict(pd.DataFrame({"x": [None]}, dtype=object))
