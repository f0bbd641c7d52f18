"""Searches: what a space may hold, trials that are kept, ended early and taken up again, and the winner as a recipe."""

import json
import re
import signal
import time
from pathlib import Path

import pytest
import yaml

from components.contracts.errors import ConfigError
from components.reports.search import search_page
from flows.pipeline import load_recipe
from flows.search import Choices, Range, SearchConfig
from flows.studies import Judge, Study
from flows.tuned import write_recipe

SPACE = {
    "train.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "train.batch_size": {"choices": [16, 32]},
    "model.hidden": {"choices": [[8], [16, 16]]},
    "train.max_epochs": {"low": 1, "high": 3},
}
MINE = f"""
name: mine
source: {{kind: scikit-learn, name: iris}}
features: [{{kind: number, columns: [sepal_length, petal_length]}}]
target: {{kind: label, column: target}}
model: {{kind: mlp, hidden: [8]}}
objective: {{kind: classification}}
train: {{max_epochs: 2, learning_rate: 0.0001, monitor: accuracy}}
search: {{trials: 6, space: {json.dumps(SPACE)}}}
"""


def study(folder, config=None, name="s"):
    return Study(folder, name, config or SearchConfig(space=SPACE, trials=9), more_is_better=True)


def test_what_is_drawn_lies_in_the_space_and_in_its_types(tmp_path):
    made = study(tmp_path)
    for _ in range(8):
        number, values = made.ask()
        assert 1e-4 <= values["train.learning_rate"] <= 1e-1
        assert values["train.batch_size"] in {16, 32}
        assert values["model.hidden"] in ([8], [16, 16])
        assert values["train.max_epochs"] in {1, 2, 3}
        made.tell(number, [0.5], values["train.learning_rate"])
    assert made.best()[2] == max(one["figure"] for one in made.table())
    assert sum(made.importances().values()) == pytest.approx(1.0)


def test_a_search_that_was_interrupted_goes_on_and_tries_again_what_was_under_way(tmp_path):
    first = study(tmp_path)
    number, _ = first.ask()
    first.tell(number, [0.1], 0.2)
    _, lost = first.ask()
    again = study(tmp_path)
    assert again.done == 1
    assert again.retake() == 1
    _, values = again.ask()
    assert values == lost
    again.close()
    assert study(tmp_path, name="other").done == 0


def test_what_a_search_that_is_under_way_is_at_is_left_to_it(tmp_path):
    first, second = study(tmp_path), study(tmp_path)
    assert first.retake() == 0
    first.ask()
    assert second.retake() == 0
    first.close()
    second.close()
    third = study(tmp_path)
    assert third.retake() == 1
    third.close()


def test_the_recipes_own_values_are_tried_first_and_once(tmp_path):
    own = {"train.learning_rate": 0.01, "train.batch_size": 32, "model.hidden": [16, 16], "train.max_epochs": 2}
    made = study(tmp_path)
    made.begin(own)
    made.begin(own)
    assert made.ask()[1] == own
    assert made.ask()[1] != own


@pytest.mark.parametrize(
    ("dimension", "inside", "outside"),
    [
        (Range(low=1, high=4), [1, 4], [0, 5, 2.5, True, "2"]),
        (Range(low=0.0, high=1.0, step=0.25), [0.0, 0.75], [0.3, 1.25]),
        (Range(low=0.001, high=1, log=True), [0.001, 1], [0]),
        (Choices(choices=("a", [1, 2])), ["a", [1, 2]], ["b", [1]]),
    ],
)
def test_which_values_a_dimension_holds(dimension, inside, outside):
    assert all(map(dimension.holds, inside))
    assert not any(map(dimension.holds, outside))


