"""F25, F28 to F32: training that is killed, starved and poisoned goes on, or ends in one line."""

import os
import random
import shutil
import subprocess
import threading
import time
from pathlib import Path

import pytest

from components.contracts.errors import EnvironmentFault, MillraceError
from components.train import endings
from tests.faults.trainings import EPOCHS, equal, same

pytestmark = pytest.mark.faults


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


def test_fault_F28_a_rank_is_asked_to_stop_while_it_validates(place, tally):
    """F28-check: it does not look at the rest, since a checkpoint stands before validations that take long."""
    small = {"batch_size": 8, "checkpoint_steps": 0, "restarts": 0}
    alone = place.train(place.context("not asked"), **small)
    steps = place.rows()
    with tally("F28-check") as count:
        # At the first of two batches, in the second epoch and the third; how long it takes is known from the first.
        for epoch in (2, 3):
            place.plan.write_text(f"look {2 * epoch - 1}")
            made = place.train(place.context(f"checking-{epoch}"), looking=3000.0, **small)
            upto = epoch * len(steps) // EPOCHS
            count.injected += 1
            count.hit += place.hits()
            count.holds(lambda made=made: equal(made.files, alone.files))
            count.holds(equal, place.rows(), steps[:upto] + steps[upto - 1 :])


class Asked(BaseException):
    """What a flow raises when it is asked to stop."""


@pytest.mark.parametrize(("devices", "oracle", "tries"), [(1, "whole", 10), (2, "pair", 3)])
def test_fault_F28_the_whole_step_is_asked_to_stop(place, request, tally, devices, oracle, tries):
    """F28-step: the child writes a checkpoint before the step ends; the next run of the recipe goes on there."""
    drawn, whole = random.Random(82), request.getfixturevalue(oracle)
    settings = {"checkpoint_steps": 0, "milliseconds": 100.0, "devices": devices, "accelerator": "cpu"}
    with tally("F28-step" if devices == 1 else "F28-step-of-two") as count:
        for number in range(tries):
            after = drawn.uniform(0.0, 0.5)
            ctx = place.context(f"step-{devices}-{number}")
            steps = threading.Event()

            def asked(step, *_, after=after, steps=steps):
                if step == "train" and not steps.is_set():
                    steps.set()
                    time.sleep(after)
                    raise Asked

            ctx.progress.advanced = asked
            count.injected += 1
            with pytest.raises(Asked):
                place.train(ctx, **settings)
            count.hit += 1
            before = place.rows()
            made = place.train(ctx, **settings)
            rows = before + place.rows()
            count.holds(lambda made=made: equal(made.files, whole[0].files))
            count.holds(equal, rows, whole[1])
            assert not [one for one in (ctx.placement.home / "logs").iterdir() if one.is_dir()]
            assert any("training goes on from step" in line for line in ctx.lines)


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
            count.holds(lambda made=made: equal(made.files, whole[0].files))
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
            count.holds(lambda made=made: equal(made.files, whole[0].files))
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
        for rank in (0, 1):
            place.plan.write_text(f"huge 4 {rank}")
            count.injected += 1
            with pytest.raises(
                EnvironmentFault, match=rf"E_OUT_OF_MEMORY train.batch_size: .* rank {rank} failed: .*memory"
            ):
                place.train(place.context(f"huge-{rank}"), devices=2, accelerator="cpu")
            count.hit += place.hits()
        # The kernel counts whom it ends for want of memory.
        place.plan.write_text("kill 9")
        ctx = place.context("starved")
        monkeypatch.setattr(endings, "kills", lambda: len(list(place.folder.glob("plan.hit-*"))))
        with pytest.raises(EnvironmentFault, match="E_OUT_OF_MEMORY .* ended by the system for want of memory"):
            place.train(ctx, restarts=0)
        count.hit += place.hits()
        made = place.train(ctx)
        count.holds(lambda: equal(made.files, whole[0].files))


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
                count.holds(lambda made=made: equal(made.files, whole[0].files))
                assert any("training goes on from step" in line for line in ctx.lines)
            finally:
                subprocess.run(["umount", str(folder)], check=True)


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
            count.holds(lambda made=made: equal(made.files, whole[0].files))
        assert len(list((ctxs[0].placement.home / "store" / "train").glob("*/record.json"))) == 1
