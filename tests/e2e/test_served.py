"""The story of a user of Prefect's pages: up, deploy, the form in a browser, a schedule, cancelling, down."""

import json
import os
import re
import signal
import socket
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from playwright.sync_api import sync_playwright

from components.contracts.closure import ROOT
from tests.e2e.conftest import family
from tests.flows.api import FINAL, Api, ask
from tests.flows.conftest import Millrace

pytestmark = pytest.mark.e2e
PICTURES = ROOT / ".reports" / "pictures"
LONG = ["train.max_epochs=90000", "train.batch_size=4"]
CHROMIUM = ("--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--disable-sync")


def of_run(number):
    """The processes of a flow run."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except psutil.Error:
            continue
        if environment.get("PREFECT__FLOW_RUN_ID", "").replace("-", "") == number.replace("-", ""):
            found.append(process)
    return found


@contextmanager
def browser():
    PICTURES.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path="/usr/bin/chromium", args=[*CHROMIUM])
        try:
            yield chromium.new_page(viewport={"width": 1400, "height": 1300})
        finally:
            chromium.close()


def test_a_person_fills_in_the_form_and_follows_the_run_to_its_end(address, api):
    """Field by field as the page labels them; what was filled in is what the run gets."""
    deployment = api.deployments()["any-recipe"]
    with browser() as page:
        page.goto(address)
        page.get_by_role("link", name="Deployments").click()
        page.get_by_role("link", name="any-recipe").first.click()
        page.get_by_role("button", name="Run", exact=True).click()
        page.get_by_text("Custom run").click()
        page.get_by_label("Run Name").wait_for()
        before = {run["id"] for run in api.runs(deployment)}
        for label in ("recipe", "overrides", "rerun", "epochs", "batch_size", "seed"):
            page.get_by_text(f"{label} (Optional)", exact=True).wait_for()
            words = deployment["parameter_openapi_schema"]["properties"][label]["description"]
            page.get_by_text(words.splitlines()[0], exact=True).wait_for()
        page.get_by_label("epochs (Optional)").fill("3")
        page.get_by_label("seed (Optional)").fill("1")
        page.screenshot(path=PICTURES / "form.png")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_url(re.compile("/runs/flow-run/|/deployments/deployment/[^/]*$"))
        (number,) = {run["id"] for run in api.runs(deployment)} - before
        page.goto(f"{address}/v2/runs/flow-run/{number}")
        run = api.follow(number)
        assert (run["state_type"], run["parameters"]["epochs"], run["parameters"]["seed"]) == ("COMPLETED", 3, 1)
        assert run["name"].startswith("digits-cnn ")
        page.reload()
        page.get_by_text(run["name"], exact=True).first.wait_for()
        page.get_by_text(run["state_name"], exact=True).first.wait_for()
        page.wait_for_timeout(1500)
        page.screenshot(path=PICTURES / "run.png")
        page.get_by_text("Artifacts", exact=True).first.click()
        page.get_by_text("digits-cnn-data").first.wait_for()
        page.wait_for_timeout(500)
        page.screenshot(path=PICTURES / "artifacts.png")
        link = api.artifacts(number)["digits-cnn-report"]["data"].partition("](")[2].rstrip(")")
        page.goto(link)
        page.wait_for_timeout(4000)
        page.screenshot(path=PICTURES / "report.png")


def test_a_form_that_is_filled_in_wrongly_says_which_field(address, api):
    deployment = api.deployments()["any-recipe"]
    before = len(api.runs(deployment))
    with browser() as page:
        page.goto(f"{address}/v2/deployments/deployment/{deployment['id']}/run")
        page.get_by_label("epochs (Optional)").fill("-3")
        page.get_by_role("button", name="Submit").click()
        page.wait_for_timeout(1000)
        page.screenshot(path=PICTURES / "wrong.png")
        assert page.get_by_label("epochs (Optional)").evaluate("field => field.validity.rangeUnderflow")
    assert len(api.runs(deployment)) == before


def test_cancelling_a_run_of_the_worker_ends_its_children_within_five_seconds(api):
    number = api.start(api.deployments()["any-recipe"], overrides=LONG)
    api.until(number, lambda run: len(of_run(number)) >= 4 and training(api, number))
    began = time.monotonic()
    api.post(f"/flow_runs/{number}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    while of_run(number):
        assert time.monotonic() - began < 5, of_run(number)
        time.sleep(0.05)
    gone = time.monotonic() - began
    assert api.follow(number)["state_type"] == "CANCELLED"
    print(f"children gone after {gone:.1f} s, Cancelled after {time.monotonic() - began:.1f} s")


def training(api, number):
    return any(task["name"].startswith("train") and task["state_type"] == "RUNNING" for task in api.tasks(number))


def in_a_shell(millrace, api):
    """A long run that a shell started, in training, and Prefect's number of it."""
    process = millrace.start("run", "digits-cnn", *(part for one in LONG for part in ("--set", one)), "--json")
    end = time.monotonic() + 60
    number = ""
    while not (number and training(api, number)):
        assert time.monotonic() < end
        found = api.post("/flow_runs/filter", {"flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}})[1]
        number = found[0]["id"] if found else ""
        time.sleep(0.2)
    return process, number


def test_down_waits_for_a_run_of_a_shell_and_says_so(millrace, api):
    process, _ = in_a_shell(millrace, api)
    refused = millrace("down")
    assert refused.returncode == 1
    assert refused.err.startswith(
        "E_RUN_UNDER_WAY millrace down: a run that was started from a shell needs the servers"
    )
    assert {one["state"] for one in json.loads(millrace("status", "--json").out)["services"]} == {"up"}
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75
    assert "Traceback" not in err


def test_cancelling_a_run_of_a_shell_ends_it_within_five_seconds(millrace, api):
    process, number = in_a_shell(millrace, api)
    children = psutil.Process(process.pid).children(recursive=True)
    began = time.monotonic()
    api.post(f"/flow_runs/{number}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    psutil.wait_procs(children, timeout=5)
    assert not [one for one in children if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
    out, err = process.communicate(timeout=20)
    assert process.returncode == 75
    assert "Traceback" not in err
    assert json.loads(out)["state"] == "Interrupted"
    assert api.run(number)["state_type"] == "CANCELLED"
    print(f"ended after {time.monotonic() - began:.1f} s")


def test_a_schedule_starts_by_itself_and_ends_unchanged_without_a_new_version(millrace, api):
    first = millrace.run("digits-cnn")
    deployment = api.deployments()["digits-cnn-retraining"]
    before = {run["id"] for run in api.runs(deployment)}
    every = {"schedule": {"interval": 20}, "active": True}
    status, made = api.post(f"/deployments/{deployment['id']}/schedules", [every])
    assert status in {200, 201}, made
    # One that comes due while another goes on is Skipped, and may have begun or ended before it.
    end, trained = time.monotonic() + 240, []
    while not trained:
        assert time.monotonic() < end, [run["state"] for run in api.runs(deployment) if run["start_time"]]
        ended = [run for run in api.runs(deployment) if run["id"] not in before and run["state_type"] in FINAL]
        trained = [run for run in ended if run["state_name"] != "Skipped"]
        time.sleep(0.5)
    api.post(f"/deployments/{deployment['id']}/schedules/{made[0]['id']}", None, method="DELETE")
    assert {(run["auto_scheduled"], run["state_name"]) for run in trained} == {(True, "Unchanged")}, trained
    last = millrace.run("digits-cnn")
    assert (last["state"], last["model"]) == ("Unchanged", first["model"])


def test_of_two_overlapping_runs_of_one_recipe_one_promotes(millrace, api):
    before = api_champions(millrace)
    deployment = api.deployments()["any-recipe"]
    numbers = [api.start(deployment, seed=seed, epochs=2, overrides=["gate={}"]) for seed in (11, 12)]
    ended = [api.follow(number, 180) for number in numbers]
    overlap = min(run["end_time"] for run in ended) > max(run["start_time"] for run in ended)
    assert overlap, "they ran one after the other"
    messages = [run["state"]["message"] or "" for run in ended if run["state_type"] == "FAILED"]
    assert len(messages) == 1, [run["state"] for run in ended]
    assert "E_CHAMPION_MOVED digits-cnn: version" in messages[0]
    assert len(api_champions(millrace)) == len(before) + 1


def api_champions(millrace):
    return sorted((millrace.home / "store" / "pointers" / "champion" / "digits-cnn").glob("*.json"))


def test_up_and_down_after_everything_was_killed(millrace, api):
    """Servers, worker and a run die without a word; `up` starts all again, `down` leaves nothing behind."""
    states = json.loads(millrace("status", "--json").out)["services"]
    interrupted = api.start(api.deployments()["digits-cnn"], overrides=LONG)
    api.until(interrupted, lambda run: training(api, interrupted))
    for one in states:
        os.kill(one["process"], signal.SIGKILL)
    for one in of_run(interrupted):
        one.kill()
    left = [one for one in family(millrace) if one.pid not in {state["process"] for state in states}]
    assert left, "the killed server's children live on"
    status = millrace("status", "--json")
    assert (status.returncode, [one["state"] for one in json.loads(status.out)["services"]]) == (1, ["down"] * 3)
    done = millrace("up")
    assert done.returncode == 0, done.err
    assert done.err.count("up after") == 3
    assert "went away earlier; it is now marked as crashed" in done.err
    address = json.loads(millrace("status", "--json").out)["services"][0]["address"]
    assert ask(f"{address}/api/health") == (200, True)
    again = Api(address)
    assert again.run(interrupted)["state_type"] == "CRASHED"
    (second,) = [
        run for run in again.runs(again.deployments()["digits-cnn"]) if f"millrace.again:{interrupted}" in run["tags"]
    ]
    again.until(second["id"], lambda run: training(again, second["id"]))
    again.post(f"/flow_runs/{second['id']}/set_state", {"state": {"type": "CANCELLING", "name": "Cancelling"}})
    assert again.follow(second["id"])["state_type"] == "CANCELLED"
    next_one = again.start(again.deployments()["digits-cnn"])
    assert again.follow(next_one)["state_type"] == "COMPLETED", "the run that went away blocks its deployment"
    places = {
        (p.laddr.ip, p.laddr.port)
        for one in family(millrace)
        for p in one.net_connections("inet")
        if p.status == "LISTEN"
    }
    assert len(places) >= 2
    ended = again.start(again.deployments()["digits-cnn"], overrides=LONG)
    again.until(ended, lambda run: training(again, ended))
    done = millrace("down")
    assert done.returncode == 0
    # The run may have had the time to end by itself.
    assert re.search("was under way; it (is now marked as crashed|has stopped), and the same", done.err), done.err
    assert family(millrace) == []
    for place in places:
        with socket.socket() as probe:
            assert probe.connect_ex(place) != 0, place
    assert millrace("down").err.strip() == "nothing was running"
    assert Path(states[0]["log"]).is_file()


@pytest.mark.bad_input
def test_bad_input_B50_an_up_that_fails_ends_what_it_started(tmp_path):
    millrace = Millrace(home=tmp_path / "home", folder=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        done = millrace("up", MILLRACE_MLFLOW_PORT=port)
    assert done.returncode == 1
    assert f"E_PORT_TAKEN MILLRACE_MLFLOW_PORT: something else listens there (got {port})" in done.err
    assert (tmp_path / "home" / "logs" / "prefect.log").is_file(), "Prefect's server was started before"
    assert {one["state"] for one in json.loads(millrace("status", "--json").out)["services"]} == {"down"}
    assert family(millrace) == []
