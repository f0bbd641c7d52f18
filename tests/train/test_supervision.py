"""Who failed first among several processes, and who is stuck."""

import itertools
import subprocess
import time

import pytest

from components.train import pulse, stalls, torchrun
from components.train.pulse import Pulse
from components.train.stalls import Stalls

LOST = "RuntimeError: [gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:4711"
OWN = "torch.OutOfMemoryError: CUDA out of memory."


@pytest.mark.parametrize(
    ("seen", "code", "ended", "said", "expected"),
    [
        (1, -9, [], ["", ""], (1, True)),
        (1, 1, [1], ["", OWN], (1, False)),
        (1, 1, [1], ["", LOST], (0, True)),
        (1, 1, [0, 1], [OWN, LOST], (0, False)),
        (0, 1, [0], [OWN, "epoch 1"], (0, False)),
    ],
)
def test_who_failed_first_is_who_does_not_say_that_another_is_gone(tmp_path, seen, code, ended, said, expected):
    logs = torchrun.rank_logs(str(tmp_path / "train.log"), len(said))
    for path, text in zip(logs, said, strict=True):
        path.write_text(f"Traceback (most recent call last):\n{text}\n")
    assert torchrun.first(seen, code, ended, logs) == expected


@pytest.fixture
def clock(monkeypatch):
    """A second passes between two looks at the clock."""
    seconds = itertools.count()
    monkeypatch.setattr(time, "monotonic", lambda: float(next(seconds)))


def test_of_two_that_make_no_step_the_one_that_is_behind_is_stuck(tmp_path, clock, monkeypatch):
    path = tmp_path / "pulse"
    pulse.create(path, 2)
    ahead, behind = Pulse(path, 0), Pulse(path, 1)
    for one in (ahead, behind, ahead):
        one.beat()
    monkeypatch.setattr(pulse.Beat, "stopped", False)
    looks = Stalls(path, 3.0)
    found = next(stuck for stuck in iter(looks.look, None) if stuck)
    assert [rank for rank, _ in found] == [1]
    assert not looks.deserted


def test_who_waits_for_one_that_is_stuck_is_not_taken_for_it(tmp_path, clock, monkeypatch):
    """It did its last step sooner than the one that it waits for, and so has stood still for longer."""
    path = tmp_path / "pulse"
    pulse.create(path, 2)
    stuck, waiting = Pulse(path, 0), Pulse(path, 1)
    for one in (stuck, waiting, waiting, waiting):
        one.beat()
    monkeypatch.setattr(pulse.Beat, "stopped", False)
    looks = Stalls(path, 4.0)
    assert looks.look() == []
    stuck.beat()
    found = next(seen for seen in iter(looks.look, None) if seen)
    assert [rank for rank, _ in found] == [0], "it is behind, although the other has stood still for longer"


def test_machines_are_given_up_when_nobody_has_been_there_for_so_long(tmp_path, clock):
    path = tmp_path / "pulse"
    pulse.create(path, 1)
    looks = Stalls(path, 3.0)
    assert [looks.look() for _ in range(9)] == [[]] * 9
    assert not looks.deserted, "nobody has begun"
    gone = subprocess.Popen(["true"])
    gone.wait()
    path.write_bytes(pulse.ROW.pack(gone.pid, 1, 5))
    assert [looks.look() for _ in range(3)] == [[]] * 3
    assert not looks.deserted
    assert looks.look() == []
    assert looks.deserted
    assert stalls.MOST_SECONDS > 1
