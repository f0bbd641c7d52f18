"""Gradients are averaged through memory that processes share, and who waits for one that is gone says so."""

import struct
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from components.train import exchange, pulse
from components.train.exchange import AREA, Exchange
from components.train.ranks import GRACE_SECONDS, Ranks


def open_files():
    """How many this process has."""
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


class Room:
    """Ranks as threads of this process, which say what they have to each other."""

    def __init__(self, world, folder, monkeypatch, timeout=60.0):
        self.world, self.path = world, folder / "pulse"
        pulse.create(self.path, world)
        self._said, self._barrier = {}, threading.Barrier(world)
        monkeypatch.setattr(exchange, "gathered", self._gathered)
        ranks = [Ranks(rank=one, world=world, local=one, here=world) for one in range(world)]
        self.members = [Exchange(one, self.path, timeout - GRACE_SECONDS) for one in ranks]
        for one in range(world):
            pulse.Pulse(self.path, one)

    def _gathered(self, ranks, mine):
        self._said[ranks.rank] = mine
        self._barrier.wait(10)
        found = [self._said[one] for one in range(self.world)]
        self._barrier.wait(10)
        return found

    def all_do(self, what):
        """What each gets from it, all at the same time."""
        got = {}

        def one(rank):
            try:
                got[rank] = what(self.members[rank], rank)
            except Exception as error:
                got[rank] = error

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.world)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        return [got[rank] for rank in range(self.world)]


@pytest.mark.parametrize("world", [2, 3])
def test_every_rank_gets_the_same_mean_turn_after_turn(world, tmp_path, monkeypatch):
    room = Room(world, tmp_path, monkeypatch)
    assert room.all_do(lambda one, _: one.meet()) == [True] * world
    drawn = torch.Generator().manual_seed(0)
    # Longer than an area; of another kind; a single one.
    sizes = [(AREA // 4 * 2 + 77, torch.float32), (1000, torch.float64), (1, torch.float32), (0, torch.float32)]
    given = [[torch.randn(size, generator=drawn, dtype=kind) for size, kind in sizes] for _ in range(world)]
    wanted = [sum(each[1:], each[0]) / world for each in zip(*given, strict=True)]

    def average(one, rank):
        for values in given[rank]:
            one.average(values)

    assert room.all_do(average) == [None] * world
    for values in given:
        for one, want in zip(values, wanted, strict=True):
            assert torch.equal(one, want)


def test_who_waits_for_a_process_that_is_gone_or_does_not_come_says_which(tmp_path, monkeypatch):
    room = Room(2, tmp_path, monkeypatch, timeout=1.0)
    room.all_do(lambda one, _: one.meet())
    with pytest.raises(TimeoutError, match="rank 1 did not give its gradients within 1 s"):
        room.members[0].average(torch.ones(3))
    done = subprocess.Popen(["true"])
    done.wait()
    with room.path.open("r+b") as file:
        file.seek(pulse.ROW.size)
        file.write(struct.pack("<q", done.pid))
    with pytest.raises(ConnectionError, match="Connection closed by peer: rank 1 is gone"):
        room.members[0].average(torch.ones(3))


@pytest.mark.parametrize("opens", [True, False])
def test_gloo_stays_where_somebody_cannot_open_the_memory(opens, tmp_path, monkeypatch):
    room, hooks = Room(2, tmp_path, monkeypatch), []
    before = open_files()
    real = open

    def refused(place, *mode):
        if not opens and threading.current_thread().name == "away":
            raise PermissionError(place)
        return real(place, *mode)

    monkeypatch.setattr(exchange, "open", refused, raising=False)
    model = SimpleNamespace(register_comm_hook=lambda *given: hooks.append(given))
    trainer = SimpleNamespace(strategy=SimpleNamespace(model=model))

    def start(one, rank):
        threading.current_thread().name = "away" if rank else "here"
        one.on_train_start(trainer, None)

    assert room.all_do(start) == [None, None]
    assert len(hooks) == (2 if opens else 0)
    # The mapping keeps a file of its own open.
    assert open_files() == before + (2 if opens else 0)
