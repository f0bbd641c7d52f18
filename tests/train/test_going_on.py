"""Training that goes on from a checkpoint ends in the same bytes, whatever it trains and how; and what it refuses."""

import json
import os
import pickle
import shutil
import signal

import pytest
import torch
from blake3 import blake3
from safetensors.numpy import load_file

from components.augment.images import Flip
from components.contracts.errors import DataError, MillraceError
from components.features.none import Nothing
from components.models.cnn import Cnn, Conv
from components.models.gan import Gan
from components.models.mlp import Mlp
from components.objectives.adversarial import Adversarial
from components.objectives.classification import Classification
from components.train import TrainConfig, TrainSettings, checkpoints, job_of, pulse, worker
from components.train.checkpoints import Checkpoints, Progress
from tests.line import image_recipe, prepared, table_recipe, write_images, write_table

NET = Mlp(hidden=(8,), dropout=0.3, norm=True)
QUICK = {"max_epochs": 3, "batch_size": 32, "learning_rate": 0.02, "checkpoint_steps": 1, "devices": 1}
CASES = {
    "dropout, normalised, plateau": (NET, Classification(), {"schedule": "plateau", "plateau": 1, "optimizer": "adam"}),
    "added up": (NET, Classification(), {"accumulate": 2, "clip": 0.1, "schedule": "cosine"}),
    "momentum": (Mlp(hidden=(8,)), Classification(), {"optimizer": "sgd", "schedule": "one-cycle"}),
    "early end": (NET, Classification(), {"patience": 1, "learning_rate": 1e-9}),
    "players": (Gan(noise=4, hidden=(8,)), Adversarial(), {"clip": 1.0}),
    "images, changed, in half the bits": (
        Cnn(layers=(Conv(channels=4, norm=True), Conv(channels=4))),
        Classification(),
        {"precision": "bfloat16"},
    ),
    "scaled losses": (NET, Classification(), {"precision": "float16"}),
}


@pytest.fixture(autouse=True)
def own_signals():
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="module")
def jobs(tmp_path_factory, shared_ctx):
    """The job of a case, in a folder of its own."""
    rows = tmp_path_factory.mktemp("rows")
    made = {}

    def job(name, **more):
        model, objective, settings = CASES[name]
        augment = (Flip(),) if "changed" in name else ()
        if name not in made:
            if "images" in name:
                recipe = image_recipe(write_images(rows / "i", each=40))
            else:
                target = {"target": Nothing()} if name == "players" else {}
                recipe = table_recipe(write_table(rows / name.replace(" ", "-"), rows=180), **target)
            made[name] = prepared(recipe, shared_ctx)
        chosen = TrainSettings(**(QUICK | settings | more))
        config = TrainConfig(model=model, objective=objective, augment=augment, settings=chosen)
        folder = tmp_path_factory.mktemp("job")
        pulse.create(folder / "pulse", 1)
        job = job_of(config, made[name], shared_ctx, folder) | {"pulse": str(folder / "pulse")}
        return json.loads(json.dumps(job)), folder

    return job


class Gone(Exception):
    """The process went away."""


def ended(job, stop=0):
    """What training gives that goes away at its checkpoint number `stop`, and which steps it wrote."""
    steps = []

    def tell(event):
        if event["event"] == "checkpoint":
            steps.append(event["step"])
            if len(steps) == stop:
                raise Gone

    try:
        return worker.work(job, tell), steps
    except Gone:
        return None, steps


@pytest.mark.parametrize("name", CASES)
def test_what_goes_on_ends_in_the_same_bytes(jobs, name):
    job, folder = jobs(name)
    whole, steps = ended(job)
    expected = (folder / "weights.safetensors").read_bytes()
    assert len(steps) >= 3
    for stop in range(1, len(steps) + 1):
        job, folder = jobs(name)
        nothing, written = ended(job, stop)
        assert nothing is None
        again, more = ended(job)
        assert written + more == steps
        assert again["history"] == whole["history"]
        assert (folder / "weights.safetensors").read_bytes() == expected


