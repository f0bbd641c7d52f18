"""F26 to F28 of several processes, and what is stuck: noticed, said where, ended, started again."""

import random
import time

import pytest

from components.contracts.errors import EnvironmentFault
from tests.faults.trainings import equal, leftover

pytestmark = pytest.mark.faults


@pytest.mark.parametrize("how", ["stop", "hang"])
def test_fault_F27_a_process_is_stuck(place, whole, tally, how):
    """F27-alone: stopped, or in a loop of its own; it is noticed at the timeout, said where, ended, and started again."""
    with tally(f"F27-alone-{how}") as count:
        place.plan.write_text(f"{how} 30")
        ctx = place.context(f"stuck-{how}")
        count.injected += 1
        made = place.train(ctx, timeout_seconds=3)
        count.hit += place.hits()
        count.holds(lambda: equal(made.files, whole[0].files))
        (line,) = [one for one in ctx.lines if "is stuck" in one]
        assert ("it was stopped" if how == "stop" else "faulty.py") in line
        assert not leftover()


def test_fault_F27_the_clock_of_the_machine_jumps(place, whole, tally, monkeypatch):
    """F27-clock: two hours forth and back, in the training process and in its supervisor: nobody takes it for stuck."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + random.choice([-7200.0, 7200.0]))
    with tally("F27-clock") as count:
        place.plan.write_text("clock 3")
        ctx = place.context("clock")
        count.injected += 1
        made = place.train(ctx, timeout_seconds=5, checkpoint_seconds=1.0, milliseconds=150.0)
        count.hit += place.hits()
        count.holds(lambda: equal(made.files, whole[0].files))
        assert ctx.lines == []


def test_fault_F27_the_first_step_is_stuck(place, whole, tally):
    """F27-first-step: it may take three times as long; beyond its restarts training fails, and says where it hung."""
    with tally("F27-first-step") as count:
        place.plan.write_text("hang 1")
        ctx = place.context("first step")
        count.injected += 1
        began = time.monotonic()
        with pytest.raises(EnvironmentFault, match=r"E_TRAINING train: the training process is stuck: .*faulty\.py"):
            place.train(ctx, timeout_seconds=4, restarts=0)
        count.hit += place.hits()
        assert 4 < time.monotonic() - began < 3 * 4 + 30
        assert not leftover()
        made = place.train(ctx, timeout_seconds=4, restarts=0)
        count.holds(lambda: equal(made.files, whole[0].files))


@pytest.mark.parametrize("rank", [0, 1])
def test_fault_F26_a_process_of_two_is_killed(place, pair, tally, rank):
    """F26-kill: the group is gone, and starts again from the newest checkpoint; beyond its restarts the step fails."""
    with tally(f"F26-kill-rank-{rank}") as count:
        for number in (3, 8):
            place.plan.write_text(f"kill {number} {rank}")
            ctx = place.context(f"two-{rank}-{number}")
            count.injected += 1
            made = place.train(ctx, devices=2, accelerator="cpu")
            count.hit += place.hits()
            count.holds(lambda made=made: equal(made.files, pair[0].files))
            assert not leftover()
        place.plan.write_text(f"kill 5 {rank}")
        ctx = place.context(f"two-{rank}-ended")
        count.injected += 1
        began = time.monotonic()
        with pytest.raises(
            EnvironmentFault, match=f"E_TRAINING train: the training process ended: rank {rank} was killed"
        ):
            place.train(ctx, devices=2, accelerator="cpu", restarts=0)
        count.hit += place.hits()
        assert time.monotonic() - began < 30
        assert not leftover()
        made = place.train(ctx, devices=2, accelerator="cpu", restarts=0)
        count.holds(lambda: equal(made.files, pair[0].files))


@pytest.mark.parametrize("how", ["stop", "hang"])
def test_fault_F27_a_process_of_two_is_stuck(place, pair, tally, how):
    """F27-of-two: noticed at the timeout, the one that the other waits for is killed, and both start again."""
    with tally(f"F27-of-two-{how}") as count:
        for rank in (0, 1):
            place.plan.write_text(f"{how} 7 {rank}")
            ctx = place.context(f"two-{how}-{rank}")
            count.injected += 1
            began = time.monotonic()
            made = place.train(ctx, devices=2, accelerator="cpu", timeout_seconds=5)
            count.hit += place.hits()
            assert time.monotonic() - began < 5 + 30
            count.holds(lambda made=made: equal(made.files, pair[0].files))
            (line,) = [one for one in ctx.lines if "training is stuck: " in one and "ended" in one]
            assert f"rank {rank} made no step" in line
            assert ("it was stopped" if how == "stop" else "faulty.py") in line
            assert not leftover()


def test_fault_F28_a_process_of_two_is_asked_to_stop(place, pair, tally):
    """F28-of-two: both write one checkpoint after the same step, and both go on from it."""
    with tally("F28-of-two") as count:
        for number, rank in ((4, 0), (9, 1)):
            place.plan.write_text(f"term {number} {rank}")
            ctx = place.context(f"two-asked-{number}")
            count.injected += 1
            made = place.train(ctx, devices=2, accelerator="cpu", checkpoint_steps=0)
            count.hit += place.hits()
            count.holds(lambda made=made: equal(made.files, pair[0].files))
