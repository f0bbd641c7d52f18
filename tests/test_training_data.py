"""What training is given: a place to go on from, the same loss for any number of ranks, neighbours where memory is short."""

import json

import numpy as np
import pytest
import torch

from components.adapters import dataset_store, memory
from components.adapters.dataset_store import Loader, ShardFile
from components.adapters.shard_files import write_shard
from components.contracts.spec import ROW_WEIGHT
from components.train import TrainConfig, job_of
from components.train.data import DatasetModule
from components.train.module import Learner
from tests.line import Classification, prepared, table_recipe, write_table


@pytest.fixture(scope="module")
def job(tmp_path_factory, shared_ctx):
    folder = tmp_path_factory.mktemp("rows")
    recipe = table_recipe(write_table(folder / "t"))
    config = TrainConfig(model=recipe.model, objective=Classification(), settings=recipe.settings)
    made = job_of(config, prepared(recipe, shared_ctx), shared_ctx, folder)
    return json.loads(json.dumps(made))


def seen(batches):
    return [batch["numbers"][:, 0].tolist() for batch in batches]


def test_training_goes_on_where_its_state_says(job):
    whole = DatasetModule(job)
    steps = [seen(whole.training) for _ in range(3)]
    assert steps[0] != steps[1]
    each = len(steps[0])
    for epoch in range(2):
        for start in (0, 1, each - 1):
            stopped = DatasetModule(job)
            for _ in range(epoch):
                list(stopped.training)
            batches = iter(stopped.training)
            for _ in range(start):
                next(batches)
            batches.close()
            state = json.loads(json.dumps(stopped.state_dict()))
            again = DatasetModule(job)
            again.load_state_dict(state)
            assert seen(again.training) == steps[epoch][start:]
            assert seen(again.training) == steps[epoch + 1]
    assert seen(whole.validation) == seen(whole.validation)


def test_what_goes_on_is_shuffled_as_it_began(job, monkeypatch):
    """Also where the machine has another memory."""
    whole = seen(DatasetModule(job).training)
    stopped = DatasetModule(job)
    batches = iter(stopped.training)
    first = [next(batches)["numbers"][:, 0].tolist() for _ in range(3)]
    batches.close()
    state = json.loads(json.dumps(stopped.state_dict()))
    monkeypatch.setattr(dataset_store, "memory_limit", lambda: 1024)
    again = DatasetModule(job)
    assert again.training.loader.shuffled == "nearby"
    again.load_state_dict(state)
    assert first + seen(again.training) == whole


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_the_loss_of_a_batch_is_the_same_for_any_number_of_ranks(job, ranks):
    """As the mean over ranks that data-parallel training makes; metrics leave out what fills up."""
    torch.manual_seed(0)
    alone = DatasetModule(job)
    learner = Learner(job, len(alone.training))
    shares = [DatasetModule(job, rank=rank, ranks=ranks) for rank in range(ranks)]
    assert {len(share.training) for share in shares} == {len(alone.training)}
    filled = 0
    for whole, *parts in zip(alone.training, *(share.training for share in shares), strict=True):
        losses = [float(learner.loss_of(part).detach()) for part in parts]
        assert np.mean(losses) == pytest.approx(float(learner.loss_of(whole).detach()), rel=1e-5)
        filled += sum(int((part[ROW_WEIGHT] == 0).sum()) for part in parts if ROW_WEIGHT in part)
    assert filled
    assert learner.epoch_metrics()["train_loss"] > 0
    validation = {}
    for name, modules in (("alone", [alone]), ("shared", shares)):
        for module in modules:
            for batch in module.validation:
                learner.validation_step(iter([(0, batch)]), 0)
        # Several processes add up their sums.
        validation[name] = learner.epoch_metrics()
    assert validation["shared"] == pytest.approx(validation["alone"], rel=1e-5)


def test_rows_nearby_are_mixed_where_memory_is_short(tmp_path, monkeypatch):
    rows = 4096
    write_shard({"x": np.arange(rows)[:, None].repeat(128, 1)}, tmp_path / "a.arrow")
    files = [ShardFile(path=str(tmp_path / "a.arrow"), rows=rows)]
    assert Loader(files, 64, seed=0).shuffled == "everywhere"
    assert Loader(files, 64).shuffled == "no"
    monkeypatch.setattr(dataset_store, "memory_limit", lambda: 2**22)
    monkeypatch.setattr(dataset_store, "BLOCK_BYTES", 2**15)
    loader = Loader(files, 64, seed=0)
    assert loader.shuffled == "nearby"
    assert Loader(files, 64, seed=0, shuffle="everywhere").shuffled == "everywhere"
    batches = [batch["x"][:, 0] for batch in loader.epoch(0)]
    assert sorted(np.concatenate(batches).tolist()) == list(range(rows))
    touched = [len(set((batch // 32).tolist())) for batch in batches]
    assert max(touched) <= 16 < len(set((np.concatenate(batches[:8]) // 32).tolist())) + 16
    assert [batch["x"][0, 0] for batch in loader.epoch(0, 5)] == [batch[0] for batch in batches[5:]]


def test_the_limit_of_memory_is_the_least_of_those_around(tmp_path):
    whole = memory.memory_limit(tmp_path / "none", tmp_path)
    assert whole > 2**28
    groups = tmp_path / "cgroup"
    groups.write_text("4:memory:/a/b\n1:cpu:/a\n0::/a/b\n")
    for place, said in (("memory/a/memory.limit_in_bytes", 2**27), ("a/b/memory.max", "max"), ("memory.max", 2**29)):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text(f"{said}\n")
    assert memory.memory_limit(groups, tmp_path) == 2**27
    (tmp_path / "a/b/memory.max").write_text(f"{2**26}\n")
    assert memory.memory_limit(groups, tmp_path) == 2**26
