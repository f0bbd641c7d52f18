"""Whether a model is trained again: once in each window, at every time of a schedule, whatever clocks do."""

import asyncio
import shutil
import threading
import time
from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.server.schemas.schedules import CronSchedule

from components import ingest
from components.context import open_context
from components.contracts.errors import ConfigError, ConflictError
from components.retrain import HOUR, Asked, Last, RetrainPolicy, decide
from components.sources.files import FilesSource
from flows.again import Order, claimed, unseen

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
REASONS = ("data", "drift", "performance")


def at(hour):
    """A time of a schedule, so many hours after noon."""
    return datetime.fromtimestamp(NOON + hour * HOUR, UTC).isoformat()


class Story:
    """Triggers one after the other; those that train do so in no time."""

    def __init__(self, policy=RetrainPolicy()):
        self.policy, self.last, self.trained = policy, None, []

    def trigger(self, reason, hour, due="", **more):
        now = NOON + hour * HOUR
        found = decide(self.policy, Asked(reason=reason, now=now, due=due, last=self.last, **more))
        if found.go:
            self.last = Last(at=now, reason=reason, due=due or (self.last.due if self.last else ""), state="done")
            self.trained.append((reason, hour))
        return found


@given(st.lists(st.tuples(st.sampled_from(REASONS), st.floats(0, 23.9)), min_size=1, max_size=20))
def test_however_often_it_is_triggered_it_is_trained_once_in_a_window(triggers):
    story = Story()
    for reason, hour in triggers:
        story.trigger(reason, hour)
    assert len(story.trained) == 1


@given(st.lists(st.floats(0, 1000), max_size=60))
def test_two_retrainings_lie_a_window_apart(hours):
    story = Story()
    for hour in sorted(hours):
        story.trigger("drift", hour)
    times = [hour for _, hour in story.trained]
    assert all(later - earlier >= 24 for earlier, later in pairwise(times))


def test_each_reason_has_what_speaks_against_it():
    quiet = Story(RetrainPolicy(on=("schedule",), least_new_rows=100))
    assert quiet.trigger("drift", 0).why == "drift is not among retrain.on"
    assert quiet.trigger("schedule", 0, new_rows=99).why == "99 new rows are fewer than 100"
    assert quiet.trigger("schedule", 0, new_rows=100).go
    assert quiet.trigger("hand", 0.1).go, "a person decides"
    assert Story().trigger("data", 0, new_rows=0).why == "0 new rows are fewer than 1"
    going = Asked(reason="hand", now=NOON, last=Last(at=NOON, state="running"))
    assert decide(RetrainPolicy(), going).why == "another one is under way"
    failed = Asked(reason="drift", now=NOON + 60, last=Last(at=NOON, state="failed"))
    assert decide(RetrainPolicy(), failed).go, "one that failed stands in for none"


def test_a_cool_down_holds_triggers_and_no_schedule():
    story = Story(RetrainPolicy(window_hours=1, cool_down_hours=48))
    story.trigger("drift", 0)
    assert not story.trigger("drift", 47).go
    assert story.trigger("schedule", 47, due=at(47)).go


def test_a_retraining_for_drift_stands_in_for_the_schedule_of_the_same_night():
    story = Story()
    story.trigger("drift", 0)
    assert not story.trigger("schedule", 6, due=at(6)).go
    assert story.trigger("schedule", 30, due=at(30)).go


ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")
YEARS = [datetime(*one, tzinfo=UTC) for one in ((2027, 12, 25), (2028, 2, 26), (2026, 3, 26), (2026, 10, 22))]
"""Over a new year, a leap day, and where clocks are changed in Europe; other zones change theirs elsewhere."""


@given(st.sampled_from(ZONES), st.integers(0, 23), st.sampled_from((0, 15, 30, 59)), st.sampled_from(YEARS))
def test_F39_no_night_is_skipped_and_none_is_done_twice_whatever_the_calendar_does(zone, hour, minute, start):
    """Prefect's own times of a nightly schedule, each told twice and once more a night later, as a restart may."""
    nightly = CronSchedule(cron=f"{minute} {hour} * * *", timezone=zone)
    dues = asyncio.run(nightly.get_dates(n=12, start=start.replace(tzinfo=ZoneInfo(zone))))
    story = Story()
    for before, due in zip(dues[:1] + dues, dues, strict=False):
        for late, told in ((0.0, due), (0.2, due), (0.4, before)):
            story.trigger("schedule", (due.timestamp() - NOON) / HOUR + late, due=told.isoformat())
    assert len(story.trained) == len(set(dues)) == 12
    days = [due.astimezone(ZoneInfo(zone)).date() for due in dues]
    assert len(set(days)) == 12, "each night once"


@pytest.mark.parametrize("jump", [2.0, -2.0, 26.0, -26.0])
def test_F39_a_clock_that_jumps_makes_no_night_twice(jump, tally):
    """The second night's clock is wrong, and set right again before the third; each night is told twice."""
    story = Story()
    with tally("F39") as count:
        for night in range(5):
            wrong = jump if night == 1 else 0.0
            first, second = (story.trigger("schedule", 24 * night + wrong, due=at(24 * night + wrong)) for _ in "12")
            count.injected += 1
            count.hit += not second.go
            count.lost += not first.go


