"""F37: runs whose process goes away at any moment are told so, leave nothing blocked, and are started again once."""

import json
import os
import re
import signal
import time
from contextlib import contextmanager

import psutil
import pytest
from mlflow import MlflowClient

from tests.e2e.test_loop import until
from tests.e2e.test_served import of_run, training

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
LEASE = 60.0
"""Seconds in which a run that went away has to be told so: the worker looks, and so does `millrace reconcile`."""


def started(api, seed, moment):
    """A run of a deployment so many seconds after its process came up."""
    number = api.start(api.deployments()["any-recipe"], seed=seed, overrides=["train.max_epochs=40", "gate={}"])
    end = time.monotonic() + 60
    while not of_run(number):
        assert time.monotonic() < end
        time.sleep(0.02)
    time.sleep(moment)
    return number


def kill(number):
    processes = of_run(number)
    assert processes, "it has ended before"
    for one in processes:
        one.kill()


def second_of(api, number):
    found = [run for run in api.runs(api.deployments()["any-recipe"]) if f"millrace.again:{number}" in run["tags"]]
    assert len(found) <= 1, "it was started more than once"
    return found[0] if found else None


@pytest.mark.parametrize("moment", [0.0, 0.7, 2.0, 3.5, 5.0])
def test_F37_a_run_that_is_killed_is_crashed_and_goes_on_once(millrace, api, tally, moment):
    number = started(api, 100 + int(10 * moment), moment)
    with tally("F37") as count:
        count.injected += 1
        kill(number)
        began = time.monotonic()
        count.hit += api.follow(number, LEASE)["state_type"] == "CRASHED"
        print(f"crashed {time.monotonic() - began:.1f} s after it was killed {moment} s into its life")
        for _ in range(2):
            assert millrace("reconcile").returncode == 0
        ended = api.follow(second_of(api, number)["id"])
        count.lost += ended["state_type"] != "COMPLETED"
    assert ended["parameters"] == api.run(number)["parameters"]
    assert not list((millrace.home / "runs").glob("*.json")), "nothing is said to live that does not"


def test_F37_what_a_killed_run_had_committed_is_not_done_again(millrace, api, tally):
    # A split of its own, so that nothing before it is there from other tests.
    overrides = ["train.max_epochs=40", "gate={}", "split.test=0.21", "checks.max_bad_rows=7"]
    number = api.start(api.deployments()["any-recipe"], seed=210, overrides=overrides)
    api.until(number, lambda run: training(api, number))
    with tally("F37") as count:
        count.injected += 1
        kill(number)
        count.hit += api.follow(number, LEASE)["state_type"] == "CRASHED"
        assert millrace("reconcile").returncode == 0
        again = second_of(api, number)["id"]
        assert api.follow(again)["state_type"] == "COMPLETED"
        (page,) = [one["data"] for key, one in api.artifacts(again).items() if key.endswith("-steps")]
        told = dict(re.findall(r"^\| (\w+) \| (reused|ran) ", page, re.MULTILINE))
        count.lost += sum(told[name] != "reused" for name in ("ingest", "validate", "clean", "preprocess"))
    assert told["train"] == "ran"
    killed = [one for one in runs_of(millrace, "millrace.run") if one.info.status == "KILLED"]
    assert killed, "MLflow says so of the first"


def worker_of(millrace):
    return {one["name"]: one for one in json.loads(millrace("status", "--json").out)["services"]}["worker"]["process"]


def test_F37_a_worker_alone_is_killed(millrace, api, tally):
    """Its run has lost who started it, and nobody else takes runs."""
    number = api.start(api.deployments()["any-recipe"], seed=220, overrides=["train.max_epochs=60", "gate={}"])
    api.until(number, lambda run: training(api, number))
    processes, champions = of_run(number), champions_of(millrace)
    with tally("F37") as count:
        count.injected += 1
        os.kill(worker_of(millrace), signal.SIGKILL)
        count.hit += json.loads(millrace("status", "--json").out)["services"][2]["state"] == "down"
        waiting = api.start(api.deployments()["any-recipe"], seed=221, epochs=1, overrides=["gate={}"])
        assert millrace("up").returncode == 0
        first, ended = api.follow(number), api.follow(waiting)
        again = second_of(api, number)
        done = api.follow(again["id"])
        count.lost += done["state_type"] != "COMPLETED" or ended["state_type"] != "COMPLETED"
    assert first["state_type"] == "CRASHED", "`up` ended it, after a checkpoint"
    psutil.wait_procs(processes, 60)
    assert not of_run(number)
    assert len(champions_of(millrace)) <= len(champions) + 2, "each is promoted once"
    nothing_is_left(millrace)


