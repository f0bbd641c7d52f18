"""A recipe tried with several seeds and on all folds: which trials there are, what each is, and what they say together."""

import pytest

from components.contracts.placement import Placement
from flows.pipeline import load_recipe
from flows.runs import open_run
from flows.trials import Trial, jobs_of, summed_up, tried

RECIPE = """
name: mine
source: {kind: scikit-learn, name: iris}
features: [{kind: number, columns: [petal_length, petal_width]}]
target: {kind: label, column: target}
split: {method: k-fold, folds: 3, validation: 0.2}
model: {kind: linear}
objective: {kind: classification}
train: {max_epochs: 5, batch_size: 16, learning_rate: 0.05}
proof: {seeds: 2}
"""


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    placement = Placement(home=tmp_path / "home")
    return open_run(placement, str(path), load_recipe(str(path)), ["train.max_epochs=4"])


def test_there_is_a_trial_for_every_seed_and_fold(run):
    labels = [job.label for job in jobs_of(run, 0)]
    assert labels == [f"seed {seed}, fold {fold}" for seed in (0, 1) for fold in (0, 1, 2)]
    assert len(jobs_of(run, 5)) == 15
    run.config = load_recipe("digits-cnn", ["train.seed=7"])
    assert [job.label for job in jobs_of(run, 0)] == ["seed 7", "seed 8", "seed 9"]


@pytest.mark.e2e
def test_a_trial_is_the_recipe_with_its_seed_on_its_fold_and_registers_nothing(run):
    run.ctx.tracker.start("parent", {}, {})
    first, *_, last = jobs_of(run, 0)
    found = [tried(job) for job in (first, last, first)]
    assert found[0].metrics == found[2].metrics, "what was committed is reused"
    assert found[0].train_seconds == found[2].train_seconds > 0, "of the training that was reused"
    assert found[0].baseline["accuracy"] < found[0].metrics["accuracy"]
    assert [one.rows for one in found[:2]] == [50, 50]
    assert len(found[0].history) == 4, "epochs"
    assert all(0 < epoch["validation_accuracy"] <= 1 for epoch in found[0].history)
    client = run.ctx.tracker.client
    record = client.get_run(found[0].mlflow_run)
    assert record.data.tags["mlflow.parentRunId"] == run.ctx.tracker.run_id
    assert record.info.status == "FINISHED"
    assert record.data.metrics["test_accuracy"] == found[0].metrics["accuracy"]
    assert client.search_registered_models() == []
    run.ctx.tracker.end("FINISHED")


def test_figures_are_means_over_folds_and_their_spread_is_over_seeds():
    values = {(0, 0): 0.9, (0, 1): 0.7, (1, 0): 0.8, (1, 1): 0.6}
    trials = [
        Trial(
            seed=seed,
            fold=fold,
            rows=10,
            metrics={"accuracy": value},
            baseline={"accuracy": value / 2},
            history=(),
            device="cpu",
            train_seconds=4 * value,
            mlflow_run="",
        )
        for (seed, fold), value in values.items()
    ]
    found = summed_up(trials)
    assert found.seeds == {"accuracy": pytest.approx([0.8, 0.7])}
    assert found.mean == {"accuracy": pytest.approx(0.75)}
    assert found.spread == {"accuracy": pytest.approx(0.1)}
    assert found.baseline == {"accuracy": pytest.approx(0.375)}
    assert (found.device, found.train_seconds) == ("cpu", pytest.approx(3.0))


@pytest.mark.e2e
def test_repeating_is_a_flow_with_a_task_for_each_trial_and_one_summary(millrace, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE)
    record = millrace.repeat(str(path), "--seeds", "1")
    assert (record["code"], record["state"]) == (0, "Completed")
    assert len(record["repeated"]["trials"]) == 3
    assert record["metrics"] == record["repeated"]["mean"]
    kind, name, tasks = millrace.prefect_run(record["prefect_run"], 3)
    assert (kind, name, tasks) == ("COMPLETED", "Completed", ["Completed"] * 3)
    assert "mine-trials" in millrace.prefect.artifacts(record["prefect_run"])
    assert "3 trials" in record["err"]
    metrics = millrace.mlflow_run(record["mlflow_run"])[2]
    assert metrics["test_accuracy_mean"] == record["metrics"]["accuracy"]


@pytest.mark.e2e
def test_trials_on_dask_workers_give_the_same_figures(millrace, tmp_path):
    from distributed import LocalCluster

    path = tmp_path / "mine.yaml"
    path.write_text(RECIPE.replace("name: mine", "name: theirs"))
    here = millrace.repeat(str(path), "--seeds", "1", "--set", "name=here")
    with LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None) as made:
        there = millrace.repeat(str(path), "--seeds", "1", MILLRACE_DASK_ADDRESS=made.scheduler_address)
    assert there["code"] == 0, there["err"]
    assert there["metrics"] == here["metrics"]
