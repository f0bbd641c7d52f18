"""What `deploy` makes, started as its forms start it and followed to the end."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import suppress

import psutil
import pytest

from components.contracts.closure import ROOT
from tests.flows.api import ask

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1500)]


SEARCHED = """
name: pooled
source: {kind: scikit-learn, name: iris}
features: [{kind: number, columns: [sepal_length, petal_length]}]
target: {kind: label, column: target}
model: {kind: mlp, hidden: [8]}
objective: {kind: classification}
train: {max_epochs: 2, learning_rate: 0.0001}
search: {trials: 6, space: {train.learning_rate: {low: 0.0001, high: 0.1, log: true}}}
"""


@pytest.fixture(scope="module")
def ended(millrace, api):
    """Every deployment, started with its defaults as its form does, and followed to its end before the next one.

    A dozen trainings at once would wait for each other's threads: eighty seconds for what takes four.
    """
    assert millrace.run("digits-cnn")["state"] in {"Completed", "Unchanged"}
    # One asks for what nobody can guess, and one would take three times as long.
    asks, given = {"approval"}, {"any-repeating": {"seeds": 1}}
    found = {name: one for name, one in api.deployments().items() if name not in asks}
    return {name: api.follow(api.start(one, **given.get(name, {}))) for name, one in found.items()}


def test_every_deployment_runs_with_its_defaults(millrace, api, ended):
    for name, run in ended.items():
        assert run["state_type"] == "COMPLETED", (name, run["state"]["message"])
    # What was asked for by hand a moment before stands in for the schedule's.
    assert ended["digits-cnn-retraining"]["state_name"] in {"Unchanged", "Skipped"}
    assert ended["digits-cnn-retraining"]["name"] == "digits-cnn again: schedule"
    assert ended["any-retraining"]["state_name"] == "Unchanged"
    assert {ended[name]["state_name"] for name in ("any-monitoring", "digits-cnn-monitoring")} == {"TooFew"}
    assert ended["any-step"]["name"] == "ingest of digits-cnn"


def test_a_person_approves_a_run_from_a_form(millrace, api, ended):
    waits = millrace.run("digits-cnn", "--set", "gate.approval=true", "--set", "register.name=asked")
    assert waits["state"] == "AwaitingApproval"
    approval = api.deployments()["approval"]
    wrong = api.follow(api.start(approval, run="none", who="ada", why="measured"))
    assert wrong["state_type"] == "FAILED"
    assert "E_CONFIG RUN: no run of that name ended here (got 'none')" in wrong["state"]["message"]
    run = api.follow(api.start(approval, run=waits["run"], who="ada", why="measured"))
    assert (run["state_type"], run["state_name"]) == ("COMPLETED", "Completed")
    (move,) = json.loads(millrace("champions", "asked", "--json").out)["champions"]["asked"]
    assert (move["who"], move["why"]) == ("ada", "measured")
    status, said = api.post(f"/deployments/{approval['id']}/create_flow_run", {"parameters": {"run": waits["run"]}})
    assert status not in {200, 201}, "who and why have to be said"
    assert "who" in json.dumps(said)


def test_a_runs_page_shows_data_metrics_steps_and_links_that_open(millrace, api, ended):
    mlflow = json.loads(millrace("status", "--json").out)["services"][1]["address"]
    number = ended["digits-cnn"]["id"]
    shown = api.artifacts(number)
    assert {key.removeprefix("digits-cnn-"): one["type"] for key, one in shown.items()} == {
        "data": "markdown",
        "metrics": "table",
        "report": "markdown",
        "mlflow": "markdown",
        "steps": "markdown",
    }
    assert "| validate | 1,797 | 0 | 1,797 | 0 | 0 | 0 |" in shown["digits-cnn-data"]["data"]
    assert "accuracy" in shown["digits-cnn-metrics"]["data"]
    for what in ("report", "mlflow"):
        assert f"({mlflow}/#/" in shown[f"digits-cnn-{what}"]["data"]
    run = shown["digits-cnn-mlflow"]["data"].partition("/runs/")[2].partition(")")[0]
    info = ask(f"{mlflow}/api/2.0/mlflow/runs/get?run_id={run}")[1]["run"]["info"]
    assert info["artifact_uri"].startswith("mlflow-artifacts:/")
    assert ask(f"{mlflow}/get-artifact?path=report.html&run_uuid={run}")[1].startswith("<!doctype html>")
    assert any(line.startswith("register: reused in ") for line in api.log(number))


def test_trials_run_in_a_work_pool(millrace, api, tmp_path):
    path = tmp_path / "pooled.yaml"
    path.write_text(SEARCHED)
    found = millrace.tune(str(path), "--set", "search.parallel=3", "--deployment", "any-trial")
    assert (found["code"], found["state"]) == (0, "Completed"), found["err"]
    assert sum(one["state"] in {"complete", "pruned"} for one in found["tuned"]["trials"]) == 6
    refused = millrace("tune", str(path), "--set", "search.trials=7", "--deployment", "none")
    assert refused.returncode == 2
    wrong = api.follow(api.start(api.deployments()["any-trial"], search="x"))
    assert "E_CONFIG search: it is no JSON object (got 'x')" in wrong["state"]["message"]
    assert "E_CONFIG deployment: there is no such deployment of the flow `attempt` (got 'none')" in refused.err


@pytest.mark.bad_input
def test_bad_input_wrong_texts_in_the_form_end_the_run_before_any_step(api):
    found = api.deployments()
    wrong = {
        "recipe: there is no such recipe or file": {"recipe": "digits"},
        "train.epochs: there is no such key; nearest: max_epochs": {"overrides": ["train.epochs=3"]},
        "train.accelerator: asked for 1 GPU": {"overrides": ["train.accelerator=gpu"]},
    }
    if shutil.which("nvidia-smi"):
        del wrong["train.accelerator: asked for 1 GPU"]
    numbers = {text: api.start(found["any-recipe"], **given) for text, given in wrong.items()}
    for text, number in numbers.items():
        run = api.follow(number)
        assert run["state_type"] == "FAILED"
        assert text in run["state"]["message"]
        assert api.tasks(number) == []
        assert not any("Traceback" in line for line in api.log(number))


@pytest.mark.bad_input
def test_bad_input_a_deployment_whose_recipe_has_vanished(api):
    """Its run ends with a line that names the recipe."""
    deployment = api.deployments()["any-recipe"]
    like = {key: deployment[key] for key in ("flow_id", "entrypoint", "pull_steps", "work_pool_name", "path")}
    status, made = api.post("/deployments/", {**like, "name": "vanished", "parameters": {"recipe": "gone.yaml"}})
    assert status in {200, 201}, made
    run = api.follow(api.start(made))
    api.post(f"/deployments/{made['id']}", None, method="DELETE")
    assert run["state_type"] == "FAILED"
    assert "E_CONFIG recipe: there is no such recipe or file" in run["state"]["message"]
    assert "gone.yaml" in run["state"]["message"]


def test_deploy_takes_another_time_for_the_schedule_and_leaves_no_process_behind(millrace, api):
    for text, said in (
        ("every day", "this is no cron text"),
        ("0 3 * * * *", "this has more than five fields"),
        ("0 3 31 2 *", "this time never comes"),
    ):
        wrong = millrace("deploy", "--cron", text)
        assert wrong.returncode == 2
        assert wrong.err.startswith(f"E_SCHEDULE --cron: {said} (got '{text}')")
    wrong = millrace("deploy", "--timezone", "Europe/Berln")
    assert wrong.returncode == 2
    said = "E_SCHEDULE --timezone: there is no such time zone; nearest: Europe/Berlin (got 'Europe/Berln')"
    assert wrong.err.startswith(said)
    before = {one.pid for one in of_home(millrace)}
    assert millrace("deploy", "--cron", "5 4 * * 0", "--timezone", "Europe/Berlin").returncode == 0
    (schedule,) = api.deployments()["digits-cnn-retraining"]["schedules"]
    assert (schedule["schedule"]["cron"], schedule["schedule"]["timezone"]) == ("5 4 * * 0", "Europe/Berlin")
    assert {one.pid for one in of_home(millrace)} <= before
    assert millrace("deploy").returncode == 0
    (schedule,) = api.deployments()["digits-cnn-retraining"]["schedules"]
    assert schedule["schedule"]["cron"] == "0 3 * * *"


def test_the_longest_of_the_last_runs_is_what_a_schedule_is_held_against(api, address, ended):
    runs = api.runs(api.deployments()["digits-cnn-retraining"])
    known = [run["total_run_time"] for run in runs if run["state_type"] == "COMPLETED"]
    code = (
        "from flows.schedules import longest; print(longest('retraining', 'digits-cnn-retraining').total_seconds());"
        "print(longest('retraining', 'nobody'))"
    )
    environment = {**os.environ, "PREFECT_API_URL": f"{address}/api"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    found, none = done.stdout.split()
    assert (float(found), none) == (pytest.approx(max(known), abs=0.01), "None")


def of_home(millrace):
    """Every process that was told of this home, zombies left out."""
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if one.environ().get("MILLRACE_HOME") == str(millrace.home) and one.status() != psutil.STATUS_ZOMBIE:
                found.append(one)
    return found
