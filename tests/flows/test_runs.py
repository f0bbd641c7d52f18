"""Whole runs as a user starts them, and how each of them ends in Prefect, in MLflow and at the shell."""

import json
import re
import signal
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import psutil
import pytest
import yaml

from flows.line import STAGES
from tests.flows.conftest import COMMAND
from tests.line import write_table

STEPS = [one for one in STAGES if one != "compress"]
"""Of recipes that ask for no smaller versions."""
ENDLESS = ("--set", "train.max_epochs=90000", "--set", "train.batch_size=4")


def test_a_first_run_ends_in_a_registered_champion(millrace, first):
    assert (first["code"], first["state"], first["verdict"]) == (0, "Completed", "approved")
    assert [one["step"] for one in first["steps"]] == list(STEPS)
    assert not any(one["reused"] for one in first["steps"])
    assert first["model"] == {"name": "digits-cnn", "version": 1, "aliases": ["challenger", "champion"]}
    assert first["metrics"]["test_accuracy"] >= 0.98
    assert Path(first["report"].removeprefix("file://")).read_text().startswith("<!doctype html>")
    for step in STEPS:
        assert re.search(rf"✓ {step} +ran", first["err"])
    for line in ("test accuracy", "gate           approved", "digits-cnn version 1 @challenger, @champion", "next"):
        assert line in first["err"]
    commands = [line.split("  ")[2].strip() for line in first["err"].split("next\n")[1].splitlines()]
    assert commands == [
        f"{COMMAND} run digits-cnn",
        f"{COMMAND} run digits-cnn --set train.seed=1",
        "make train RECIPE=adult-mlp DATA=<folder>",
    ]


def test_a_run_is_completed_in_prefect_with_its_artifacts(millrace, first):
    kind, name, tasks = millrace.prefect_run(first["prefect_run"], len(STEPS))
    assert (kind, name, tasks) == ("COMPLETED", "Completed", ["Completed"] * len(STEPS))
    artifacts = millrace.prefect.artifacts(first["prefect_run"])
    assert artifacts["digits-cnn-train-progress"]["type"] == "progress"
    assert re.match(
        r"train: epochs, (validation )?loss \d+\.\d+", artifacts["digits-cnn-train-progress"]["description"]
    )
    # Every other step that happens to take longer than two seconds has one too.
    assert {name: one["type"] for name, one in artifacts.items() if not name.endswith("-progress")} == {
        "digits-cnn-data": "markdown",
        "digits-cnn-metrics": "table",
        "digits-cnn-mlflow": "markdown",
        "digits-cnn-report": "markdown",
        "digits-cnn-steps": "markdown",
    }


def test_prefect_keeps_what_happened_to_a_run_and_to_each_of_its_steps(millrace, first):
    kept = millrace.prefect.task_events(first["prefect_run"], 3 * len(STEPS))
    states = ("Pending", "Running", "Completed")
    known = sorted((name.partition("-")[0], event.rpartition(".")[2]) for name, event in kept)
    assert known == sorted((step, state) for step in STEPS for state in states)


def test_the_run_page_says_what_ran_and_why(millrace, first):
    lines = millrace.prefect.log(first["prefect_run"])
    for step in STEPS:
        assert any(line.startswith(f"{step}: ran in ") and "because: " in line for line in lines), lines


def test_a_run_is_finished_in_mlflow_with_parameters_metrics_data_and_lineage(millrace, first):
    status, params, metrics, tags, inputs = millrace.mlflow_run(first["mlflow_run"])
    assert status == "FINISHED"
    assert params["train.max_epochs"] == "15"
    assert params["source.kind"] == "digits"
    assert metrics["test_accuracy"] == first["metrics"]["test_accuracy"]
    assert {"train_loss", "validation_loss", "validation_accuracy"} <= set(metrics)
    assert inputs[0][2] == {"num_rows": 1797, "train": 1292, "validation": 158, "test": 347}
    fingerprints = {one["step"]: one["fingerprint"] for one in first["steps"] if one["fingerprint"]}
    assert {f"millrace.{step}": value for step, value in fingerprints.items()}.items() <= tags.items()
    registered = millrace.mlflow.get_model_version_by_alias("digits-cnn", "champion")
    assert (int(registered.version), registered.run_id) == (1, first["mlflow_run"])
    assert registered.tags["millrace.verified"] == "true"


