"""Monitoring: rows like the test rows raise no alarm, rows that moved do, and say what moved."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import binom

from components.contracts.errors import DataError
from components.features.category import Category
from components.features.number import Number
from components.monitor import REPORT
from components.monitor.simulated import moved
from components.retrain import HOUR, Asked, Last, RetrainPolicy, decide
from components.sources.files import FilesSource
from components.validate import ColumnCheck, ValidateConfig
from tests.line import packaged, png, ran, table_recipe
from tests.watching import Model


def people(draw, rows):
    """Rows of which the label hangs on two of the columns."""
    age, income = draw.normal(40, 12, rows), draw.lognormal(10, 1, rows)
    town = draw.choice(["Ulm", "Bonn", "Kiel"], rows, p=[0.6, 0.3, 0.1])
    yes = (age / 12 + (town == "Bonn") + draw.normal(0, 0.5, rows)) > 3.8
    lost = draw.random(rows) < 0.05
    return pa.table({
        "age": pa.array(age, mask=lost),
        "income": income,
        "town": town.tolist(),
        "label": np.where(yes, "yes", "no").tolist(),
    })


@pytest.fixture(scope="module")
def model(shared_ctx, tmp_path_factory):
    folder = tmp_path_factory.mktemp("people")
    (folder / "old").mkdir()
    pq.write_table(people(np.random.default_rng(0), 6000), folder / "old" / "rows.parquet")
    recipe = table_recipe(
        folder, source=FilesSource(uri=str(folder / "old")), cleaning=(),
        checks=ValidateConfig(columns={"age": ColumnCheck(type="float64"), "town": ColumnCheck(type="string")}),
        features=(Number(columns=("age", "income")), Category(columns=("town",))),
    )  # fmt: skip
    return Model(shared_ctx, *packaged(recipe, shared_ctx), folder)


@pytest.fixture(scope="module")
def fresh():
    return people(np.random.default_rng(1), 1500)


def test_rows_like_the_test_rows_raise_no_alarm(model, fresh):
    report = model.watch(fresh, draws=100)
    assert report.alarms == ()
    assert {(one.kind, one.what) for one in report.found} == {
        ("column", "age"), ("missing", "age missing"), ("column", "income"), ("column", "town"), ("column", "label"),
        ("prediction", "prediction"), ("prediction", "confidence"), ("refused", "rows refused"),
        ("performance", "accuracy"),
    }  # fmt: skip
    assert report.rows == 1500
    assert 1000 < report.reference_rows <= 2000
    assert (report.draws, report.false_alarms) <= (100, binom.ppf(0.999, 100, 0.01))


def changed(table, name, cells):
    return table.set_column(table.column_names.index(name), name, [cells])


CHANGES = {
    "older": ("column: age", lambda t: changed(t, "age", pa.array(np.array(t["age"].to_pylist(), float) + 12, from_pandas=True))),
    "other towns": ("column: town", lambda t: changed(t, "town", pa.array(["Bonn"] * 900 + t["town"].to_pylist()[900:]))),
    "a town that nobody knows": ("column: town", lambda t: changed(t, "town", pa.array(["Trier"] * 300 + t["town"].to_pylist()[300:]))),
    "ages lost": ("missing: age missing", lambda t: changed(t, "age", pa.array([None] * 300 + t["age"].to_pylist()[300:], pa.float64()))),
    "labels turned round": (
        "performance: accuracy",
        lambda t: changed(t, "label", pa.array([{"yes": "no", "no": "yes"}[one] for one in t["label"].to_pylist()])),
    ),
    "a class that the model never saw": (
        "performance: accuracy", lambda t: changed(t, "label", pa.array(["perhaps"] * 700 + t["label"].to_pylist()[700:])),
    ),
    "a number that is none": (
        "refused: rows refused", lambda t: changed(t, "income", pa.array([float("nan")] * 200 + t["income"].to_pylist()[200:])),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_rows_that_moved_raise_an_alarm_that_says_what_moved(model, fresh, change):
    alarm, make = CHANGES[change]
    report = model.watch(make(fresh))
    assert alarm in report.alarms
    (one,) = [one for one in report.found if f"{one.kind}: {one.what}" == alarm]
    assert one.alarm
    assert one.p <= 0.01
    assert one.size >= one.least


def test_what_moves_by_little_is_told_and_no_alarm(model):
    """Twenty thousand rows: chance would not bring the age so far, and nobody needs to care."""
    rows = people(np.random.default_rng(2), 20_000)
    older = changed(rows, "age", pa.array(np.array(rows["age"].to_pylist(), float) + 2.0, from_pandas=True))
    report = model.watch(older, rows=20_000)
    (age,) = [one for one in report.found if one.what == "age"]
    assert age.p <= 0.01
    assert not age.alarm


def test_the_same_rows_are_looked_at_once_and_the_page_says_all(model, fresh):
    model.watch(fresh)
    ran(model.ctx)
    report = model.watch(fresh)
    assert "monitor" not in ran(model.ctx)
    page = model.ctx.store.open(model.ctx.store.artifact("monitor", report.fingerprint).standing(), REPORT).read_text()
    assert "accuracy" in page
    assert "Counted: of 20 batches" in page


def test_few_rows_say_nothing(model, fresh):
    report = model.watch(fresh.slice(0, 60))
    assert (report.found, report.alarms, report.rows) == ((), (), 60)


def test_drift_can_be_simulated(model, fresh):
    report = model.watch(fresh, simulate=1.0)
    assert {"column: age", "column: income", "column: town"} <= set(report.alarms)
    assert report.simulated == 1.0


def test_a_column_that_is_gone_is_refused(model, fresh):
    with pytest.raises(DataError, match="E_COLUMN_MISSING"):
        model.watch(fresh.drop(["income"]))


def test_columns_can_be_left_out(model, fresh):
    report = model.watch(CHANGES["older"][1](fresh), leave_out=("age",))
    assert not [one for one in report.found if one.what.startswith("age")]


@pytest.mark.e2e
def test_two_hundred_batches_that_have_not_moved_train_as_seldom_again_as_is_said(model):
    """One batch a day, so that no window holds a retraining back."""
    draw, trained, last = np.random.default_rng(11), 0, None
    for day in range(200):
        if model.watch(people(draw, 1000), draws=0).alarms:
            asked = Asked(reason="drift", now=25 * HOUR * day, last=last)
            trained += decide(RetrainPolicy(), asked).go
            last = Last(at=asked.now, reason="drift", state="done")
    print(f"{trained} retrainings of 200 batches")
    assert trained <= binom.ppf(0.99, 200, 0.01)


def test_simulated_rows_keep_their_types_and_their_gaps():
    rows = pa.table({
        "n": pa.array([1.0, None, 3.0]),
        "i": pa.array([1, None, 9], pa.int64()),
        "t": ["a b c d", None, "a a c d"],
        "l": pa.array([[1.0, 2.0], None, [0.0]], pa.list_(pa.float64())),
        "b": pa.array([png(200), b"no picture", None], pa.binary()),
    })
    found = moved(rows, 1.0, rows.column_names)
    assert found.schema == rows.schema
    assert [found[name].null_count for name in found.column_names] == [1, 1, 1, 1, 1]
    assert all(found[name].to_pylist() != rows[name].to_pylist() for name in found.column_names)
    assert moved(rows, 1.0, ["other"]) == rows


def test_the_log_of_a_server_is_compared(model, fresh):
    now, columns = datetime.now(UTC), ["age", "income", "town"]

    def watch(hours):
        return model.watch_log(now - timedelta(hours=hours))

    model.log(fresh, now - timedelta(hours=1), columns)
    model.log(CHANGES["older"][1](fresh.slice(0, 900)), now - timedelta(hours=5), columns)
    model.log(CHANGES["older"][1](fresh.slice(0, 800)), now - timedelta(minutes=1), columns, "another version")
    recent, longer = watch(2), watch(6)
    assert (recent.alarms, recent.rows) == ((), 1500)
    assert longer.rows == 2000
    assert "column: age" in longer.alarms
    assert longer.first < recent.first
    assert watch(0.5).found == ()
