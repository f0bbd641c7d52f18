"""F25 to F33: training that is killed, stopped, starved and poisoned goes on, or ends in one line."""

import os
import random
import shutil
import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from components import smoke
from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.errors import EnvironmentFault, MillraceError
from components.contracts.placement import Placement
from components.contracts.registry import load_kind
from components.models import KINDS
from components.objectives.classification import Classification
from components.train import TrainConfig, TrainSettings, endings
from components.train import run as run_training
from tests.line import prepared, table_recipe, write_table

pytestmark = pytest.mark.faults
EPOCHS = 3


@dataclass
class Place:
    """One data set, one plan, and as many homes as tries."""

    folder: Path
    dataset: object

    @property
    def plan(self):
        return self.folder / "plan"

    @property
    def log(self):
        return self.folder / "log"

    def context(self, home):
        shutil.copytree(self.folder / "data home", self.folder / home, dirs_exist_ok=True)
        ctx = open_context(Placement(home=self.folder / home), "t")
        ctx.compute = Compute(workers=1, synchronous=True)
        ctx.lines = []
        ctx.progress.warned = ctx.lines.append
        return ctx

    def train(self, ctx, **settings):
        config = {"kind": "custom", "target": "tests.faults.faulty:Net", "plan": str(self.plan), "log": str(self.log)}
        config |= {"milliseconds": settings.pop("milliseconds", 0.0)}
        model = load_kind("components.models", KINDS, config, "model").model_validate(config)
        chosen = {"max_epochs": EPOCHS, "batch_size": 32, "learning_rate": 0.02, "checkpoint_steps": 2} | settings
        whole = TrainConfig(model=model, objective=Classification(), settings=TrainSettings(**chosen))
        self.rows(clear=True)
        return run_training(whole, self.dataset, ctx=ctx)

    def rows(self, rank=0, *, clear=False):
        path = Path(f"{self.log}-{rank}")
        found = path.read_text().split() if path.exists() else []
        if clear:
            for one in self.folder.glob("log-*"):
                one.unlink()
        return found

    def hits(self):
        found = list(self.folder.glob("plan.hit-*"))
        for one in found:
            one.unlink()
        return len(found)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    ctx = open_context(Placement(home=folder / "data home"), "t")
    ctx.compute = Compute(workers=1, synchronous=True)
    recipe = table_recipe(write_table(folder / "table"))
    return Place(folder, prepared(recipe, ctx))


@pytest.fixture(scope="module")
def whole(place):
    """What training gives when nothing happens, and the rows of its steps."""
    made = place.train(place.context("oracle"))
    return made, place.rows()


def same(made, rows, whole):
    """The same weights, bit for bit, the whole history, and each step's rows learnt from as if nothing had been."""
    checkpoint, steps = whole
    assert made.files == checkpoint.files
    assert made.history == checkpoint.history
    assert made.content == checkpoint.content
    again = len(rows) - len(steps)
    assert again >= 0
    # What came after the fault begins at a checkpoint, at most as many steps back as lie between two.
    assert any(
        rows[:cut] == steps[:cut] and rows[cut:] == steps[cut - again :] for cut in range(again, len(steps) + 1)
    ), (rows, steps)


def test_fault_F25_training_is_killed_at_every_step_and_inside_the_save(place, whole, tally):
    """F25-kill-rank-0: what goes on in the same run ends in the same bytes as if nothing had happened."""
    with tally("F25-kill-rank-0") as count:
        for number in range(1, 500):
            place.plan.write_text(f"kill {number}")
            ctx = place.context(f"killed-{number}")
            made = place.train(ctx)
            if not place.hits():
                break
            count.injected += 1
            count.hit += 1
            count.holds(same, made, place.rows(), whole)
            assert any("signal 9" in line for line in ctx.lines)
            assert not (ctx.placement.home / "training" / made.fingerprint).exists()
        place.plan.unlink()
        assert 40 < number < 499


def test_fault_F25_training_is_killed_and_another_run_goes_on(place, whole, tally):
    """F25-next-run: the supervisor gives up, and the next run of the same goes on from the newest checkpoint."""
    with tally("F25-next-run") as count:
        for number in range(3, 60, 7):
            place.plan.write_text(f"kill {number}")
            ctx = place.context(f"again-{number}")
            with pytest.raises(EnvironmentFault, match="E_TRAINING train: the training process ended with signal 9"):
                place.train(ctx, restarts=0)
            count.injected += 1
            count.hit += place.hits()
            before = place.rows()
            made = place.train(ctx, restarts=0)
            count.holds(same, made, before + place.rows(), whole)


