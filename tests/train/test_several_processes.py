"""Training in several processes, on one machine and on two, learns what one process learns."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from components import train
from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.errors import ConfigError, EnvironmentFault
from components.contracts.placement import Placement
from components.contracts.registry import load_kind
from components.models import KINDS
from components.models.gan import Gan
from components.models.mlp import Mlp
from components.objectives.adversarial import Adversarial
from components.objectives.classification import Classification
from components.train import TrainConfig, TrainSettings
from components.train.pretrained import Pretrained
from components.train.supervisor import supervise
from tests.line import prepared, table_recipe, write_table

QUICK = {"max_epochs": 2, "batch_size": 32, "learning_rate": 0.02, "accelerator": "cpu", "timeout_seconds": 60}


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rows")
    ctx = context(folder / "home")
    return ctx, prepared(table_recipe(write_table(folder / "t")), ctx)


def context(home):
    ctx = open_context(Placement(home=home), "t")
    ctx.compute = Compute(workers=1, synchronous=True)
    return ctx


def config(model=Mlp(hidden=(8,)), objective=Classification(), **settings):
    return TrainConfig(model=model, objective=objective, settings=TrainSettings(**{**QUICK, **settings}))


def free():
    """An address where nobody listens."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def machines(rows, folder, **chosen):
    """History and weights of two agents, each with a supervisor, a folder and a process of its own."""
    ctx, dataset = rows
    meeting = free()
    done = {}

    def machine(number):
        own = folder / str(number)
        own.mkdir(parents=True)
        settings = {"restarts": 0, **chosen, "devices": 1, "nodes": 2, "rendezvous": meeting}
        job = train.job_of(config(**settings), dataset, ctx, own)
        result = supervise(job | {"meeting": "test"}, folder / "logs", lambda _: None)
        done[number] = (result["history"], (own / "weights.safetensors").read_bytes())

    running = [threading.Thread(target=machine, args=(number,)) for number in range(2)]
    for one in running:
        one.start()
    for one in running:
        one.join()
    return done


def close(first, second):
    """The same but for the order in which numbers were added."""
    for one, other in zip(first, second, strict=True):
        assert one == pytest.approx(other, rel=1e-4)


def test_two_processes_learn_what_one_does_from_the_same_global_batches(rows):
    ctx, dataset = rows
    histories, weights = [], []
    for processes in (1, 2):
        ctx.rerun = {"train": processes}
        made = train.run(config(devices=processes), dataset, ctx=ctx)
        histories.append(made.history)
        record = ctx.store.artifact("train", made.fingerprint).standing()
        weights.append(load_file(ctx.store.open(record, "weights.safetensors")))
    close(*histories)
    for name, one in weights[0].items():
        np.testing.assert_allclose(one, weights[1][name], atol=1e-4)


@pytest.mark.e2e
def test_two_machines_meet_and_learn_the_same(rows, tmp_path):
    ctx, dataset = rows
    done = machines(rows, tmp_path)
    assert done[0] == done[1]
    ctx.rerun = {"train": 9}
    close(done[0][0], train.run(config(devices=1), dataset, ctx=ctx).history)


@pytest.mark.e2e
@pytest.mark.parametrize("rank", [0, 1])
def test_two_machines_go_on_from_a_checkpoint_where_a_process_of_one_is_killed(rows, tmp_path, rank):
    """Both agents start their processes anew, and end in the bytes of the training that was not touched."""
    plan = tmp_path / "plan"
    given = {"kind": "custom", "target": "tests.faults.faulty:Net", "plan": str(plan)}
    model = load_kind("components.models", KINDS, given, "model").model_validate(given)
    chosen = {"model": model, "batch_size": 8, "checkpoint_steps": 2, "timeout_seconds": 20}
    whole = machines(rows, tmp_path / "whole", **chosen)
    plan.write_text(f"kill 15 {rank}")
    done = machines(rows, tmp_path / "killed", **chosen, restarts=1)
    assert list(tmp_path.glob("plan.hit-*")), "it was killed"
    assert done == whole


MACHINE = """
import json, sys
from pathlib import Path
from components.train.supervisor import supervise
if __name__ == "__main__":
    supervise(json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2]), lambda _: None)
"""