def test_only_the_newest_checkpoints_stay_and_each_is_whole(jobs):
    job, folder = jobs("momentum")
    _, steps = ended(job)
    kept = sorted(int(one.name) for one in (folder / "checkpoints").iterdir())
    assert kept == steps[-2:]
    names = {one.name for one in (folder / "checkpoints" / f"{kept[-1]:010d}").iterdir()}
    assert names == {"checkpoint.json", "weights.safetensors", "trainer.pt"}


def test_training_that_asks_for_too_long_ends_with_a_whole_epoch_measured(jobs):
    job, folder = jobs("momentum", max_epochs=10_000, max_minutes=0.02)
    found, _ = ended(job)
    assert 1 <= len(found["history"]) < 10_000
    assert found["metrics"] == min(found["history"], key=lambda one: one["validation_loss"])
    assert load_file(folder / "weights.safetensors")


def test_the_step_size_falls_where_nothing_gets_better(jobs):
    job, _ = jobs("momentum", schedule="plateau", plateau=1, learning_rate=1e-30, max_epochs=4, checkpoint_steps=0)
    rates = []
    seen = worker.Watch.on_train_epoch_end

    def looked(watch, trainer, module):
        seen(watch, trainer, module)
        rates.append(trainer.strategy.optimizers[0].param_groups[0]["lr"])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.Watch, "on_train_epoch_end", looked)
        worker.work(job, lambda _: None)
    assert rates == pytest.approx([1e-30, 1e-31, 1e-32, 1e-33], abs=0, rel=1e-9)


@pytest.mark.parametrize("name", ["momentum", "players"])
def test_no_gradient_is_longer_than_it_may_be(jobs, name):
    """Clipped to far less than they are, at every step; as long as they are without."""
    lengths = {}
    for clip in (1e-3, 0.0):
        job, _ = jobs(name, clip=clip, checkpoint_steps=0, max_epochs=1)
        kind = torch.optim.SGD if name == "momentum" else torch.optim.AdamW
        step, found = kind.step, lengths.setdefault(clip, [])

        def noted(optimizer, *given, step=step, found=found, **more):
            grads = [one.grad for group in optimizer.param_groups for one in group["params"] if one.grad is not None]
            found.append(float(torch.nn.utils.get_total_norm(grads)))
            return step(optimizer, *given, **more)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(kind, "step", noted)
            worker.work(job, lambda _: None)
    assert len(lengths[1e-3]) >= 4
    assert max(lengths[1e-3]) <= 1e-3 * 1.001
    assert max(lengths[0.0]) > 1e-2


def test_the_channels_of_a_pixel_lie_side_by_side_in_convolutions(jobs):
    job, _ = jobs("images, changed, in half the bits", checkpoint_steps=0, max_epochs=1)
    layouts = []
    seen = worker.Watch.on_train_epoch_end

    def looked(watch, trainer, module):
        seen(watch, trainer, module)
        convolutions = [one.weight for one in module.network.modules() if isinstance(one, torch.nn.Conv2d)]
        # Of one channel both ways are the same.
        layouts.extend(one.is_contiguous(memory_format=torch.channels_last) for one in convolutions if one.shape[1] > 1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.Watch, "on_train_epoch_end", looked)
        worker.work(job, lambda _: None)
    assert layouts
    assert all(layouts)


def test_gradients_added_up_are_those_of_the_larger_batch(jobs):
    """Without dropout and normalisation, batches of 16 two at a time learn what batches of 32 do."""
    found = []
    for more in ({"batch_size": 32}, {"batch_size": 16, "accumulate": 2}):
        job, folder = jobs("momentum", checkpoint_steps=0, max_epochs=1, **more)
        job["rates"], job["weights"] = [], []
        done = worker.work(job, lambda _: None)
        found.append((done["step"], load_file(folder / "weights.safetensors")))
    (steps, whole), (others, added) = found
    assert abs(steps - others) <= 1
    for name, one in whole.items():
        assert one == pytest.approx(added[name], abs=2e-3)