def test_fault_F28_a_rank_is_asked_to_stop(place, whole, tally):
    """F28-rank: it writes a checkpoint and exits with 75; its supervisor starts it again, and nothing is done twice."""
    drawn = random.Random(28)
    with tally("F28-rank") as count:
        for number in sorted(drawn.sample(range(1, 15), 10)):
            place.plan.write_text(f"term {number}")
            ctx = place.context(f"asked-{number}")
            made = place.train(ctx, checkpoint_steps=0, restarts=0)
            count.injected += 1
            count.hit += place.hits()
            rows = place.rows()
            count.holds(same, made, rows, whole)
            assert len(rows) == len(whole[1]), "no step was made twice"
            assert any("was asked to stop" in line for line in ctx.lines)


class Asked(BaseException):
    """What a flow raises when it is asked to stop."""


def test_fault_F28_the_whole_step_is_asked_to_stop(place, whole, tally):
    """F28-step: the child writes a checkpoint before the step ends; the next run of the recipe goes on there."""
    drawn = random.Random(82)
    with tally("F28-step") as count:
        for number in range(10):
            after = drawn.uniform(0.0, 0.5)
            ctx = place.context(f"step-{number}")
            steps = threading.Event()

            def asked(step, *_, after=after, steps=steps):
                if step == "train" and not steps.is_set():
                    steps.set()
                    time.sleep(after)
                    raise Asked

            ctx.progress.advanced = asked
            count.injected += 1
            with pytest.raises(Asked):
                place.train(ctx, checkpoint_steps=0, milliseconds=100.0)
            count.hit += 1
            before = place.rows()
            made = place.train(ctx, checkpoint_steps=0, milliseconds=100.0)
            rows = before + place.rows()
            count.holds(lambda made=made: _equal(made.files, whole[0].files))
            count.holds(_equal, rows, whole[1])
            assert not [one for one in (ctx.placement.home / "logs").iterdir() if one.is_dir()]
            assert any("training goes on from step" in line for line in ctx.lines)


def _equal(first, second):
    assert first == second


def interrupted(place, home, **settings):
    """A home with checkpoints of a training that was killed."""
    place.plan.write_text("kill 40")
    ctx = place.context(home)
    with pytest.raises(EnvironmentFault):
        place.train(ctx, restarts=0, **settings)
    assert place.hits() == 1
    (folder,) = (ctx.placement.home / "training").iterdir()
    return ctx, folder


