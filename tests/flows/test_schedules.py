from datetime import datetime, timedelta

import pytest
import yaml

from components.contracts.errors import ConfigError
from flows.deploy import FILE
from flows.schedules import check_pace, check_schedules, check_zone, coming

ONE_AT_A_TIME = {"limit": 1, "collision_strategy": "CANCEL_NEW"}


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ({"cron": "every day"}, "this is no cron text (got 'every day'); allowed: minute hour"),
        ({"cron": "61 * * * *"}, "this is no cron text"),
        ({"cron": "0 3 * * * *"}, "this has more than five fields"),
        ({"cron": "0 3 31 2 *"}, "this time never comes"),
        ({"cron": "0 3 30 2 *", "timezone": "Europe/Berlin"}, "this time never comes"),
        ({"cron": "0 3 * * *", "timezone": "Europe/Berln"}, "there is no such time zone; nearest: Europe/Berlin"),
        ({"cron": "0 3 * * *", "timezone": "Mars/Olympus"}, "there is no such time zone"),
        ({"interval": 0}, "this is no interval (got 0"),
        ({"interval": -5}, "this is no interval"),
        ({"interval": "1h"}, "this is no interval"),
        ({"rrule": "FREQ=SOMETIMES"}, "this is no recurrence rule"),
        ({"rrule": "FREQ=DAILY;UNTIL=20200101T000000"}, "this time never comes"),
        ({"slug": "nightly"}, "it says no times"),
    ],
)
def test_bad_input_B46_a_schedule_that_never_comes_is_refused(schedule, said):
    with pytest.raises(ConfigError) as raised:
        check_schedules([{"name": "nightly", "schedules": [schedule], "concurrency_limit": ONE_AT_A_TIME}], "f.yaml")
    assert raised.value.line().startswith(f"E_SCHEDULE f.yaml: nightly: {said}"), raised.value.line()
    assert raised.value.exit_code == 2


@pytest.mark.bad_input
@pytest.mark.parametrize("limit", [None, 1, {"limit": 1}])
def test_bad_input_B46_what_becomes_of_runs_that_meet_has_to_be_said(limit):
    one = {"name": "n", "schedules": [{"cron": "0 3 * * *"}], **({"concurrency_limit": limit} if limit else {})}
    with pytest.raises(ConfigError, match="E_SCHEDULE f.yaml: n: it does not say what becomes of a run that is due"):
        check_schedules([one], "f.yaml")


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        ({"cron": "*/10 * * * *"}, 600),
        ({"cron": "0,5 3 * * *"}, 300),
        ({"interval": 90}, 90),
        ({"rrule": "FREQ=HOURLY"}, 3600),
        ({"rrule": "DTSTART:20200101T030000\nRRULE:FREQ=HOURLY\nEXDATE:20200101T050000"}, 3600),
        ({"rrule": "DTSTART;TZID=Europe/Berlin:20200101T030000\nRRULE:FREQ=MINUTELY;INTERVAL=20"}, 1200),
    ],
)
def test_bad_input_B46_runs_that_take_longer_than_the_while_between_two_are_refused(schedule, seconds):
    check_pace(schedule, None, "training/n")
    check_pace(schedule, timedelta(seconds=seconds), "training/n")
    said = f"E_SCHEDULE training/n: a run is due every {seconds} s, and one of the last 5 took {seconds + 60} s"
    with pytest.raises(ConfigError, match=said):
        check_pace(schedule, timedelta(seconds=seconds + 60), "training/n")


def test_an_hour_is_an_hour_also_when_clocks_are_put_back(monkeypatch):
    """At the end of summer time an hour of the clock on the wall comes twice."""

    class Now(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime(2026, 10, 24, 23, 30, tzinfo=tz)

    monkeypatch.setattr("flows.schedules.datetime", Now)
    check_pace({"cron": "0 * * * *", "timezone": "Europe/Berlin"}, timedelta(minutes=59), "training/n")


def test_every_schedule_that_is_shipped_comes_and_says_what_happens_when_runs_meet():
    deployments = yaml.safe_load(FILE.read_text())["deployments"]
    check_schedules(deployments, FILE.name)
    assert sum(len(one.get("schedules", ())) for one in deployments) >= 4


def test_times_are_those_of_the_zone():
    check_zone("America/New_York", "--timezone")
    assert {one.hour for one in coming({"cron": "0 3 * * *", "timezone": "Asia/Kolkata"}, "--cron")} == {3}
    assert {str(one.tzinfo) for one in coming({"cron": "0 3 * * *", "timezone": "Asia/Kolkata"}, "--cron")} == {
        "Asia/Kolkata"
    }