def checkpoint(folder, job="a", width=2, state=None):
    weights = {"one": torch.ones(width, 2), "two": torch.zeros(2)}
    made = Checkpoints(folder, {"model": {"kind": job}}, keep=2)
    made.save(7, Progress(weights=weights, state=state or {"step": 7}))
    return made, weights


def test_a_checkpoint_is_written_although_another_run_took_the_folder_away(tmp_path, monkeypatch):
    """It was of the same job, and was done."""
    pickled, taken = checkpoints._pickled, []

    def taking(state):
        if not taken:
            taken.append(True)
            shutil.rmtree(tmp_path / "job")
        return pickled(state)

    monkeypatch.setattr(checkpoints, "_pickled", taking)
    made, weights = checkpoint(tmp_path / "job")
    assert taken
    step, progress = made.newest(weights, pytest.fail)
    assert (step, progress.state) == (7, {"step": 7})


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("class count", r"E_CKPT_MISMATCH .*: it is of another network: one differs .*\[3, 2\].*allowed: .*\[2, 2\]"),
        ("dtype", r"E_CKPT_MISMATCH .*: one differs .*float32.*allowed: .*float16"),
        ("layer", r"E_CKPT_MISMATCH .*: three differs .got 'nothing'.*remove it"),
        ("job", r"E_CKPT_MISMATCH .*: it is of another job: its model.kind differs .got 'b'.; allowed: a"),
        ("newer", r"E_CKPT_MISMATCH .*: it was written by another release .got 2.; allowed: format 1"),
        ("pickle", r"E_CKPT_UNTRUSTED .*trainer.pt: a checkpoint holds more than tensors and plain values"),
    ],
)
def test_bad_input_B47_a_checkpoint_that_is_not_taken(tmp_path, how, expected, monkeypatch):
    _, _ = checkpoint(tmp_path, job="b" if how == "job" else "a", width=3 if how == "class count" else 2)
    path = tmp_path / "0000000007"
    wants = {"one": torch.ones(2, 2), "two": torch.zeros(2)}
    if how == "dtype":
        wants["one"] = wants["one"].half()
    if how == "layer":
        wants["three"] = torch.zeros(1)
    manifest = json.loads((path / "checkpoint.json").read_text().partition("\n")[2])
    if how == "newer":
        manifest["format"] = 2
    if how == "pickle":
        (path / "trainer.pt").write_bytes(pickle.dumps(Harmful(str(tmp_path / "harmed"))))
        from components.adapters.store import digest_file

        manifest["files"]["trainer.pt"] = digest_file(path / "trainer.pt")
    body = json.dumps(manifest)
    (path / "checkpoint.json").write_text(f"{blake3(body.encode()).hexdigest(length=16)}\n{body}")
    with pytest.raises(DataError, match=expected) as raised:
        Checkpoints(tmp_path, {"model": {"kind": "a"}}, keep=2).newest(wants, lambda _: None)
    assert raised.value.exit_code == 2
    assert not (tmp_path / "harmed").exists()


class Harmful:
    """What a pickle can do."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        return os.mkdir, (self.place,)


def test_a_checkpoint_that_reads_back_otherwise_is_none(tmp_path, monkeypatch):
    """As where a disk, or a library that swallows an error, says that it wrote."""
    made, weights = checkpoint(tmp_path)
    from components.train import checkpoints

    whole = checkpoints.Path.read_bytes
    monkeypatch.setattr(checkpoints.Path, "read_bytes", lambda path: whole(path)[:-1])
    with pytest.raises(MillraceError, match="E_IO .* reads back as something else"):
        made.save(8, Progress(weights=weights, state={}))
    monkeypatch.undo()
    assert made.steps() == [7]
    assert made.newest(weights, lambda _: None)[0] == 7


def test_bad_input_B49_a_folder_that_may_not_be_written_to_is_one_line(tmp_path, as_nobody):
    made, weights = checkpoint(tmp_path)
    tmp_path.chmod(0o755)
    said = as_nobody(lambda: made.save(8, Progress(weights=weights, state={})))
    assert said.startswith("E_PERMISSION")
    assert str(tmp_path) in said
    shutil.rmtree(tmp_path / "0000000007")