def test_fault_F30_the_newest_checkpoint_is_damaged(place, whole, tally):
    """F30-damaged: cut, zero-filled or with other bytes at drawn places; an older one is used, and said so."""
    _, source = interrupted(place, "to be damaged")
    drawn = random.Random(30)
    kept = sorted(one for one in source.iterdir() if one.name.isdigit())
    assert len(kept) == 2
    with tally("F30-damaged") as count:
        for number in range(20):
            name = ("weights.safetensors", "trainer.pt", "checkpoint.json")[number % 3]
            ctx = place.context(f"damaged-{number}")
            folder = ctx.placement.home / "training" / source.name
            shutil.copytree(source, folder)
            damage(folder / kept[-1].name / name, drawn, ("cut", "zeros", "flip")[number // 3 % 3])
            count.injected += 1
            made = place.train(ctx)
            count.hit += any("is damaged" in line for line in ctx.lines)
            count.holds(lambda made=made: _equal(made.files, whole[0].files))
            assert not folder.exists(), "the result is committed"


def damage(path, drawn, how):
    body = bytearray(path.read_bytes())
    at = drawn.randrange(len(body))
    if how == "cut":
        del body[at:]
    elif how == "zeros":
        body[at:] = bytes(len(body) - at)
    else:
        body[at] ^= 1 << drawn.randrange(8)
    path.write_bytes(body)


def test_fault_F32_a_loss_that_is_no_number_stops(place, tally):
    """F32-nan: at any step; nothing is committed, and the best weights until then are kept and named."""
    with tally("F32-nan") as count:
        for number in (2, 7, 11, 14):
            place.plan.write_text(f"nan {number}")
            ctx = place.context(f"nan-{number}")
            count.injected += 1
            with pytest.raises(MillraceError, match="E_TRAINING") as raised:
                place.train(ctx, checkpoint_steps=0, restarts=3)
            count.hit += place.hits()
            assert not list((ctx.placement.home / "store" / "train").glob("*/record.json"))
            if number > 5:
                path = Path(str(raised.value).rpartition(" ")[2])
                count.holds(lambda path=path: _finite(path))


def test_fault_F32_a_gradient_that_is_no_number_reaches_no_checkpoint(place, whole, tally):
    """F32-gradient: its loss was a number; what goes on from the newest checkpoint ends in the same bytes."""
    with tally("F32-gradient") as count:
        for number in (3, 9):
            place.plan.write_text(f"poison {number}")
            ctx = place.context(f"poisoned-{number}")
            count.injected += 1
            with pytest.raises(MillraceError, match="E_TRAINING train.learning_rate: the loss is no longer a number"):
                place.train(ctx, checkpoint_steps=1, restarts=0)
            count.hit += place.hits()
            for path in (ctx.placement.home / "training").glob("*/0*/weights.safetensors"):
                count.holds(lambda path=path: _finite(path))
            made = place.train(ctx, checkpoint_steps=1)
            count.holds(lambda made=made: _equal(made.files, whole[0].files))
            assert any("goes on from step" in line for line in ctx.lines)


def _finite(path):
    import numpy as np
    from safetensors.numpy import load_file

    assert all(np.isfinite(one).all() for one in load_file(path).values())


def test_fault_F31_training_needs_more_memory_than_there_is(place, whole, tally, monkeypatch):
    """F31-memory: an allocation that fails, and a child that the system kills; the flow's process lives on."""
    with tally("F31-memory") as count:
        place.plan.write_text("huge 4")
        count.injected += 2
        with pytest.raises(EnvironmentFault, match=r"E_OUT_OF_MEMORY train.batch_size: .* lower train.batch_size"):
            place.train(place.context("huge"))
        count.hit += place.hits()
        # The kernel counts whom it ends for want of memory.
        place.plan.write_text("kill 9")
        ctx = place.context("starved")
        monkeypatch.setattr(endings, "kills", lambda: len(list(place.folder.glob("plan.hit-*"))))
        with pytest.raises(EnvironmentFault, match="E_OUT_OF_MEMORY .* ended by the system for want of memory"):
            place.train(ctx, restarts=0)
        count.hit += place.hits()
        made = place.train(ctx)
        count.holds(lambda: _equal(made.files, whole[0].files))


def test_fault_F29_the_disk_of_the_checkpoints_is_full_or_read_only(place, whole, tally):
    """F29-disk: said in one line, with a checkpoint that stands; when there is room again, training goes on."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    with tally("F29-disk") as count:
        for how, code in (("full", "E_DISK_FULL"), ("read-only", "E_PERMISSION")):
            ctx = place.context(f"disk-{how}")
            folder = ctx.placement.home / "training"
            folder.mkdir()
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", str(folder)], check=True)
            try:
                done = []

                def fill(step, *_, folder=folder, how=how, done=done):
                    if done or not list(folder.glob("*/0*")):
                        return
                    done.append(step)
                    if how == "full":
                        room = os.statvfs(folder)
                        (folder / "filler").write_bytes(b"x" * (room.f_bavail * room.f_frsize))
                    else:
                        # A file that is being written would hold the mount up.
                        while subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=False).returncode:
                            time.sleep(0.01)

                ctx.progress.advanced = fill
                count.injected += 1
                with pytest.raises(EnvironmentFault, match=code):
                    place.train(ctx, checkpoint_steps=1, milliseconds=150.0)
                count.hit += len(done)
                assert list(folder.glob("*/0*/checkpoint.json"))
                subprocess.run(["mount", "-o", "remount,rw", str(folder)], check=True)
                (folder / "filler").unlink(missing_ok=True)
                made = place.train(ctx, checkpoint_steps=1, milliseconds=150.0)
                count.holds(lambda made=made: _equal(made.files, whole[0].files))
                assert any("training goes on from step" in line for line in ctx.lines)
            finally:
                subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("how", ["stop", "hang"])
def test_fault_F27_a_process_is_stuck(place, whole, tally, how):
    """F27-alone: stopped, or in a loop of its own; it is noticed at the timeout, said where, ended, and started again."""
    with tally(f"F27-alone-{how}") as count:
        place.plan.write_text(f"{how} 30")
        ctx = place.context(f"stuck-{how}")
        count.injected += 1
        made = place.train(ctx, timeout_seconds=3)
        count.hit += place.hits()
        count.holds(lambda: _equal(made.files, whole[0].files))
        (line,) = [one for one in ctx.lines if "is stuck" in one]
        assert ("it was stopped" if how == "stop" else "faulty.py") in line
        assert not leftover()


def test_fault_F27_the_clock_of_the_machine_jumps(place, whole, tally, monkeypatch):
    """F27-clock: two hours forth and back, in the training process and in its supervisor: nobody takes it for stuck."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + random.choice([-7200.0, 7200.0]))
    with tally("F27-clock") as count:
        place.plan.write_text("clock 3")
        ctx = place.context("clock")
        count.injected += 1
        made = place.train(ctx, timeout_seconds=5, checkpoint_seconds=1.0, milliseconds=150.0)
        count.hit += place.hits()
        count.holds(lambda: _equal(made.files, whole[0].files))
        assert ctx.lines == []


def leftover():
    """Training processes that are still there; the server that they were forked from is none, nor is that of packages."""
    packages = smoke._running.process.pid if smoke._running else 0
    return [
        one
        for one in psutil.Process().children(recursive=True)
        if one.is_running() and one.status() != psutil.STATUS_ZOMBIE and os.getsid(one.pid) == one.pid != packages
    ]


@pytest.fixture(scope="module")
def pair(place):
    """What two processes give when nothing happens."""
    made = place.train(place.context("pair"), devices=2, accelerator="cpu")
    return made, place.rows()


@pytest.mark.parametrize("rank", [0, 1])
def test_fault_F26_a_process_of_two_is_killed(place, pair, tally, rank):
    """F26-kill: the group is gone, and starts again from the newest checkpoint; beyond its restarts the step fails."""
    with tally(f"F26-kill-rank-{rank}") as count:
        for number in (3, 8):
            place.plan.write_text(f"kill {number} {rank}")
            ctx = place.context(f"two-{rank}-{number}")
            count.injected += 1
            made = place.train(ctx, devices=2, accelerator="cpu")
            count.hit += place.hits()
            count.holds(lambda made=made: _equal(made.files, pair[0].files))
            assert not leftover()
        place.plan.write_text(f"kill 5 {rank}")
        ctx = place.context(f"two-{rank}-ended")
        count.injected += 1
        began = time.monotonic()
        with pytest.raises(
            EnvironmentFault, match=f"E_TRAINING train: the training process ended: rank {rank} was killed"
        ):
            place.train(ctx, devices=2, accelerator="cpu", restarts=0)
        count.hit += place.hits()
        assert time.monotonic() - began < 30
        assert not leftover()
        made = place.train(ctx, devices=2, accelerator="cpu", restarts=0)
        count.holds(lambda: _equal(made.files, pair[0].files))


@pytest.mark.parametrize("how", ["stop", "hang"])
def test_fault_F27_a_process_of_two_is_stuck(place, pair, tally, how):
    """F27-of-two: noticed at the timeout, the one that the other waits for is killed, and both start again."""
    with tally(f"F27-of-two-{how}") as count:
        for rank in (0, 1):
            place.plan.write_text(f"{how} 7 {rank}")
            ctx = place.context(f"two-{how}-{rank}")
            count.injected += 1
            began = time.monotonic()
            made = place.train(ctx, devices=2, accelerator="cpu", timeout_seconds=5)
            count.hit += place.hits()
            assert time.monotonic() - began < 5 + 30
            count.holds(lambda made=made: _equal(made.files, pair[0].files))
            (line,) = [one for one in ctx.lines if "training is stuck: " in one and "ended" in one]
            assert f"rank {rank} made no step" in line
            assert ("it was stopped" if how == "stop" else "faulty.py") in line
            assert not leftover()


def test_fault_F28_a_process_of_two_is_asked_to_stop(place, pair, tally):
    """F28-of-two: both write one checkpoint after the same step, and both go on from it."""
    with tally("F28-of-two") as count:
        for number, rank in ((4, 0), (9, 1)):
            place.plan.write_text(f"term {number} {rank}")
            ctx = place.context(f"two-asked-{number}")
            count.injected += 1
            made = place.train(ctx, devices=2, accelerator="cpu", checkpoint_steps=0)
            count.hit += place.hits()
            count.holds(lambda made=made: _equal(made.files, pair[0].files))


def test_two_trainings_of_the_same_at_once_give_one_result(place, whole, tally):
    """F25-two-at-once: both write checkpoints in one folder; the slower one adopts what the faster committed."""
    ctxs = [place.context("both"), place.context("both")]
    found = []
    with tally("F25-two-at-once") as count:
        count.injected += 1
        threads = [
            threading.Thread(target=lambda ctx=ctx: found.append(place.train(ctx, checkpoint_steps=1))) for ctx in ctxs
        ]
        for one in threads:
            one.start()
        for one in threads:
            one.join()
        count.hit += len(found) == 2
        for made in found:
            count.holds(lambda made=made: _equal(made.files, whole[0].files))
        assert len(list((ctxs[0].placement.home / "store" / "train").glob("*/record.json"))) == 1