def test_mlflow_keeps_the_whole_recipe_and_what_it_ran_with(millrace, first, tmp_path):
    recipe, environment = (
        Path(millrace.mlflow.download_artifacts(first["mlflow_run"], name, str(tmp_path))).read_text()
        for name in ("recipe.yaml", "environment.json")
    )
    written = yaml.safe_load(recipe)
    assert (written["train"]["max_epochs"], written["source"]["kind"]) == (15, "digits")
    assert json.loads(environment)["libraries"]["torch"] == version("torch")


def test_a_second_run_reuses_every_step_imports_no_torch_and_starts_no_process(millrace, first, tmp_path):
    log = tmp_path / "log"
    done = subprocess.run(
        [
            "strace",
            "-f",
            "-qq",
            "-e",
            "trace=execve",
            "-o",
            log,
            sys.executable,
            "-X",
            "importtime",
            COMMAND,
            "run",
            "digits-cnn",
            "--json",
        ],
        env=millrace.environment,
        capture_output=True,
        text=True,
        cwd=millrace.folder,
        check=False,
    )
    record = json.loads(done.stdout)
    assert (done.returncode, record["state"]) == (0, "Unchanged")
    assert all(one["reused"] and one["why"] for one in record["steps"])
    assert record["model"] == first["model"]
    imported = {
        line.rsplit("|", 1)[1].strip().partition(".")[0] for line in done.stderr.splitlines() if line.count("|") == 2
    }
    assert {"prefect", "mlflow"} <= imported
    assert not imported & {"torch", "pytorch_lightning", "dask", "distributed", "sklearn"}
    started = [
        line for line in log.read_text().splitlines() if "execve(" in line and "= 0" in line and "uname" not in line
    ]
    assert len(started) == 1, started
    ended = ("COMPLETED", "Unchanged", ["Completed"] * len(STEPS))
    assert millrace.prefect_run(record["prefect_run"], len(STEPS)) == ended
    assert millrace.mlflow_run(record["mlflow_run"])[0] == "FINISHED"


def test_a_rejected_run_says_so_and_an_approval_lets_it_through(millrace, first):
    rejected = millrace.run("digits-cnn", "--set", "gate.minimum={accuracy: 1.5}", "--set", "register.name=r")
    assert (rejected["code"], rejected["state"], rejected["verdict"]) == (3, "Rejected", "rejected")
    assert rejected["model"] == {}
    assert rejected["checks"][0].startswith("fail: accuracy ")
    assert millrace.prefect_run(rejected["prefect_run"])[:2] == ("COMPLETED", "Rejected")
    assert millrace.mlflow_run(rejected["mlflow_run"])[0] == "FINISHED"
    approved = millrace("approve", rejected["run"], "--why", "a trial", "--who", "ada", "--json")
    assert "E_CONFIG RUN: this run waits for no approval" in millrace("approve", first["run"], "--why", "x").err
    record = json.loads(approved.out)
    assert (approved.returncode, record["state"], record["model"]["name"]) == (0, "Completed", "r")
    assert record["checks"][-1] == "forced by ada: a trial"
    ran = {one["step"] for one in record["steps"] if not one["reused"]}
    assert ran == {"gate", "register"}


@pytest.mark.e2e
def test_a_run_that_waits_for_approval_says_so(millrace, first):
    waiting = millrace.run("digits-cnn", "--set", "gate.approval=true", "--set", "register.name=w")
    assert (waiting["code"], waiting["state"], waiting["model"]) == (0, "AwaitingApproval", {})
    assert millrace.prefect_run(waiting["prefect_run"])[:2] == ("COMPLETED", "AwaitingApproval")
    assert f"millrace approve {waiting['run']}" in waiting["err"]
    approved = millrace("approve", waiting["run"], "--why", "looked at", "--json")
    assert json.loads(approved.out)["model"]["aliases"] == ["challenger", "champion"]
    other = millrace.run(
        "digits-cnn", "--set", "gate.approval=true", "--set", "register.name=w", "--set", "evaluate.worst=3"
    )
    assert other["state"] == "AwaitingApproval", "an approval holds for the report that the person saw"


