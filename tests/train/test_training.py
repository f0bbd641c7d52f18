import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from safetensors.numpy import load_file

from components.context import Silent
from components.contracts.errors import ConfigError, EnvironmentFault
from components.models.cnn import Cnn, Conv
from components.train import TrainSettings, devices, usage
from components.train.supervisor import supervise
from tests.line import image_recipe, table_recipe, trained, write_images, write_table

SLOW = TrainSettings(max_epochs=100_000, batch_size=2)


@pytest.fixture
def folder(tmp_path):
    return write_table(tmp_path / "table")


def weights(ctx, checkpoint):
    record = ctx.store.artifact("train", checkpoint.fingerprint).record()
    return load_file(ctx.store.open(record, "weights.safetensors"))


def test_training_learns_keeps_the_best_epoch_and_tells_each(folder, ctx):
    told = []
    ctx.progress.advanced = lambda *event: told.append(event)
    recipe = table_recipe(folder, settings=TrainSettings(max_epochs=8, batch_size=16, learning_rate=0.05))
    _, checkpoint = trained(recipe, ctx)
    assert len(checkpoint.history) == 8
    best = min(checkpoint.history, key=lambda epoch: epoch["validation_loss"])
    assert checkpoint.metrics == best
    assert best["validation_accuracy"] > 0.8
    assert checkpoint.device == "cpu"
    assert [event[1] for event in told if event[4].startswith("validation")] == list(range(1, 9))


def test_what_training_does_and_uses_is_noted_once_each(folder, ctx, monkeypatch):
    monkeypatch.setattr(usage, "EVERY_SECONDS", 0.0)
    ctx.tracker.start("noted", {}, {})
    settings = TrainSettings(max_epochs=150, batch_size=16, log_steps=1, max_minutes=0.05)
    _, checkpoint = trained(table_recipe(folder, settings=settings), ctx)
    ctx.tracker.end("FINISHED")

    def noted(name):
        return ctx.tracker.client.get_metric_history(ctx.tracker.run_id, name)

    epochs, steps = [one.step for one in noted("validation_loss")], [one.step for one in noted("step_loss")]
    assert epochs == list(range(1, len(checkpoint.history) + 1))
    assert steps == list(range(1, len(steps) + 1))
    assert len(steps) >= 10 * len(epochs)
    for name in ("learning_rate", "rows_per_second", "gradient_norm", "system/training_megabytes"):
        assert all(one.value > 0 for one in noted(name)), name
        assert noted(name), name
    assert {"system/cpu_percent", "system/memory_megabytes"} <= set(
        ctx.tracker.client.get_run(ctx.tracker.run_id).data.metrics
    )
    # A run that reuses it shows the same curves.
    before = [one.value for one in noted("validation_loss")]
    ctx.tracker.start("again", {}, {})
    trained(table_recipe(folder, settings=settings), ctx)
    ctx.tracker.end("FINISHED")
    assert [one.value for one in noted("validation_loss")] == before
    assert not noted("step_loss")


def test_a_few_steps_tell_their_step_size_and_gradient(folder, ctx):
    ctx.tracker.start("few", {}, {})
    _, checkpoint = trained(table_recipe(folder, settings=TrainSettings(max_epochs=2, batch_size=32)), ctx)
    ctx.tracker.end("FINISHED")
    assert len(checkpoint.history) == 2
    assert ctx.tracker.client.get_run(ctx.tracker.run_id).data.metrics["learning_rate"] > 0


@pytest.mark.parametrize("kind", ["table", "images"])
def test_half_the_bits_learn_as_well(tmp_path, ctx, kind):
    """Products in bfloat16; what is kept, and what evaluate measures, is float32."""
    settings = TrainSettings(max_epochs=6, batch_size=16, learning_rate=0.05, precision="bfloat16")
    recipe = (
        table_recipe(write_table(tmp_path / "t"), settings=settings)
        if kind == "table"
        else image_recipe(write_images(tmp_path / "i"), settings=settings)
    )
    _, checkpoint = trained(recipe, ctx)
    assert checkpoint.metrics["validation_accuracy"] > 0.8
    assert {str(one.dtype) for one in weights(ctx, checkpoint).values()} == {"float32"}
    assert checkpoint.precision == "bfloat16"


def test_what_auto_computed_in_is_noted(tmp_path, ctx, monkeypatch):
    """The warning comes where a processor would only imitate what was asked for."""
    monkeypatch.setattr(devices, "gpus", list)
    said = []
    ctx.progress = type("Heard", (Silent,), {"warned": lambda _, line: said.append(line)})()
    folder = write_table(tmp_path / "t")
    for flags, given, computed, warned in (
        ("avx2", "auto", "float32", False),
        ("avx2", "bfloat16", "bfloat16", True),
        ("avx512_bf16", "auto", "bfloat16", False),
        ("avx512_bf16", "bfloat16", "bfloat16", False),
    ):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setattr(devices, "CPU_FILE", tmp_path / "cpuinfo")
        settings = TrainSettings(max_epochs=1, precision=given, seed=int(flags == "avx2"))
        _, checkpoint = trained(table_recipe(folder, settings=settings), ctx)
        assert checkpoint.precision == computed
        assert [line for line in said if "imitates" in line] == (
            [devices.precision_warning(settings)] if warned else []
        )
        said.clear()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(folder, tmp_path):
    from components.adapters.compute import Compute
    from components.context import open_context
    from components.contracts.placement import Placement

    found = []
    for number, seed in enumerate((1, 1, 2)):
        ctx = open_context(Placement(home=tmp_path / str(number)), "t")
        ctx.compute = Compute(workers=1, synchronous=True)
        settings = TrainSettings(max_epochs=2, batch_size=16, seed=seed)
        _, checkpoint = trained(table_recipe(folder, settings=settings), ctx)
        found.append(checkpoint.files["weights.safetensors"])
    assert found[0] == found[1] != found[2]


