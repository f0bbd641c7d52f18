"""Schedules as `millrace deploy` takes them: one that never comes, comes too often or could pile up is refused."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

from components.contracts.errors import ConfigError
from components.contracts.registry import nearest

LOOKED_AT, RUNS = 60, 5
"""How many coming times are looked at for the shortest while between two, and how many runs for the longest."""
CRON = "minute hour day month weekday, such as 0 3 * * *"


def check_schedules(deployments: Sequence[Mapping[str, Any]], place: str) -> None:
    """Raise unless every schedule comes, and says what happens to a run that is due while one is under way.

    Raises:
        ConfigError: E_SCHEDULE.
    """
    for one in deployments:
        for schedule in one.get("schedules", ()):
            where = f"{place}: {one['name']}"
            coming(schedule, where)
            limit = one.get("concurrency_limit")
            if not isinstance(limit, Mapping) or not limit.get("collision_strategy"):
                raise _wrong(
                    "it does not say what becomes of a run that is due while one is under way",
                    where,
                    "no concurrency_limit",
                    "{limit: 1, collision_strategy: CANCEL_NEW}, or ENQUEUE",
                )


def check_pace(schedule: Mapping[str, Any], took: timedelta | None, place: str) -> None:
    """Raise where the next run would be due before one that takes as long as the longest of late is done.

    Raises:
        ConfigError: E_SCHEDULE.
    """
    # Within one zone Python subtracts what the clocks on the wall show.
    due = [one.astimezone(UTC) for one in coming(schedule, place)]
    gap = min((later - sooner for sooner, later in pairwise(due)), default=None)
    if took is not None and gap is not None and gap < took:
        often, long = gap.total_seconds(), took.total_seconds()
        said = f"a run is due every {often:g} s, and one of the last {RUNS} took {long:.0f} s"
        raise _wrong(said, place, told(schedule), f"{long:.0f} s and more between two")


def longest(flow: str, deployment: str) -> timedelta | None:
    """How long the longest of the last completed runs of a deployment took; None where there was none."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.filters import (
        DeploymentFilter,
        DeploymentFilterName,
        FlowFilter,
        FlowFilterName,
        FlowRunFilter,
        FlowRunFilterState,
        FlowRunFilterStateType,
    )
    from prefect.client.schemas.objects import StateType
    from prefect.client.schemas.sorting import FlowRunSort

    done = FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.COMPLETED]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(
            flow_filter=FlowFilter(name=FlowFilterName(any_=[flow])),
            deployment_filter=DeploymentFilter(name=DeploymentFilterName(any_=[deployment])),
            flow_run_filter=FlowRunFilter(state=done),
            sort=FlowRunSort.END_TIME_DESC,
            limit=RUNS,
        )
    return max((run.total_run_time for run in runs), default=None)


def coming(schedule: Mapping[str, Any], place: str) -> list[datetime]:
    """The next times of a schedule as Prefect's files write it.

    Raises:
        ConfigError: E_SCHEDULE, it is none, its zone is unknown, or its time never comes.
    """
    zone = str(schedule.get("timezone") or "UTC")
    check_zone(zone, place)
    now = datetime.now(ZoneInfo(zone))
    if "cron" in schedule:
        return _of_cron(str(schedule["cron"]), now, place)
    if "interval" in schedule:
        return _of_interval(schedule["interval"], now, place)
    if "rrule" in schedule:
        return _of_rule(str(schedule["rrule"]), now, place)
    raise _wrong("it says no times", place, dict(schedule), "cron, interval or rrule")


def told(schedule: Mapping[str, Any]) -> str:
    """A schedule as a person reads it."""
    kind = next(one for one in ("cron", "interval", "rrule") if one in schedule)
    off = "" if schedule.get("active", True) else ", switched off"
    return f"{kind} {schedule[kind]} {schedule.get('timezone', 'UTC')}{off}"


def check_zone(zone: str, place: str) -> None:
    """Raise E_SCHEDULE unless there is such a time zone."""
    if zone not in available_timezones():
        said = "there is no such time zone" + nearest(zone, sorted(available_timezones()), 0.6)
        raise _wrong(said, place, zone, "a name of the IANA database, such as Europe/Berlin")


def _of_cron(cron: str, now: datetime, place: str) -> list[datetime]:
    # What Prefect itself plans with; it checks the text, and not whether such a day exists.
    from prefect._vendor.croniter.croniter import CroniterBadDateError, croniter
    from prefect.client.schemas.schedules import CronSchedule
    from pydantic import ValidationError

    try:
        CronSchedule(cron=cron)
    except ValidationError as error:
        raise _wrong("this is no cron text", place, cron, CRON) from error
    if len(cron.split()) > 5:
        # Prefect takes a sixth field for seconds.
        raise _wrong("this has more than five fields", place, cron, CRON)
    times = croniter(cron, now)  # type: ignore[no-untyped-call]
    try:
        return [times.get_next(datetime) for _ in range(LOOKED_AT)]  # type: ignore[no-untyped-call]
    except CroniterBadDateError as error:
        raise _wrong("this time never comes", place, cron, CRON) from error


def _of_interval(interval: Any, now: datetime, place: str) -> list[datetime]:
    if isinstance(interval, bool) or not isinstance(interval, (int, float)) or interval <= 0:
        raise _wrong("this is no interval", place, interval, "seconds, such as 3600")
    return [now + timedelta(seconds=interval * number) for number in range(1, LOOKED_AT)]


def _of_rule(rule: str, now: datetime, place: str) -> list[datetime]:
    from dateutil.rrule import rrulestr  # type: ignore[import-untyped]

    try:
        times = rrulestr(rule, dtstart=None if "DTSTART" in rule else now.replace(tzinfo=None))
        first = next(iter(times), None)
        start = now if first is not None and first.tzinfo else now.replace(tzinfo=None)
        found = list(times.xafter(start, count=LOOKED_AT))
    except (ValueError, TypeError) as error:
        allowed = "a rule of RFC 5545, such as FREQ=DAILY;BYHOUR=3"
        raise _wrong(f"this is no recurrence rule ({error})", place, rule, allowed) from error
    if not found:
        raise _wrong("this time never comes", place, rule, "a rule with a time to come")
    return [one if one.tzinfo else one.replace(tzinfo=now.tzinfo) for one in found]


def _wrong(what: str, place: str, value: Any, allowed: str) -> ConfigError:
    return ConfigError("E_SCHEDULE", what, place=place, value=value, allowed=allowed, action="correct it")