def recipe_file(folder):
    path = folder / "toy.yaml"
    path.write_text(
        "name: toy\n"
        f"source: {{kind: files, uri: {write_table(folder / 'table')}}}\n"
        "checks: {columns: {n: {type: float64}}}\n"
        "features: [{kind: number, columns: [n]}, {kind: category, columns: [c]}]\n"
        "target: {kind: label, column: label}\n"
        "model: {kind: mlp}\n"
        "objective: {kind: classification}\n"
        "train: {max_epochs: 2}\n"
    )
    return path


@pytest.mark.e2e
def test_a_newcomers_own_csv_takes_eight_lines(millrace, tmp_path):
    record = millrace.run(str(recipe_file(tmp_path)))
    assert (record["state"], record["model"]["name"]) == ("Completed", "toy")


def last_runs(millrace, recipe):
    """The newest run of a recipe in both servers: Prefect's state type and MLflow's status."""
    experiment = millrace.mlflow.get_experiment_by_name("millrace").experiment_id
    these, newest = f"tags.`millrace.recipe` = '{recipe}'", ["attributes.start_time DESC"]
    runs = millrace.mlflow.search_runs([experiment], these, order_by=newest)
    return [millrace.prefect.named(str(recipe))["state_type"], runs[0].info.status if runs else None]


def test_a_failed_run_is_failed_everywhere_in_one_line(millrace, tmp_path):
    path = recipe_file(tmp_path)
    (tmp_path / "table" / "0.csv").write_text("n,c,label\n1,a\n" * 40)
    record = millrace.run(str(path))
    assert (record["code"], record["state"]) == (2, "Failed")
    assert record["error"].startswith("E_QUARANTINE_LIMIT checks: ")
    assert record["error"] in " ".join(record["err"].split())
    assert last_runs(millrace, path) == ["FAILED", "FAILED"]


def until_training(process):
    """Read what a run says until it trains; the training children of the process."""
    for line in process.stderr:
        if "train" in line and "epochs" in line:
            break
    family = psutil.Process(process.pid).children(recursive=True)
    return [one for one in family if "prefect_app" not in " ".join(one.cmdline())]


@pytest.mark.e2e
def test_a_run_that_is_asked_to_stop_can_be_continued(millrace, first):
    process = millrace.start("run", "digits-cnn", *ENDLESS, "--json")
    family = until_training(process)
    assert family
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 75
    assert json.loads(out)["state"] == "Interrupted"
    assert json.loads(out)["error"] in err.replace("\n", "")
    assert "E_INTERRUPTED the run was asked to stop; run the same command to continue: " in err
    assert "Traceback" not in err
    assert psutil.wait_procs(family, 5)[1] == []
    assert last_runs(millrace, "digits-cnn") == ["CRASHED", "KILLED"]


@pytest.mark.faults
def test_a_run_that_is_killed_leaves_nothing_and_the_next_one_tells_the_truth_about_it(millrace, first):
    process = millrace.start("run", "digits-cnn", *ENDLESS, "--set", "train.seed=9")
    family = until_training(process)
    process.kill()
    process.communicate()
    assert psutil.wait_procs(family, 5)[1] == []
    assert last_runs(millrace, "digits-cnn") == ["RUNNING", "RUNNING"]
    record = millrace.run("digits-cnn")
    assert record["state"] == "Unchanged"
    assert "went away earlier; it is now marked as crashed" in record["err"]
    runs = millrace.mlflow.search_runs([millrace.mlflow.get_experiment_by_name("millrace").experiment_id])
    assert "RUNNING" not in {run.info.status for run in runs}
    assert list((millrace.home / "runs").iterdir()) == []


@pytest.mark.e2e
def test_the_flow_runs_by_itself_as_a_worker_would_start_it(millrace, first):
    state = millrace.query("""
from flows.training import training
state = training("digits-cnn", epochs=15, return_state=True)
print(json.dumps([state.type.value, state.name]))
""")
    assert state == ["COMPLETED", "Unchanged"]
