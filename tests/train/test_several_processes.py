"""Training in several processes, on one machine and on two, learns what one process learns."""

import socket
import threading

import numpy as np
import pytest
from safetensors.numpy import load_file

from components import train
from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.placement import Placement
from components.models.mlp import Mlp
from components.objectives.classification import Classification
from components.train import TrainConfig, TrainSettings
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


def config(**settings):
    return TrainConfig(model=Mlp(hidden=(8,)), objective=Classification(), settings=TrainSettings(**QUICK, **settings))


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
    """Two agents, each with a supervisor, a folder and a process of its own, as on two machines."""
    ctx, dataset = rows
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        meeting = f"127.0.0.1:{found.getsockname()[1]}"
    done = {}

    def machine(number):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = train.job_of(config(devices=1, nodes=2, rendezvous=meeting, restarts=0), dataset, ctx, folder)
        result = supervise(job | {"meeting": "test"}, tmp_path / "logs", lambda _: None)
        done[number] = (result["history"], (folder / "weights.safetensors").read_bytes())

    machines = [threading.Thread(target=machine, args=(number,)) for number in range(2)]
    for one in machines:
        one.start()
    for one in machines:
        one.join()
    assert done[0] == done[1]
    ctx.rerun = {"train": 9}
    close(done[0][0], train.run(config(devices=1), dataset, ctx=ctx).history)