@pytest.mark.parametrize("jump", [2.0, -2.0])
def test_F39_a_clock_that_jumps_back_makes_no_drift_twice(jump):
    story = Story()
    story.trigger("drift", jump)
    assert not story.trigger("drift", 0).go
    assert not story.trigger("drift", 21).go
    assert story.trigger("drift", 24 + max(jump, 0) + 0.1).go


def test_F39_a_time_that_was_years_ahead_stops_nothing():
    story = Story()
    story.trigger("drift", 20_000)
    assert story.trigger("drift", 0).go
    story.trigger("schedule", 20_000, due=at(20_000))
    assert story.trigger("schedule", 24, due=at(24)).go


def test_of_triggers_at_the_same_time_one_trains(placement):
    """Each in a thread of its own, as in processes of their own: the lease is in the store."""
    trained, met = [], threading.Barrier(4, timeout=60)

    def trigger():
        ctx = open_context(placement, "test")
        order = Order(model="toy", reason="drift")
        met.wait()
        with claimed(ctx, "toy") as claim:
            asked = Asked(reason="drift", now=time.time(), last=claim.last if claim else None)
            if claim is not None and decide(RetrainPolicy(), asked).go:
                claim.begin(order)
                trained.append(threading.get_ident())
                claim.ended(well=True)

    threads = [threading.Thread(target=trigger) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(60)
    assert len(trained) == 1


def test_new_are_the_rows_that_were_not_seen_whatever_left(ctx, tmp_path):
    """A window moves: a file goes, one comes, and one has other rows; there are fewer rows than before."""

    def snapshot(**files):
        shutil.rmtree(tmp_path / "rows", ignore_errors=True)
        (tmp_path / "rows").mkdir()
        for name, numbers in files.items():
            pq.write_table(pa.table({"n": list(numbers)}), tmp_path / "rows" / f"{name}.parquet")
        return ingest.run(ingest.IngestConfig(source=FilesSource(uri=str(tmp_path / "rows"))), ctx=ctx)

    before = snapshot(a=range(100), b=range(100, 200))
    assert unseen(before, before, ctx.store) == 0
    after = snapshot(b=[*range(110, 200), *range(1000, 1005)], c=range(200, 260))
    assert after.rows < before.rows
    assert unseen(after, before, ctx.store) == 65
    assert unseen(snapshot(a=range(50)), before, ctx.store) == 0
    assert unseen(snapshot(a=range(100), b=range(100, 200), c=range(200, 207)), before, ctx.store) == 7


def test_a_policy_changes_the_recipe_and_never_piles_up(placement, tmp_path):
    """The champion of a retraining was made with the policy's changes: the next one replaces them."""
    from components.adapters.pointers import Pointer
    from components.registered import lineage_pointer
    from flows.again import recipe_for

    path = tmp_path / "own.yaml"
    path.write_text(
        "extends: iris-mlp\nname: own\nretrain: {overrides: ['description=since SINCE', train.max_epochs=3], days: 30, warm: true}\n"
    )
    ctx = open_context(placement, "test")
    changes = ["train.seed=4"]
    for _ in range(2):
        Pointer(ctx.store, "champion/own").set({"version": "1", "content": "c", "fingerprint": "f"})
        lineage_pointer(ctx.store, "f").set({"recipe": str(path), "overrides": changes, "results": {}})
        recipe, changes, config = recipe_for(Order(model="own", reason="drift"), ctx)
    assert recipe == str(path)
    assert changes[0] == "train.seed=4"
    assert len(changes) == 4
    assert config.train.max_epochs == 3
    assert config.train.pretrained.weights == "models:/own@champion"
    day = datetime.fromisoformat(config.description.removeprefix("since ")).replace(tzinfo=UTC)
    assert 29 <= (datetime.now(UTC) - day).days <= 31
    with pytest.raises(ConfigError, match="the recipe makes another model"):
        recipe_for(Order(model="own", reason="hand", recipe="iris-mlp"), ctx)


def test_who_was_taken_for_dead_learns_it(placement):
    ctx = open_context(placement, "test")
    order = Order(model="toy", reason="hand")
    with claimed(ctx, "toy") as claim:
        claim.begin(order)
        # Another process that believed this one dead has begun.
        from flows.again import _pointer

        _pointer(ctx, "toy").set({"state": "running", "at": 1.0, "reason": "drift", "due": ""})
        with pytest.raises(ConflictError, match="E_LEASE"):
            claim.ended(well=True)


def test_one_that_went_away_is_done_again(placement):
    ctx = open_context(placement, "test")
    with claimed(ctx, "toy") as claim:
        claim.begin(Order(model="toy", reason="drift"))
    with claimed(ctx, "toy") as claim:
        assert claim.last.state == "failed"
        assert decide(RetrainPolicy(), Asked(reason="drift", now=NOON, last=claim.last)).go
