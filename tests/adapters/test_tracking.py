import pytest

from components.adapters.tracking import Tracker
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement


@pytest.fixture
def tracker(placement):
    return Tracker(placement)


def run_of(tracker):
    return tracker.client.get_run(tracker.run_id)


def test_a_run_holds_parameters_and_every_metric_in_order(tracker):
    tracker.start("r", {"a": 1}, {"t": "x"})
    for step in range(700):
        tracker.metrics({"loss": 1 / (step + 1)}, step)
    tracker.end("FINISHED")
    assert run_of(tracker).info.status == "FINISHED"
    assert run_of(tracker).data.params == {"a": "1"}
    history = tracker.client.get_metric_history(tracker.run_id, "loss")
    assert [(one.step, one.value) for one in history] == [(step, 1 / (step + 1)) for step in range(700)]


def test_without_a_run_metrics_go_nowhere(tracker):
    tracker.metrics({"loss": 1.0})
    tracker.end("FINISHED")


def test_only_runs_of_that_tag_are_ended(tracker):
    mine, other = (tracker.start("r", {}, {"k": value}) for value in "ab")
    tracker.end_tagged("k", "a", "KILLED")
    assert [tracker.client.get_run(one).info.status for one in (mine, other)] == ["KILLED", "RUNNING"]


def test_metrics_that_cannot_be_written_fail_the_run_aloud(tracker, monkeypatch):
    tracker.start("r", {}, {})
    monkeypatch.setattr(tracker.client, "log_batch", lambda *_, **__: (_ for _ in ()).throw(OSError(28, "full", "db")))
    tracker.metrics({"loss": 1.0})
    with pytest.raises(EnvironmentFault, match="E_DISK_FULL db: no space is left"):
        tracker.end("FINISHED")
    assert run_of(tracker).info.status == "FAILED"


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path):
    (tmp_path / "file").write_text("x")
    tracker = Tracker(Placement(home=tmp_path, tracking_uri=f"sqlite:///{tmp_path}/file/mlflow.db"))
    with pytest.raises(EnvironmentFault, match="E_TRACKING|E_IO|E_PERMISSION"):
        tracker.start("r", {}, {})


def test_what_is_absent_is_told_from_what_failed(tracker):
    tracker.create()
    assert tracker.find_version("none", "x") is None
    assert tracker.aliased("none", "champion") == ""
    with pytest.raises(LookupError):
        tracker.download("none", "1", tracker._placement.home)
