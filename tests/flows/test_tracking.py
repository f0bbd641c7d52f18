"""A run in MLflow that is begun beside the flow."""

import threading
from contextlib import suppress
from types import SimpleNamespace

import pytest

from components.contracts.errors import ConflictError, EnvironmentFault
from flows import tracking
from flows.runs import Interruption

AWAY = EnvironmentFault("E_TRACKING", "no server", action="start it")
LOST = ConflictError("E_LEASE", "declared dead", action="start it again")


class Tracker:
    """Notes how its run ended; it begins once `lets` is set."""

    def __init__(self, error=None):
        self.error, self.lets, self.tags, self.ended = error, threading.Event(), {}, []
        self.run_id = ""

    def send_left(self):
        return []

    def start(self, name, params, tags):
        self.lets.wait()
        if self.error:
            raise self.error
        self.run_id, self.tags = name, dict(tags)

    def text(self, name, body):
        assert name in {"recipe.yaml", "environment.json"}
        assert body

    def tag(self, tags):
        self.tags |= tags

    def end(self, status):
        if self.run_id:
            self.ended.append(status)
        return ""


def opened(tracker):
    config = SimpleNamespace(name="digits", model_dump=lambda **_: {"name": "digits", "train": {"seed": 0}})
    ctx = SimpleNamespace(tracker=tracker, origin={"git_commit": "abc"}, progress=None)
    noted = {"prefect_run": "7"}
    return SimpleNamespace(config=config, ctx=ctx, name="run", recipe="digits", noted=noted, beginning=None)


def test_it_is_begun_while_the_block_runs_and_knows_prefects_number_once_that_is_there():
    tracker = Tracker()
    run = opened(tracker)
    with tracking.beside(run):
        assert not tracker.run_id
        tracker.lets.set()
        tracking.begun(run)
        assert tracker.tags["prefect.flow_run_id"] == "7"
        tracking.ended(run, None)
    assert tracker.ended == ["FINISHED"]


@pytest.mark.parametrize(
    ("error", "status"), [(ValueError("Prefect"), "FAILED"), (Interruption(), "KILLED"), (LOST, "KILLED")]
)
def test_a_run_that_prefect_did_not_let_begin_is_ended(error, status):
    tracker = Tracker()
    tracker.lets.set()
    run = opened(tracker)
    with pytest.raises(type(error)), tracking.beside(run):
        raise error
    assert tracker.ended == [status]


def test_what_mlflow_refuses_is_raised_where_it_is_waited_for_and_nothing_is_ended():
    tracker = Tracker(AWAY)
    tracker.lets.set()
    run = opened(tracker)
    with pytest.raises(EnvironmentFault, match="E_TRACKING"), tracking.beside(run):
        tracking.begun(run)
    assert tracker.ended == []


def test_whoever_is_interrupted_while_it_waits_ends_what_is_begun_meanwhile(monkeypatch):
    tracker = Tracker()
    run = opened(tracker)

    def interrupted():
        threading.Timer(0.1, tracker.lets.set).start()
        raise Interruption

    with suppress(Interruption), tracking.beside(run):
        monkeypatch.setattr(run.beginning, "result", interrupted)
        tracking.begun(run)
    assert tracker.ended == ["KILLED"]