@pytest.mark.e2e
def test_a_machine_that_is_lost_ends_the_others_soon(rows, tmp_path):
    ctx, dataset = rows
    chosen = {"devices": 1, "nodes": 2, "rendezvous": free(), "restarts": 1, "timeout_seconds": 5, "max_epochs": 10_000}
    job = train.job_of(config(**chosen), dataset, ctx, tmp_path) | {"meeting": "lost"}
    (tmp_path / "job.json").write_text(json.dumps(job | {"checkpoints": str(tmp_path / "other")}))
    (tmp_path / "machine.py").write_text(MACHINE)
    arguments = [sys.executable, str(tmp_path / "machine.py"), str(tmp_path / "job.json"), str(tmp_path / "logs")]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    lost = []

    def told(event):
        if event["event"] == "step" and not lost:
            other.kill()
            lost.append(time.monotonic())

    gone = pytest.raises(EnvironmentFault, match="E_TRAINING .*the other machines did not come back")
    with subprocess.Popen(arguments, env=environment) as other, gone:
        supervise(job, tmp_path / "logs", told)
    assert time.monotonic() - lost[0] < 5 + 30


PARTS = {
    "players": {"model": Gan(noise=4, hidden=(8,)), "objective": Adversarial()},
    "penalty": {"model": Gan(noise=4, hidden=(8,)), "objective": Adversarial(way="wasserstein", critic_steps=2)},
    "frozen": {"pretrained": Pretrained(weights="", freeze={"encoder": 1})},
    "running means": {"model": Mlp(hidden=(8,), norm=True)},
}


@pytest.mark.e2e
@pytest.mark.parametrize("which", PARTS)
def test_processes_whose_losses_leave_weights_out_end_with_the_same(rows, tmp_path, which):
    done = machines(rows, tmp_path, **PARTS[which])
    assert done[0] == done[1]


@pytest.mark.e2e
def test_a_last_batch_of_one_row_for_each_is_normalised(rows, tmp_path):
    size = rows[1].rows["train"] - 2
    done = machines(rows, tmp_path, model=Mlp(hidden=(8,), norm=True), batch_size=size)
    assert done[0] == done[1]


class EnoughError(Exception):
    """Training has come far enough."""


@pytest.mark.e2e
def test_a_network_in_shares_learns_what_a_whole_one_does_and_goes_on_as_either(rows, tmp_path):
    """It ends after a checkpoint; others go on from there, in shares and whole."""
    ctx, dataset = rows

    def learnt(name, strategy, devices, until=0):
        def told(event):
            if until and event["event"] == "checkpoint" and event["step"] >= until:
                raise EnoughError

        folder = tmp_path / f"{name}-{strategy}-{until}"
        folder.mkdir()
        chosen = {"strategy": strategy, "devices": devices, "clip": 0.5, "checkpoint_steps": 2, "log_steps": 1}
        job = train.job_of(config(Mlp(hidden=(400, 400)), **chosen), dataset, ctx, folder)
        kept = {"checkpoints": str(tmp_path / name), "meeting": name}
        result = supervise(job | kept, tmp_path / "logs", told)
        return result["history"], load_file(folder / "weights.safetensors")

    whole, weights = learnt("whole", "auto", 1)
    for strategy in ("fsdp", "ddp"):
        with pytest.raises(EnoughError):
            learnt(strategy, "fsdp", 2, until=8)
        assert (tmp_path / strategy).is_dir()
        history, found = learnt(strategy, strategy, 2)
        close(history, whole)
        for name, one in weights.items():
            np.testing.assert_allclose(one, found[name], atol=1e-3)


@pytest.mark.bad_input
def test_parts_that_learn_at_times_of_their_own_are_not_divided(rows):
    ctx, dataset = rows
    for which, said in (("players", "players"), ("frozen", "a network with frozen parts")):
        with pytest.raises(ConfigError, match=f"E_CONFIG train.strategy: fsdp cannot divide {said} .*ddp"):
            train.run(config(**PARTS[which], strategy="fsdp", devices=2), dataset, ctx=ctx)
    with pytest.raises(ConfigError, match="E_CONFIG train.accumulate: the players of adversarial learn from each"):
        train.run(config(**PARTS["players"], accumulate=2), dataset, ctx=ctx)
