"""Steps in work pools of their own, chosen by a setting and not by a recipe."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from components.contracts.closure import ROOT
from tests.e2e.test_loop import until
from tests.e2e.test_served import of_run

HERE = Path(__file__).parent
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
CHANGES = ("--set", "register.name=spread", "--set", "train.seed=77")


@pytest.fixture(scope="module")
def pools(millrace, api):
    """Two process pools beside the usual one, each with a worker."""
    done = millrace("deploy", "--pool", "big:1", "--pool", "small")
    assert done.returncode == 0, done.err
    workers = [millrace.start("worker", "--pool", name) for name in ("big", "small")]
    yield api.deployments()
    for one in workers:
        one.send_signal(signal.SIGTERM)
        one.communicate(timeout=60)


def test_steps_run_where_the_setting_says(millrace, api, pools):
    places = {"MILLRACE_PLACES": "train=big, package=small"}
    made = millrace.run("iris-mlp", *CHANGES, **places)
    assert made["state"] == "Completed", made["error"]
    whys = {one["step"]: (one["reused"], one["why"]) for one in made["steps"]}
    assert whys["train"] == (False, "ran by the deployment big")
    assert whys["package"] == (False, "ran by the deployment small")
    assert "deployment" not in whys["evaluate"][1]
    for name, step in (("big", "train"), ("small", "package")):
        (run,) = api.runs(pools[name])
        assert (run["name"], run["state_type"]) == (f"{step} of iris-mlp", "COMPLETED")
    assert (api.get("/work_pools/big")["concurrency_limit"], api.get("/work_pools/small")["concurrency_limit"]) == (
        1,
        1,
    )
    again = millrace.run("iris-mlp", *CHANGES, **places)
    assert (again["state"], again["model"]["version"]) == ("Unchanged", made["model"]["version"])
    assert len(api.runs(pools["big"])) == 1, "what is in the store is not asked for again"


def test_a_pool_that_takes_one_run_at_a_time_takes_no_two(millrace, api, pools):
    """Two runs want the same place, as that beside a GPU, at the same time."""
    before = {run["id"] for run in api.runs(pools["big"])}
    changes = [(*CHANGES, "--set", f"train.seed={seed}", "--set", "gate={}", "--json") for seed in (31, 32)]
    both = [millrace.start("run", "iris-mlp", *one, MILLRACE_PLACES="train=big") for one in changes]
    for one in both:
        _, err = one.communicate(timeout=300)
        # Both make a champion of one model: the later one is told so.
        assert one.returncode == 0 or "E_CHAMPION_MOVED" in err, err
    first, second = (run for run in api.runs(pools["big"]) if run["id"] not in before)
    assert {first["state_type"], second["state_type"]} == {"COMPLETED"}
    assert max(first["start_time"], second["start_time"]) >= min(first["end_time"], second["end_time"])


def test_cancelling_a_run_ends_its_step_elsewhere(millrace, api, pools):
    before = {run["id"] for run in api.runs(pools["big"])}
    long = ("--set", "train.max_epochs=90000", "--set", "train.seed=33", "--json")
    shell = millrace.start("run", "iris-mlp", *long, MILLRACE_PLACES="train=big")
    (step,) = until(lambda: [one for one in api.runs(pools["big"]) if one["id"] not in before and one["start_time"]])
    until(lambda: of_run(step["id"]))
    (parent,) = (one for one in api.all_runs("RUNNING") if one["id"] != step["id"])
    api.post(f"/flow_runs/{parent['id']}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    out, err = shell.communicate(timeout=60)
    assert shell.returncode == 75, err
    assert json.loads(out)["state"] == "Interrupted"
    assert api.follow(step["id"], 60)["state_type"] == "CANCELLED"
    assert not of_run(step["id"])


def test_a_deployment_that_is_not_there_is_named(millrace, api, pools):
    gone = millrace.run("iris-mlp", "--set", "checks.max_bad_rows=3", MILLRACE_PLACES="validate=nowhere")
    assert gone["code"] == 2
    assert gone["error"].startswith(
        "E_CONFIG MILLRACE_PLACES: there is no such deployment of the flow `step` (got 'validate=nowhere')"
    )


@pytest.fixture(scope="module")
def workers_of_others(tmp_path_factory):
    """What only workers of containers and jobs need, from its lock, beside this environment."""
    folder = tmp_path_factory.mktemp("pools")
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "--target", str(folder)]
    subprocess.run([*command, "-r", str(ROOT / "infra" / "docker" / "pools.txt")], check=True)
    return folder


def test_prefects_workers_of_containers_and_jobs_take_the_pools_files(millrace, address, api, workers_of_others):
    """Deployed as a person does; each worker's own code then makes a container's and a job's description of it."""
    elsewhere = {
        "MILLRACE_STORE": "s3://models/store",
        "MILLRACE_TRACKING_URI": "https://mlflow.example",
    }
    refused = millrace("deploy", "--pool", "jobs:4:kubernetes", **elsewhere)
    assert refused.returncode == 2
    assert refused.err.startswith("E_CONFIG MILLRACE_PREFECT_API_URL: jobs of the pool jobs run on other machines")
    assert millrace("deploy", "--pool", "boxes:3:docker").returncode == 0
    pool = api.get("/work_pools/boxes")
    assert (pool["type"], pool["concurrency_limit"]) == ("docker", 3)
    deployment = api.deployments()["boxes"]
    given = {
        "docker": deployment["job_variables"],
        "kubernetes": {"env": elsewhere, "limits": {"memory": "8Gi", "nvidia.com/gpu": "1"}},
    }
    done = subprocess.run(
        [sys.executable, str(HERE / "pool_templates.py"), json.dumps(given)],
        env={**os.environ, "PYTHONPATH": str(workers_of_others), "PREFECT_API_URL": f"{address}/api"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout.splitlines()[-1])
    assert made["docker"]["volumes"] == [f"{millrace.home}:{millrace.home}"]
    assert (made["docker"]["image"], made["docker"]["network_mode"]) == ("millrace:latest", "host")
    job = made["kubernetes"]["job_manifest"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    told = {one["name"]: one["value"] for one in container["env"]}
    assert {name: told[name] for name in elsewhere} == elsewhere
    assert (container["args"], job["backoffLimit"]) == (["prefect", "flow-run", "execute"], 0)
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": "1"}
    missing = millrace("worker", "--pool", "boxes")
    assert missing.returncode == 1
    assert missing.err.startswith("E_EXTRA_MISSING pool boxes: prefect-docker is not installed; pip install")


@pytest.mark.bad_input
@pytest.mark.parametrize("text", ["gate=big", "train", "train=", "x=big"])
def test_bad_input_a_setting_that_says_not_what_runs_where(millrace, text):
    done = millrace("status", MILLRACE_PLACES=text)
    assert done.returncode == 2
    assert done.err.startswith(f"E_CONFIG MILLRACE_PLACES: this says not which step runs where (got '{text}')")


@pytest.mark.bad_input
@pytest.mark.parametrize("pool", ["millrace", "Big", "big:0", "a b"])
def test_bad_input_a_pool_that_is_none(millrace, api, pool):
    done = millrace("deploy", "--pool", pool)
    assert done.returncode == 2
    assert done.err.startswith(f"E_CONFIG --pool: this is no pool for steps (got '{pool}')")
    assert json.loads(millrace("status", "--json").out)["services"][0]["state"] == "up"
