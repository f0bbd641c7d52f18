"""F33: MLflow's server is killed while a run writes to it, and comes back."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from components.adapters.outbox import Outbox
from components.adapters.tracking import Tracker
from components.contracts.placement import Placement
from tests.faults.trainings import equal

pytestmark = pytest.mark.faults
POINTS = 3000


class Server:
    """A real MLflow server on one port, which can be killed and started again."""

    def __init__(self, folder):
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.folder, self.process = folder, None
        self.start()

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db", "--host", "127.0.0.1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=self.folder)
        end = time.monotonic() + 60
        while time.monotonic() < end:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    made = Server(tmp_path)
    yield made
    made.kill()


def points(tracker, run, key):
    return [(one.step, one.value) for one in tracker.client.get_metric_history(run, key)]


@pytest.mark.parametrize("seconds", [1, 60])
def test_fault_F33_the_server_is_killed_while_points_are_written(server, tmp_path, tally, seconds):
    """F33-away: every point is there once, the file too, and the run ends as it did."""
    tracker = Tracker(Placement(home=tmp_path / "home", tracking_uri=server.address))
    with tally(f"F33-away-{seconds}s") as count:
        run = tracker.start("r", {"a": 1}, {"millrace.run": "one"})
        count.injected += 1

        def strike():
            time.sleep(1.0)
            server.kill()
            count.hit += 1
            time.sleep(seconds)
            server.start()

        striker = threading.Thread(target=strike)
        striker.start()
        for step in range(1, POINTS + 1):
            tracker.metrics({"loss": 1 / step}, step)
            time.sleep(0.001)
        note = tmp_path / "note.txt"
        note.write_text("kept")
        tracker.file(note)
        assert tracker.end("FINISHED") == ""
        striker.join()
        count.holds(lambda: _once(tracker, run))
        assert tracker.client.get_run(run).info.status == "FINISHED"
        assert [one.path for one in tracker.client.list_artifacts(run)] == ["note.txt"]
        assert not list((tmp_path / "home" / "outbox").iterdir())


def _once(tracker, run):
    found = points(tracker, run, "loss")
    assert found == [(step, 1 / step) for step in range(1, POINTS + 1)]


def test_fault_F33_the_server_stays_away_and_the_next_run_sends(server, tmp_path, tally, monkeypatch):
    """F33-later: what could not be sent waits on disk with the run's end, also where the process was killed."""
    from components.adapters import tracking

    monkeypatch.setattr(tracking, "OUTAGE_SECONDS", 3.0)
    placement = Placement(home=tmp_path / "home", tracking_uri=server.address)
    with tally("F33-later") as count:
        tracker = Tracker(placement)
        run = tracker.start("r", {}, {})
        server.kill()
        count.injected += 2
        for step in range(1, 101):
            tracker.metrics({"loss": float(step)}, step)
            # What comes later comes when the first of them are refused already.
            time.sleep(1.5 if step == 50 else 0.0)
        waiting = next((tmp_path / "home" / "outbox").glob("*.jsonl"))
        assert len(waiting.read_text().splitlines()) == 100
        assert "wait in" in tracker.end("FINISHED")
        count.hit += 1
        # As a process that is killed leaves it: points on disk, and no end.
        child = os.fork()
        if child == 0:
            box = Outbox(tmp_path / "home" / "outbox", run + "x", lambda *_: _raise(), lambda *_: None, lambda _: True)
            box.put([("late", 1.0, 1, 1)])
            time.sleep(1.5)
            box.put([("late", 2.0, 2, 2)])
            os._exit(0)
        os.waitpid(child, 0)
        other = tmp_path / "home" / "outbox" / f"{run}x.jsonl"
        assert len(other.read_text().splitlines()) == 2
        server.start()
        second = Tracker(placement)
        real = second.start("second", {}, {})
        other.rename(other.with_name(f"{real}.jsonl"))
        count.hit += 1
        end = time.monotonic() + 30
        # The first tracker's thread goes on asking as long as this process lives.
        while time.monotonic() < end and second.client.get_run(run).info.status != "FINISHED":
            time.sleep(0.5)
        assert second.send_left() == [real]
        assert second.client.get_run(run).info.status == "FINISHED"
        count.holds(lambda: _equal(points(second, run, "loss"), [(step, float(step)) for step in range(1, 101)]))
        count.holds(lambda: _equal(points(second, real, "late"), [(1, 1.0), (2, 2.0)]))


def _raise():
    raise OSError("Connection refused")


def _equal(first, second):
    assert first == second


def test_fault_F25_each_step_is_noted_once_in_mlflow_whenever_training_is_killed(place, whole, tally):
    """F25-noted: what is learnt again after a checkpoint is told again, and noted no second time."""
    with tally("F25-noted") as count:
        for number in (4, 9, 15):
            place.plan.write_text(f"kill {number}")
            ctx = place.context(f"noted-{number}")
            ctx.tracker.start("t", {}, {})
            made = place.train(ctx, log_steps=1)
            ctx.tracker.end("FINISHED")
            count.injected += 1
            count.hit += place.hits()
            noted = ctx.tracker.client.get_metric_history(ctx.tracker.run_id, "step_loss")
            count.holds(equal, sorted(one.step for one in noted), list(range(1, len(whole[1]) + 1)))
            epochs = ctx.tracker.client.get_metric_history(ctx.tracker.run_id, "validation_loss")
            count.holds(equal, [one.value for one in epochs], [one["validation_loss"] for one in made.history])
