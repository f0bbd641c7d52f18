"""The commands that look after models, as a user types them."""

import json
import os

import pytest

from components.context import open_context
from components.contracts.artifacts import DriftReport
from components.contracts.errors import ConfigError
from components.contracts.findings import Moved
from components.contracts.placement import Placement
from flows import monitoring
from flows.glance import Glance, Model, age, as_markdown, glance
from flows.operate import train_again


@pytest.fixture(scope="module")
def watched(millrace):
    """A registered model of a small table, under a name of its own."""
    made = millrace.run("iris-mlp", "--set", "register.name=flowers", "--set", "train.max_epochs=30")
    assert (made["state"], made["model"]["name"]) == ("Completed", "flowers")
    return made


def test_rows_are_compared_by_a_command_that_says_what_moved(millrace, watched):
    calm = millrace("monitor", "flowers", "iris-mlp", "--json")
    report = json.loads(calm.out)
    assert (calm.returncode, report["alarms"], report["rows"]) == (0, [], 150)
    assert report["draws"] == 100
    assert report["false_alarms"] <= 5
    moved = millrace("monitor", "flowers", "iris-mlp", "--simulate-drift", "1")
    assert moved.returncode == 3
    assert "flowers version 1: 150 new rows have moved" in moved.out
    assert "moved  petal_length" in moved.out
    assert "of 100 batches that have not moved would have been an alarm" in moved.out
    page = moved.out.strip().splitlines()[-1].strip()
    assert os.path.isfile(page)  # noqa: PTH113 - a line of output
    quiet = millrace("monitor", "flowers")
    assert (quiet.returncode, "0 new rows are too few" in quiet.out) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["monitor", "nobody"], "E_CONFIG NAME: no model of that name was ever champion (got 'nobody')"),
        (["monitor", "flowers", "nosuch.yaml"], "E_CONFIG"),
        (["monitor", "flowers", "digits-cnn"], "E_COLUMN_MISSING"),
        (["retrain", "nobody"], "E_CONFIG NAME: no model of that name was ever champion (got 'nobody')"),
        (["retrain", "flowers", "digits-cnn"], "E_CONFIG recipe: the recipe makes another model (got 'digits-cnn: digits-cnn')"),
        (["retrain", "flowers", "--reason", "x"], "E_CONFIG --reason: there is no such reason (got 'x'); allowed: schedule"),
    ],
)  # fmt: skip
def test_bad_input_of_these_commands_is_one_line(millrace, watched, arguments, said):
    done = millrace(*arguments)
    assert done.returncode == 2
    assert done.err.strip().splitlines()[-1].startswith(said), done.err
    assert len(done.err.strip().splitlines()) <= 2


def test_a_model_is_trained_again_once_in_a_window(millrace, watched):
    again = millrace("retrain", "flowers", "--reason", "drift", "--json")
    assert (again.returncode, json.loads(again.out)["state"]) == (0, "Unchanged")
    second = json.loads(millrace("retrain", "flowers", "--reason", "performance", "--json").out)
    assert second["state"] == "Skipped"
    assert second["why"].startswith("the last one began 0.0 hours ago, less than 24")
    data = json.loads(millrace("retrain", "flowers", "--reason", "data", "--json").out)
    assert data["state"] == "Skipped"
    by_hand = millrace("retrain", "flowers", "--set", "train.seed=5")
    assert by_hand.returncode in {0, 3}


def test_what_is_trained_again_passes_the_same_gate(millrace, watched):
    before = json.loads(millrace("champions", "flowers", "--json").out)["champions"]["flowers"]
    worse = ("--set", "train.seed=6", "--set", "train.learning_rate=0.000001", "--set", "train.max_epochs=1")
    done = millrace("retrain", "flowers", *worse, "--json")
    assert (done.returncode, json.loads(done.out)["state"]) == (3, "Rejected")
    assert json.loads(millrace("champions", "flowers", "--json").out)["champions"]["flowers"] == before


@pytest.mark.parametrize(("kinds", "reason"), [(("column",), "drift"), (("column", "performance"), "performance")])
def test_the_event_says_whether_the_model_grew_worse(monkeypatch, kinds, reason):
    """A policy may train again for the one and not for the other."""
    moved = {"size": 1.0, "least": 0.1, "p": 0.0, "before": "", "now": "", "alarm": True}
    found = tuple(Moved(what=f"w{number}", kind=kind, **moved) for number, kind in enumerate(kinds))
    alarms = tuple(f"{one.kind}: {one.what}" for one in found)
    report = DriftReport(
        name="flowers", version="1", package="p", rows=100, reference_rows=100, found=found, alarms=alarms, draws=1,
        false_alarms=0, first="", last="", simulated=0.0,
    )  # fmt: skip
    told = []
    monkeypatch.setattr(monitoring, "tell", lambda *given: told.append(given))
    monitoring._tell(report)
    ((event, model, payload),) = told
    assert (event, model, payload["reason"]) == ("millrace.drift", "flowers", reason)
    assert all(alarm in payload["why"] for alarm in alarms)


def test_status_shows_models_and_what_monitoring_found(millrace, watched):
    millrace("monitor", "flowers", "iris-mlp")
    found = json.loads(millrace("status", "--json").out)
    (one,) = [one for one in found["models"] if one["name"] == "flowers"]
    assert one["version"] in {"1", "2"}
    assert 0 <= one["hours"] < 1
    assert one["metrics"]["accuracy"] > 0.8
    assert one["drift"] == "none"
    assert any(run["state"] for run in found["runs"]), "the server of the runs is up"
    assert "flowers" in millrace("status").out


def test_a_glance_is_told_as_markdown(placement):
    assert as_markdown(glance(open_context(placement, "test"))) == "No model has been registered yet."
    model = Model(name="a", version="3", hours=70.0, metrics={"accuracy": 0.5}, drift="column: x|y", drift_hours=0.5)
    last = as_markdown(Glance(models=(model,))).splitlines()[-1]
    assert last == r"| a | 3 | 3 days | accuracy 0.5 |  | column: x\|y, 30 min ago |"
    runs = ({"name": "a v3", "state": "Completed", "at": "2026-03-01T12:00:00Z"},)
    told = as_markdown(Glance(models=(model,), runs=runs, next=({"name": "nightly", "at": "2026-03-02T03:00:00Z"},)))
    assert told.splitlines()[-7:] == [
        "| last runs | | UTC |", "|---|---|---|", "| a v3 | Completed | 2026-03-01 12:00 |", "",
        "| next | | UTC |", "|---|---|---|", "| nightly |  | 2026-03-02 03:00 |",
    ]  # fmt: skip
    assert [age(None), age(0.1), age(40)] == ["", "6 min", "40 h"]


def test_a_model_without_a_champion_needs_a_recipe(tmp_path):
    with pytest.raises(ConfigError, match="no model of that name was ever champion"):
        train_again(Placement(home=tmp_path), ("new", "", (), "hand"), as_json=True)