def test_training_ends_early_when_nothing_gets_better(folder, ctx):
    settings = TrainSettings(max_epochs=50, batch_size=16, learning_rate=0.05, patience=2, schedule="constant")
    _, checkpoint = trained(table_recipe(folder, settings=settings), ctx)
    losses = [epoch["validation_loss"] for epoch in checkpoint.history]
    assert len(losses) < 50
    assert min(losses) == losses[-3]


def test_a_model_that_does_not_fit_its_data_is_one_line(folder, ctx):
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: a cnn needs one image"):
        trained(table_recipe(folder, model=Cnn(layers=(Conv(channels=1),))), ctx)
    assert not list(ctx.store.files.root.glob("train/*/record.json"))


def test_a_loss_that_is_no_number_ends_the_run(folder, ctx):
    settings = TrainSettings(max_epochs=5, batch_size=16, learning_rate=1e30, schedule="constant")
    with pytest.raises(ConfigError, match="E_TRAINING train.learning_rate: the loss is no longer a number") as raised:
        trained(table_recipe(folder, settings=settings), ctx)
    assert "the first such layer is encoder." in str(raised.value)


@pytest.mark.bad_input
def test_who_made_numbers_that_are_none_is_named():
    import torch

    from components.train.blame import blamed

    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    named = torch.nn.Module()
    named.trunk, named.forward = network, lambda inputs: {"o": network(inputs["n"])}
    told = blamed(named, {"n": torch.tensor([[1.0, float("inf")]])}, 2)
    assert told.line().startswith("E_VALUE features.n: a feature gives numbers that are none in epoch 2")
    network[2].weight.data.fill_(float("nan"))
    told = blamed(named, {"n": torch.ones(1, 2)}, 2)
    assert "in epoch 2; the first such layer is trunk.2" in told.line()


def test_a_child_that_is_killed_ends_the_step_with_its_signal(folder, ctx):
    def kill(*_):
        for one in _training_children():
            one.kill()

    ctx.progress.advanced = lambda step, *_: kill() if step == "train" else None
    with pytest.raises(EnvironmentFault, match=r"E_TRAINING train: the training process ended with signal 9"):
        trained(table_recipe(folder, settings=SLOW), ctx)


def _training_children():
    """Descendants that lead their own session: only training children do."""
    return [one for one in psutil.Process().children(recursive=True) if os.getsid(one.pid) == one.pid]


def test_a_bug_in_training_leaves_its_traceback_in_the_log(tmp_path):
    with pytest.raises(EnvironmentFault, match=r"E_TRAINING .*exit code 1: KeyError: 'settings'; read .*\.log"):
        supervise({"shards": {}}, tmp_path / "logs", lambda _: None)
    (log,) = (tmp_path / "logs").glob("*.log")
    assert "Traceback" in log.read_text()
    assert not list((tmp_path / "logs").glob("*.json"))


SUPERVISOR = """
import os, sys
from pathlib import Path
from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.placement import Placement
from tests.line import table_recipe, trained
from tests.train.test_training import SLOW
ctx = open_context(Placement(home=Path(sys.argv[1]) / "home"), "t")
ctx.compute = Compute(workers=1, synchronous=True)
ctx.progress.advanced = lambda step, done, *_: print("training", flush=True) if step == "train" and done else None
if __name__ == "__main__":
    settings = SLOW.model_copy(update={"devices": int(sys.argv[2]), "accelerator": "cpu"})
    trained(table_recipe(Path(sys.argv[1]) / "table", settings=settings), ctx)
"""


@pytest.mark.parametrize(
    ("how", "processes"),
    [
        (signal.SIGKILL, 1),
        pytest.param(signal.SIGTERM, 1, marks=pytest.mark.e2e),
        pytest.param(signal.SIGKILL, 2, marks=pytest.mark.e2e),
        pytest.param(signal.SIGTERM, 2, marks=pytest.mark.e2e),
    ],
)
def test_nothing_outlives_a_supervisor_that_is_ended(folder, tmp_path, how, processes):
    script = tmp_path / "supervisor.py"
    script.write_text(SUPERVISOR)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(processes)], stdout=subprocess.PIPE, env=environment
    )
    assert parent.stdout.readline() == b"training\n"
    family = psutil.Process(parent.pid).children(recursive=True)
    assert len(family) > 2 * processes, "a server, the child and, of several, each rank"
    assert any(os.getsid(one.pid) == one.pid for one in family), "the training child is among them"
    parent.send_signal(how)
    parent.wait(10)
    parent.stdout.close()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert alive == []


@pytest.mark.e2e
def test_a_compiled_network_learns_what_it_learns_otherwise(folder, ctx):
    """Its weights keep their names, so that packages and checkpoints are the same."""
    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    found = []
    for compiled in (False, True):
        settings = TrainSettings(max_epochs=3, batch_size=32, learning_rate=0.02, compile=compiled)
        _, checkpoint = trained(table_recipe(folder, settings=settings), ctx)
        found.append((checkpoint, weights(ctx, checkpoint)))
    (plain, before), (fast, after) = found
    assert before.keys() == after.keys()
    assert fast.metrics == pytest.approx(plain.metrics, rel=1e-3)
