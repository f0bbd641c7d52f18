"""How often a run's page is told how far a step is."""

import contextlib
import os
import pty
import re
import subprocess

import pytest

from components import train
from components.context import Silent
from flows import progress
from flows.progress import ARTIFACT_SECONDS, AWAY_SECONDS, LONG_SECONDS, MOST_SECONDS, RunPage
from tests.flows.conftest import COMMAND


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


def test_a_training_says_its_loss_and_the_time_that_is_left(ctx, monkeypatch):
    """What both the bar and the run's page show beside how far it is."""
    clock, told = Clock(), []
    ctx.progress = Recorded(told)
    monkeypatch.setattr(train, "time", clock)
    telling = train.Telling(ctx, [])
    for done in (0.5, 1.0, 2.0):
        now = {"loss": 0.25, "learning_rate": 0.1}
        telling({"event": "step", "done": done, "total": 10, "step": int(10 * done), "losses": [], "now": now})
        clock.now += 30.0
    assert told[0] == ("train", 0.5, 10, "epochs", "loss 0.250")
    # Half an epoch in thirty seconds, then one in as long.
    assert told[1][-1] == "loss 0.250, 0:09:00 left"
    assert told[2][-1] == "loss 0.250, 0:05:20 left"


class Recorded(Silent):
    def __init__(self, told):
        self.told = told

    def advanced(self, *given):
        self.told.append(given)


@pytest.mark.e2e
def test_in_a_terminal_a_bar_moves(millrace):
    """A terminal of the system, of which every byte is read."""
    ours, theirs = pty.openpty()
    command = [COMMAND, "run", "iris-mlp", "--set", "train.max_epochs=400", "--set", "register.name=barred"]
    environment = {**millrace.environment, "TERM": "xterm-256color", "COLUMNS": "120"}
    process = subprocess.Popen(command, env=environment, stderr=theirs, stdout=subprocess.DEVNULL, cwd=millrace.folder)
    os.close(theirs)
    seen = b""
    with contextlib.suppress(OSError):
        # A terminal that nobody has open any more is an error on Linux.
        while read := os.read(ours, 65536):
            seen += read
    os.close(ours)
    assert process.wait(60) == 0, seen[-2000:]
    frames = re.findall(r"train .{0,80}?(\d+\.?\d*)/400 epochs .{0,20}loss \d\.\d+", seen.decode(errors="replace"))
    assert len(set(frames)) > 3, seen[-3000:]
    assert frames == sorted(frames, key=float)
    assert "\N{BOX DRAWINGS HEAVY HORIZONTAL}" in seen.decode(errors="replace")