def test_a_trial_is_ended_whose_epochs_are_worse_than_the_median_of_earlier_ones(tmp_path):
    made = study(tmp_path)
    for _ in range(6):
        number, _ = made.ask()
        made.tell(number, [0.5, 0.6, 0.7, 0.8], 0.8)
    good, bad = (Judge(made.past(), more_is_better=True) for _ in range(2))
    assert [good.worse(value, epoch) for epoch, value in enumerate([0.5, 0.7, 0.8, 0.9], 1)] == [False] * 4
    assert [bad.worse(value, epoch) for epoch, value in enumerate([0.1, 0.1, 0.1], 1)] == [False, False, True]
    assert SearchConfig(space=SPACE, prune=False).prune is False
    assert study(tmp_path, SearchConfig(space=SPACE, prune=False)).past() == []


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("space", "expected"),
    [
        ("{train.learning_rate: {low: 1, high: 0.1}}", "low 1 is not below high 0.1"),
        ("{train.learning_rate: {low: 0, high: 0.1, log: true}}", "log needs a low above 0 and no step"),
        ("{train.batch_size: {choices: [1]}}", "search.space.train.batch_size"),
        ("{train.batch_size: {lowest: 1}}", "search.space.train.batch_size"),
    ],
)
def test_bad_input_B44_a_space_that_cannot_be_searched_is_one_line(tmp_path, space, expected):
    path = tmp_path / "mine.yaml"
    path.write_text(MINE.partition("search:")[0] + f"search: {{space: {space}}}\n")
    with pytest.raises(ConfigError, match="E_CONFIG") as raised:
        load_recipe(str(path))
    assert expected in "\n".join(one.line() for one in (raised.value, *raised.value.others))


