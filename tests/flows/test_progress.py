"""How often a run's page is told how far a step is."""

import pytest

from flows import progress
from flows.progress import ARTIFACT_SECONDS, AWAY_SECONDS, LONG_SECONDS, MOST_SECONDS, RunPage


class Clock:
    """Time that goes on by what telling costs."""

    def __init__(self):
        self.now = 1000.0

    def monotonic(self):
        return self.now


@pytest.mark.parametrize(
    ("cost", "there", "pause"),
    [(0.01, True, ARTIFACT_SECONDS), (0.15, True, 5.0), (60.0, True, MOST_SECONDS), (0.5, False, AWAY_SECONDS)],
)
def test_telling_takes_a_small_part_of_a_steps_time_and_is_never_silent_for_long(monkeypatch, cost, there, pause):
    clock, told = Clock(), []

    def tell(_):
        clock.now += cost
        told.append(clock.now)
        return there

    monkeypatch.setattr(progress, "time", clock)
    monkeypatch.setattr(progress, "tell_if_there", tell)
    page = RunPage("a run")
    page.started("train")
    page.advanced("train", 1, 100, "epochs")
    assert told == [], "a short step has no bar"
    clock.now += LONG_SECONDS
    page.advanced("train", 2, 100, "epochs")
    clock.now += pause * 0.99
    page.advanced("train", 3, 100, "epochs")
    assert len(told) == 1
    clock.now += pause * 0.02
    page.advanced("train", 4, 100, "epochs")
    assert len(told) == 2
