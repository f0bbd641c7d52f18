"""Times, truths and lists as tensors, beside what Python's own calendar says."""

import calendar
import math
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
import torch
from pydantic import ValidationError

from components.contracts.errors import DataError
from components.features.boolean import Boolean
from components.features.times import Times
from components.features.vector import Vector


def state_of(feature, table):
    return feature.finish(feature.fit(feature.prepare(table)))


def turns(when):
    """What part of each round has passed, by the standard library."""
    day = (when.hour * 3600 + when.minute * 60 + when.second + when.microsecond / 1e6) / 86400
    of_year = (when.date() - date(when.year, 1, 1)).days / (366 if calendar.isleap(when.year) else 365)
    of_month = (when.day - 1) / calendar.monthrange(when.year, when.month)[1]
    return [day, when.weekday() / 7, of_month, of_year, (when.month - 1) / 12]


PARTS = ("time-of-day", "day-of-week", "day-of-month", "day-of-year", "month")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "America/St_Johns"])
def test_turns_are_those_of_the_calendar_and_the_zone(zone):
    random = np.random.default_rng(0)
    whens = [datetime(1950, 1, 1, tzinfo=UTC) + timedelta(seconds=float(one)) for one in random.uniform(0, 2.7e9, 500)]
    whens += [datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC), datetime(2024, 3, 31, 1, 30, tzinfo=UTC)]
    feature = Times(columns=("t",), parts=PARTS, timezone=zone)
    table = pa.table({"t": pa.array(whens, pa.timestamp("us", tz="UTC"))})
    found = feature.apply(torch.from_numpy(feature.prepare(table).values), state_of(feature, table)).numpy()
    angles = 2 * math.pi * np.array([turns(when.astimezone(ZoneInfo(zone))) for when in whens])
    assert found == pytest.approx(np.concatenate([np.sin(angles), np.cos(angles)], axis=1), abs=1e-5)


def test_dates_are_midnights_and_what_has_passed_is_standardised():
    days = [date(2024, 1, 1) + timedelta(days=at) for at in range(101)]
    table = pa.table({"t": pa.array([*days, None], pa.date32())})
    feature = Times(columns=("t",), parts=("elapsed", "time-of-day"), missing_flags=True)
    state = state_of(feature, table)
    found = feature.apply(torch.from_numpy(feature.prepare(table).values), state)
    assert found.shape == (102, 4) == (102, feature.spec(state).size)
    assert found[:101, 0].tolist() == [0] * 101
    assert found[:101, 1].tolist() == [1] * 101
    assert found[:101, 2].mean() == pytest.approx(0, abs=1e-6)
    assert found[:101, 2].std(correction=0) == pytest.approx(1)
    assert found[101].tolist() == [0, 0, 0, 1]


def test_what_is_no_time_is_one_line():
    with pytest.raises(DataError, match="E_TYPE features.times: t is int64, no time"):
        Times(columns=("t",)).prepare(pa.table({"t": [1]}))
    with pytest.raises(ValidationError, match="no such time zone"):
        Times(columns=("t",), timezone="Nowhere")


def test_a_missing_truth_is_as_likely_as_training_rows_say():
    table = pa.table({"b": [True, True, False, None], "n": pa.array([1, 0, None, 1])})
    feature = Boolean(columns=("b", "n"), missing_flags=True)
    state = state_of(feature, table)
    found = feature.apply(torch.from_numpy(feature.prepare(table).values), state)
    third = pytest.approx(2 / 3)
    assert found[:, :2].T.tolist() == [[1, 1, 0, third], [1, 0, third, 1]]
    assert found[:, 2:].T.tolist() == [[0, 0, 0, 1], [0, 0, 1, 0]]
    assert feature.counted(feature.prepare(table).values, state) == {"filled": 2}
    with pytest.raises(DataError, match="E_TYPE features.truths: b is string, no truth"):
        feature.prepare(pa.table({"b": ["maybe"], "n": [1]}))


def test_lists_of_one_length_are_a_tensor_and_others_are_one_line():
    table = pa.table({"v": [[1.0, 2.0], None, [3.0, 6.0]]})
    feature = Vector(column="v", length=2)
    assert feature.prepare(table.slice(1)).values.tolist() == [[0, 0], [3, 6]]
    state = state_of(feature, table)
    assert feature.apply(torch.from_numpy(feature.prepare(table).values), state).tolist() == [[1, 2], [0, 0], [3, 6]]
    for cells, said in (([[1.0, 2.0], [1.0]], "has 1 numbers"), ([[1.0, None]], "has a missing number")):
        with pytest.raises(
            DataError, match=f"E_VALUE features.vector: a list of v {said} .got 'v'.; allowed: 2 numbers"
        ):
            feature.prepare(pa.table({"v": pa.array(cells, pa.list_(pa.float64()))}))