def test_the_winner_is_a_recipe_that_stands_alone(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    made = write_recipe(str(path), ["train.batch_size=16", "model.hidden=[16, 16]"], tmp_path / "own", "trial 3")
    assert made == tmp_path / "own" / "mine-tuned.yaml"
    assert made.read_text().startswith("# trial 3\n")
    assert "search" not in yaml.safe_load(made.read_text())
    found = load_recipe(str(made))
    assert (found.name, found.train.batch_size, found.model.hidden) == ("mine-tuned", 16, (16, 16))
    assert found.train.learning_rate == 0.0001


def test_the_page_of_a_search_shows_every_trial(tmp_path):
    made = study(tmp_path)
    for at in range(6):
        number, _ = made.ask()
        made.tell(number, [at / 10], at / 10 if at != 2 else None)
    table, (number, values, _) = made.table(), made.best()
    said = {"figure": "validation accuracy", "recipe": "<mine>.yaml", "number": number}
    page = search_page("mine", table, made.importances(), values, **said)
    assert page.count("<tr>") > 8
    bars = re.findall(r'text-anchor="end">([a-z_.]+)</text>\s*<rect [^>]*width="([\d.]+)"', page)
    assert {name for name, _ in bars} == set(SPACE)
    assert [float(width) for _, width in bars] == sorted((float(width) for _, width in bars), reverse=True)
    assert "&lt;mine&gt;.yaml" in page
    assert "pruned" in page
    assert "Trial 5: validation accuracy 0.5" in page


@pytest.mark.e2e
@pytest.mark.timeout(900)
def test_a_search_on_digits_beats_the_recipe_that_it_began_with(millrace):
    """The recipe as it is shipped, chosen on validation rows; the test part is read once, by the winner."""
    found = millrace.tune("digits-cnn", seconds=800)
    assert (found["code"], found["state"]) == (0, "Completed"), found["err"]
    tuned = found["tuned"]
    trials = load_recipe("digits-cnn").search.trials
    assert len(tuned["trials"]) == trials
    own = tuned["trials"][0]
    assert own["train.learning_rate"] == load_recipe("digits-cnn").train.learning_rate
    assert tuned["figure"] == "validation_loss"
    print(f"validation loss {own['figure']:.4f} of the recipe, {tuned['reached']:.4f} of the best of {trials} trials")
    assert tuned["reached"] < own["figure"]
    kind, _, tasks = millrace.prefect_run(found["prefect_run"], trials + 1)
    assert (kind, len(tasks)) == ("COMPLETED", trials + 1)
    read = [path for path in (millrace.home / "store" / "evaluate").iterdir() if path.name != "parts"]
    assert len(read) == 1, "the test part was read once"
    after = millrace.run(tuned["recipe"])
    assert after["metrics"]["test_accuracy"] == found["metrics"]["test_accuracy"]
    assert {one["step"]: one["reused"] for one in after["steps"]}["evaluate"]
    again = millrace.tune("digits-cnn")
    assert again["tuned"]["trials"] == tuned["trials"]
    assert f"{trials} trials of this search are done already" in again["err"]
    assert Path(found["report"]).is_file()


@pytest.mark.e2e
def test_a_bad_trial_is_ended_early_and_every_trial_lies_under_the_search_in_mlflow(millrace, tmp_path):
    path = tmp_path / "early.yaml"
    # One of five learning rates learns nothing; that of the recipe, which is tried first, does.
    space = {
        "train.learning_rate": {"choices": [0.03, 0.04, 0.05, 0.06, 0.0001]},
        "train.seed": {"low": 0, "high": 999},
    }
    text = MINE.replace("name: mine", "name: early").partition("search:")[0]
    search = {"trials": 16, "sampler": "random", "space": space}
    path.write_text(text.replace("max_epochs: 2", "max_epochs: 5") + f"search: {json.dumps(search)}\n")
    found = millrace.tune(str(path), "--set", "train.learning_rate=0.03")
    assert (found["code"], found["state"]) == (0, "Completed"), found["err"]
    states = {one["state"] for one in found["tuned"]["trials"]}
    early = [one for one in found["tuned"]["trials"] if one["state"] == "pruned"]
    assert states == {"complete", "pruned"}
    assert 0.0001 in {one["train.learning_rate"] for one in early}
    parent = found["mlflow_run"]
    experiment = millrace.mlflow.get_run(parent).info.experiment_id
    trials = millrace.mlflow.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{parent}'")
    of_trials = [one.info.status for one in trials if "millrace.trial" in one.data.tags]
    assert (len(of_trials), of_trials.count("KILLED")) == (16, len(early))
    assert set(of_trials) == {"KILLED", "FINISHED"}


@pytest.mark.e2e
def test_a_search_that_is_asked_to_stop_goes_on(millrace, tmp_path):
    path = tmp_path / "long.yaml"
    path.write_text(MINE.replace("name: mine", "name: long").replace("trials: 6", "trials: 5"))
    process = millrace.start("tune", str(path), "--json")
    end = time.monotonic() + 120
    log = None
    while time.monotonic() < end and not (log and log.read_text().count('"state"') >= 2):
        time.sleep(0.2)
        log = next((millrace.home / "studies").glob("long-*.log"), None)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    found = millrace.tune(str(path))
    assert (found["code"], found["state"]) == (0, "Completed"), found["err"]
    ended = [one for one in found["tuned"]["trials"] if one["state"] in {"complete", "pruned"}]
    assert len(ended) == 5


@pytest.mark.e2e
def test_trials_run_side_by_side_on_dask_workers(millrace, tmp_path):
    from distributed import LocalCluster

    path = tmp_path / "wide.yaml"
    path.write_text(MINE.replace("name: mine", "name: wide"))
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as made:
        address = {"MILLRACE_DASK_ADDRESS": made.scheduler_address}
        found = millrace.tune(str(path), "--set", "search.parallel=2", **address)
    assert (found["code"], found["state"]) == (0, "Completed"), found["err"]
    assert sum(one["state"] in {"complete", "pruned"} for one in found["tuned"]["trials"]) == 6


@pytest.mark.e2e
def test_a_search_of_which_every_trial_fails_gives_up(millrace, tmp_path):
    path = tmp_path / "failing.yaml"
    text = MINE.replace("name: mine", "name: failing")
    path.write_text(text.replace('"low": 0.0001, "high": 0.1', '"low": 1e18, "high": 1e30'))
    done = millrace("tune", str(path), "--set", "train.optimizer=sgd")
    assert done.returncode == 1
    assert "E_TRAINING search.space: 5 trials in a row failed, the last with: E_TRAINING" in done.err


@pytest.mark.e2e
@pytest.mark.bad_input
def test_bad_input_B44_a_recipe_without_a_search_or_with_values_that_do_not_fit_is_one_line(millrace, tmp_path):
    path = tmp_path / "none.yaml"
    path.write_text(MINE.partition("search:")[0])
    for given, expected in (
        ([], "E_CONFIG search.space: the recipe says nothing to search for"),
        (["--set", "search.space.train={choices: [1, 2]}"], "E_CONFIG train"),
    ):
        done = millrace("tune", str(path), *given)
        assert done.returncode == 2
        assert expected in done.err
