"""What a CPU learns, a GPU learns; what training does when it is killed or asks for too much, it does there too."""

import numpy as np
import pytest
from safetensors.numpy import load_file

from components import train
from components.adapters.compute import Compute
from components.augment.images import Flip
from components.context import open_context
from components.contracts.errors import MillraceError
from components.contracts.placement import Placement
from components.features.none import Nothing
from components.models.cnn import Cnn, Conv
from components.models.gan import Gan
from components.models.mlp import Mlp
from components.objectives.adversarial import Adversarial
from components.objectives.classification import Classification
from components.train import TrainConfig, TrainSettings
from components.train.devices import gpus
from components.train.supervisor import supervise
from tests.line import image_recipe, prepared, registered, table_recipe, write_images, write_table

pytestmark = pytest.mark.gpu
QUICK = {"max_epochs": 3, "batch_size": 32, "learning_rate": 0.02}
GPU = "gpu"


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    made = open_context(Placement(home=tmp_path_factory.mktemp("home")), "t")
    made.compute = Compute(workers=1, synchronous=True)
    return made


@pytest.fixture(scope="module")
def rows(tmp_path_factory, ctx):
    folder = tmp_path_factory.mktemp("rows")
    return {
        "table": prepared(table_recipe(write_table(folder / "t", rows=960)), ctx),
        "images": prepared(image_recipe(write_images(folder / "i", each=200)), ctx),
        "players": prepared(table_recipe(write_table(folder / "p"), target=Nothing()), ctx),
    }


def config(model=Mlp(hidden=(8,)), objective=Classification(), augment=(), **settings):
    chosen = TrainSettings(**{**QUICK, "accelerator": GPU, "devices": 1, **settings})
    return TrainConfig(model=model, objective=objective, augment=augment, settings=chosen)


def learnt(ctx, dataset, chosen, again=0):
    ctx.rerun = {"train": again}
    made = train.run(chosen, dataset, ctx=ctx)
    record = ctx.store.artifact("train", made.fingerprint).standing()
    return made, load_file(ctx.store.open(record, "weights.safetensors"))


NET = Cnn(layers=(Conv(channels=4, norm=True),))


@pytest.mark.parametrize("which", ["table", "images"])
def test_a_gpu_learns_what_a_cpu_does(ctx, rows, which):
    model = NET if which == "images" else Mlp(hidden=(8,))
    (on_cpu, first), (on_gpu, second) = (
        learnt(ctx, rows[which], config(model, accelerator=one), number) for number, one in enumerate(("cpu", GPU))
    )
    assert (on_cpu.device, on_gpu.device) == ("cpu", "cuda:0")
    for one, other in zip(on_cpu.history, on_gpu.history, strict=True):
        assert one == pytest.approx(other, rel=0.02, abs=0.01)
    for name, one in first.items():
        np.testing.assert_allclose(one, second[name], atol=0.02)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.parametrize("which", ["table", "images"])
def test_half_the_bits_learn_as_well(ctx, rows, which, precision):
    model, augment = (NET, (Flip(),)) if which == "images" else (Mlp(hidden=(8,)), ())
    made, _ = learnt(ctx, rows[which], config(model, augment=augment, precision=precision, clip=1.0, max_epochs=6))
    assert made.metrics["validation_accuracy"] > 0.85


def test_the_same_seed_gives_the_same_weights(ctx, rows):
    _, first = learnt(ctx, rows["images"], config(NET, seed=3), 1)
    _, second = learnt(ctx, rows["images"], config(NET, seed=3), 2)
    assert all((one == second[name]).all() for name, one in first.items())


@pytest.mark.parametrize("compiled", [False, True])
def test_players_and_compiled_networks_learn(ctx, rows, compiled):
    model, objective = (Mlp(hidden=(8,)), Classification()) if compiled else (Gan(noise=4, hidden=(8,)), Adversarial())
    made, _ = learnt(ctx, rows["table" if compiled else "players"], config(model, objective, compile=compiled))
    assert len(made.history) == 3


class EnoughError(Exception):
    """Training has come far enough."""


def test_training_that_ended_goes_on_in_the_same_weights(ctx, rows, tmp_path):
    def run(name, until=0):
        def told(event):
            if until and event["event"] == "checkpoint" and event["step"] >= until:
                raise EnoughError

        folder = tmp_path / f"{name}-{until}"
        folder.mkdir()
        job = train.job_of(config(NET, checkpoint_steps=2), rows["images"], ctx, folder)
        done = supervise(job | {"checkpoints": str(tmp_path / name)}, tmp_path / "logs", told)
        return done["history"], (folder / "weights.safetensors").read_bytes()

    whole = run("whole")
    with pytest.raises(EnoughError):
        run("ended", until=6)
    assert run("ended") == whole


def test_too_large_a_batch_is_one_line(ctx, rows):
    with pytest.raises(MillraceError, match="E_OUT_OF_MEMORY"):
        learnt(ctx, rows["table"], config(Mlp(hidden=(2_000_000, 2_000_000)), max_epochs=1))


def test_a_model_of_a_gpu_is_served_by_a_cpu(tmp_path, ctx):
    settings = TrainSettings(**QUICK, accelerator=GPU, devices=1)
    recipe = table_recipe(write_table(tmp_path / "t", rows=480), settings=settings)
    _, report, version = registered(recipe, ctx, "gpu")
    assert report.metrics["accuracy"].value > 0.8
    assert "champion" in version.aliases


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_several_gpus_learn_what_one_does(ctx, rows, strategy):
    if len(gpus()) < 2:
        pytest.skip("one GPU")
    one, _ = learnt(ctx, rows["table"], config(devices=1), 1)
    all_of_them, _ = learnt(ctx, rows["table"], config(devices=2, strategy=strategy), 2)
    for first, second in zip(one.history, all_of_them.history, strict=True):
        assert first == pytest.approx(second, rel=1e-2, abs=1e-3)