def test_F37_worker_and_run_are_killed_and_up_again_starts_both(millrace, api):
    """Nobody is left who could notice, before the run's process has said that it lives."""
    worker = worker_of(millrace)
    number = started(api, 200, 0.0)
    os.kill(worker, signal.SIGKILL)
    kill(number)
    state = api.run(number)["state_type"]
    assert state in {"PENDING", "RUNNING"}, "both say so for ever"
    began = time.monotonic()
    while api.run(number)["state_type"] != "CRASHED":
        assert time.monotonic() - began < 2 * LEASE
        assert millrace("reconcile").returncode == 0
        time.sleep(2)
    print(f"crashed {time.monotonic() - began:.1f} s after both were killed")
    assert millrace("up").returncode == 0
    assert api.follow(second_of(api, number)["id"])["state_type"] == "COMPLETED"
    fresh = api.follow(api.start(api.deployments()["any-recipe"], seed=201, epochs=1, overrides=["gate={}"]))
    assert fresh["state_type"] == "COMPLETED", "the run that went away keeps its place in the pool"


@contextmanager
def hanging(processes):
    """Stopped while the block runs."""
    for one in processes:
        one.suspend()
    try:
        yield
    finally:
        for one in processes:
            one.resume()


def declared_dead(millrace):
    began = time.monotonic()
    done = millrace("reconcile")
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.err
    print(f"declared dead {seconds:.0f} s after it hung")
    assert seconds < 2 * LEASE
    return done.err


def champions_of(millrace):
    return sorted((millrace.home / "store" / "pointers" / "champion").glob("digits-cnn/*"))


def test_F37_another_run_goes_on_in_the_place_of_one_that_hangs(millrace, api):
    """Its process lives and holds its file, so only its lease can say it."""
    number = api.start(api.deployments()["any-recipe"], seed=400, overrides=["train.max_epochs=60", "gate={}"])
    api.until(number, lambda run: training(api, number))
    processes = of_run(number)
    with hanging(processes):
        declared_dead(millrace)
        assert api.run(number)["state_type"] == "CRASHED"
        ended = api.follow(second_of(api, number)["id"])
        assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
        champions = champions_of(millrace)
    psutil.wait_procs(processes, 60)
    assert not of_run(number), "it ends when it finds out"
    # Prefect lets what has crashed fail: its lease of the deployment's limit is lost as well.
    assert api.run(number)["state_type"] in {"CRASHED", "FAILED"}
    assert champions_of(millrace) == champions
    nothing_is_left(millrace)


def test_F37_what_a_run_that_hung_writes_later_is_refused(millrace, api):
    champions = champions_of(millrace)
    changes = ("--set", "train.seed=401", "--set", "train.max_epochs=60", "--set", "gate={}")
    shell = millrace.start("run", "digits-cnn", *changes, "--json")
    (number,) = until(lambda: [one["id"] for one in api.all_runs("RUNNING") if training(api, one["id"])])
    root = psutil.Process(shell.pid)
    with hanging([root, *root.children(recursive=True)]):
        said = declared_dead(millrace)
        assert "went away; it is marked as crashed" in said
        assert api.run(number)["state_type"] == "CRASHED"
    out, err = shell.communicate(timeout=120)
    assert shell.returncode == 1, err
    assert json.loads(out)["error"].startswith("E_LEASE runs/"), out
    assert "another process took this one for dead" in err
    assert champions_of(millrace) == champions
    assert api.run(number)["state_type"] in {"CRASHED", "FAILED"}
    nothing_is_left(millrace)


def nothing_is_left(millrace):
    assert [one for one in runs_of(millrace, "millrace.run") if one.info.status == "RUNNING"] == []
    assert not list((millrace.home / "runs").glob("*.json"))
    assert not list((millrace.home / "store" / "pointers" / "leases").glob("runs/*"))


def runs_of(millrace, tag):
    client = MlflowClient(f"sqlite:///{millrace.home / 'mlflow' / 'mlflow.db'}")
    return client.search_runs([one.experiment_id for one in client.search_experiments()], f"tags.`{tag}` != ''")


def test_F37_runs_that_hang_in_every_place_of_the_pool_are_ended_by_the_schedule(millrace, api, tally):
    """The reconciling flow has a place of its own: nobody types anything."""
    overrides = ["train.max_epochs=60", "gate={}"]
    numbers = [api.start(api.deployments()["any-recipe"], seed=seed, overrides=overrides) for seed in (410, 411)]
    for number in numbers:
        api.until(number, lambda run, number=number: training(api, number))
    processes = [one for number in numbers for one in of_run(number)]
    with tally("F37") as count, hanging(processes):
        count.injected += len(numbers)
        ended = api.follow(api.start(api.deployments()["reconciling"], again=False), 2 * LEASE)
        assert ended["state_type"] == "COMPLETED", ended["state"]["message"]
        count.hit += sum(api.run(number)["state_type"] == "CRASHED" for number in numbers)
    psutil.wait_procs(processes, 60)
    assert not [one for number in numbers for one in of_run(number)], "they end when they find out"
    nothing_is_left(millrace)


def test_F37_a_second_try_that_goes_away_is_not_tried_again(millrace, api):
    number = started(api, 300, 2.0)
    kill(number)
    api.follow(number, LEASE)
    assert millrace("reconcile").returncode == 0
    second = second_of(api, number)["id"]
    api.until(second, lambda run: run["state_type"] == "RUNNING")
    kill(second)
    api.follow(second, LEASE)
    assert millrace("reconcile").returncode == 0
    assert second_of(api, second) is None
