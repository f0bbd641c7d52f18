"""F4 on both stores: two writers in every interleaving of their operations, and many processes at once."""

import os
import random
import subprocess
import sys
import threading
from itertools import combinations
from math import comb
from pathlib import Path

import pytest

from components.adapters.pointers import Pointer
from components.adapters.store import Store
from components.adapters.stores import open_store
from components.contracts.placement import Placement

pytestmark = pytest.mark.faults
STEPS = ("read", "names", "create", "stage", "publish")
MOST = 2000
PROCESSES = 50


class Turns:
    """Lets two threads do one operation at a time in the order of `schedule`; then they run freely."""

    def __init__(self, schedule):
        self.left, self.turn = list(schedule), threading.Condition()

    def take(self, who, operation):
        with self.turn:
            self.turn.wait_for(lambda: not self.left or self.left[0] == who, timeout=60)
            result, error = None, None
            try:
                result = operation()
            except Exception as raised:
                error = raised
            if self.left:
                self.left.pop(0)
            self.turn.notify_all()
        if error is not None:
            raise error
        return result

    def leave(self, who):
        with self.turn:
            self.left = [one for one in self.left if one != who]
            self.turn.notify_all()


class InTurn:
    """Files whose operations wait for their turn."""

    def __init__(self, files, turns, who):
        self._files, self._turns, self._who = files, turns, who

    def __getattr__(self, name):
        method = getattr(self._files, name)
        if name not in STEPS:
            return method
        return lambda *given, **named: self._turns.take(self._who, lambda: method(*given, **named))


class Counting:
    """Files that note their operations."""

    def __init__(self, files):
        self.files, self.count = files, 0

    def __getattr__(self, name):
        self.count += name in STEPS
        return getattr(self.files, name)


def commit(files, who):
    entry = Store(files).artifact("s", "f")
    found = entry.record()
    if found is None:
        with entry.attempt() as attempt:
            (attempt.folder / "x").write_text(who)
            found = attempt.commit({"by": who})
    return found.attempt


def move(files, who):
    return Pointer(Store(files), "p").set({"by": who}).epoch


def schedules(length, case):
    """Every order of two writers' operations, or a sample of them with a printed seed."""
    whole = comb(2 * length, length)
    every = combinations(range(2 * length), length)
    if whole > MOST:
        seed = random.randrange(10**6)
        print(f"{case}: {MOST} of {whole} interleavings, seed {seed}")
        pick = random.Random(seed)
        every = (pick.sample(range(2 * length), length) for _ in range(MOST))
    for places in every:
        yield "".join("a" if at in set(places) else "b" for at in range(2 * length))


@pytest.fixture
def fresh(request, either, tmp_path):
    """Files of a new, empty store of the same kind, for each call."""
    numbers = iter(range(10**6))

    def made():
        if either.store:
            files = open_store(either).files
            files.prefix = f"try-{next(numbers)}/"
            return files
        return open_store(Placement(home=tmp_path, store=str(tmp_path / f"try-{next(numbers)}"))).files

    return made


@pytest.mark.parametrize("job", [commit, move], ids=["one-fingerprint", "one-pointer"])
def test_fault_F4_two_writers_in_every_interleaving(fresh, tally, job, request):
    """F4-interleavings: one record and one value each time; the loser goes on with the winner's."""
    counting = Counting(fresh())
    job(counting, "a")
    # The loser looks at the winner's record, or reads, lists and tries again.
    counting.count += {commit: 1, move: 3}[job]
    with tally(f"F4-{request.node.callspec.id}") as count:
        for schedule in schedules(counting.count, request.node.callspec.id):
            files, turns, said = fresh(), Turns(schedule), {}

            def work(who, files=files, turns=turns, said=said):
                try:
                    said[who] = job(InTurn(files, turns, who), who)
                finally:
                    turns.leave(who)

            threads = [threading.Thread(target=work, args=(who,)) for who in "ab"]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(60)
            count.injected += 1
            count.hit += len(said) == 2
            count.holds(check, files, job, said)


def check(files, job, said):
    store = Store(files)
    if job is commit:
        record = store.artifact("s", "f").record()
        assert set(said.values()) == {record.attempt}, "both go on with one result"
        assert store.open(record, "x").read_text() == record.meta["by"]
    else:
        history = Pointer(store, "p").history()
        assert [one.epoch for one in history] == [1, 2]
        assert {one.value["by"]: one.epoch for one in history} == said, "no move is lost, each is told its own"


RACER = """
import sys
from pathlib import Path
from components.adapters.pointers import Pointer
from components.adapters.stores import open_store
from components.contracts.placement import Placement
store = open_store(Placement(home=Path(sys.argv[1]), store=sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
print(Pointer(store, "p").set({"by": sys.argv[3]}).epoch)
"""


def test_fault_F4_fifty_processes_race_for_one_pointer(either, tally, request, tmp_path):
    """F4-fifty: epochs rise without a gap, and each process was told its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    place = either.store or str(tmp_path / "store")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "env": environment}
    with tally(f"F4-fifty-{request.node.callspec.id}") as count:
        racers = [
            subprocess.Popen(
                [sys.executable, "-c", RACER, str(tmp_path / f"home-{number}"), place, str(number)], **pipes
            )
            for number in range(PROCESSES)
        ]
        for racer in racers:
            assert racer.stdout.readline() == "ready\n"
        for racer in racers:
            racer.stdin.write("\n")
            racer.stdin.flush()
        told = {str(number): int(racer.communicate(timeout=120)[0]) for number, racer in enumerate(racers)}
        count.injected = count.hit = PROCESSES
        history = Pointer(open_store(Placement(home=tmp_path, store=place)), "p").history()
        count.holds(raced, history, told)


def raced(history, told):
    assert [one.epoch for one in history] == list(range(1, PROCESSES + 1))
    assert {one.value["by"]: one.epoch for one in history} == told
