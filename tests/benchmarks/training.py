"""G12, G13 and G15: a step of training beside a hand-written loop, Lightning's own, one process and bare torchrun."""

import json
import os
import queue
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

import psutil

from components.train.supervisor import prepare, supervise
from tests.benchmarks import jobs
from tests.benchmarks.measure import compared
from tests.benchmarks.start_up import ROOT

CHILD = [sys.executable, "-m", "tests.benchmarks.training_child"]
CLOSE_PAIRS = 30
DRAWS = 2000


def bounds(ratios):
    """The 95 % bootstrap bounds of their median."""
    drawn = random.Random(0)
    medians = sorted(statistics.median(drawn.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return round(medians[DRAWS // 40], 4), round(medians[-DRAWS // 40], 4)


class Peer:
    """The hand-written loop in a process of its own, as a script of it would run."""

    def __init__(self, kind, batch):
        pipe = subprocess.PIPE
        self._process = subprocess.Popen([*CHILD, kind, str(batch)], cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        self.tried = json.loads(self._process.stdout.readline())
        self.accuracy = 0.0

    def epoch(self):
        """Let it learn one; its seconds."""
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        took, self.accuracy = json.loads(self._process.stdout.readline())
        return took

    def close(self):
        self._process.communicate()


class Training:
    """A job as a user's run trains it, which learns an epoch when it is asked to and is held in between."""

    def __init__(self, made, logs):
        prepare()
        before = family()
        self._ends, self._held, self.accuracy = queue.Queue(), [], 0.0
        self._thread = threading.Thread(target=self._train, args=(made, logs))
        self._thread.start()
        self._ends.get()
        self._held = family() - before
        self._signal(signal.SIGSTOP)

    def _train(self, made, logs):
        self.accuracy = supervise(made, logs, self._told)["metrics"]["validation_accuracy"]

    def _told(self, event):
        if event["event"] == "epoch":
            self._signal(signal.SIGSTOP)
            self._ends.put(time.perf_counter())

    def _signal(self, number):
        for one in self._held:
            with suppress(psutil.NoSuchProcess):
                one.send_signal(number)

    def epoch(self):
        """Let it learn one; its seconds."""
        began = time.perf_counter()
        self._signal(signal.SIGCONT)
        return self._ends.get() - began

    def close(self):
        """Let it end."""
        self._signal(signal.SIGCONT)
        self._held = []
        self._thread.join()


def family():
    """The processes below this one."""
    return set(psutil.Process().children(recursive=True))


def in_turns(ours, theirs, pairs):
    """Seconds of their epochs, who is first by turns; one before is not counted."""
    taken = []
    for number in range(pairs + 1):
        order = (ours, theirs) if number % 2 else (theirs, ours)
        first, second = (one.epoch() for one in order)
        taken.append((first, second) if order[0] is ours else (second, first))
    return taken[1:]


def loop(kind, batch, must, stretch):
    def measured():
        """Blocks of steps of two processes, ours and theirs in turns; both learnt the classes."""
        with closing(Peer(kind, batch)) as peer, tempfile.TemporaryDirectory(prefix="millrace-bench-") as place:
            folder = Path(place)
            mine = Training(jobs.learning(kind, batch, CLOSE_PAIRS + 2, folder), folder / "logs")
            pairs = in_turns(mine, peer, CLOSE_PAIRS)
            same = in_turns(peer, peer, CLOSE_PAIRS // 3)
            mine.close()
        learnt = {"ours": mine.accuracy, "theirs": peer.accuracy}
        assert min(learnt.values()) > 0.8, learnt
        apart = [one / other for one, other in same]
        print(json.dumps({"tried": peer.tried, "A/A": round(statistics.median(apart), 4), "A/A bounds": bounds(apart)}))
        low, high = bounds([ours / theirs for ours, theirs in pairs])
        names = {"goal": "G12", "case": f"{kind}, batch {batch}", "peer": "hand-written loop, fastest of its settings"}
        made = compared(pairs, checksum=json.dumps(learnt), must=must, stretch=stretch, better="lower", **names)
        return made.bounded(low, high)

    return measured


def lightning():
    """G13: whole fits in turns."""
    done = subprocess.run([*CHILD, "lightning", "64", "7"], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    assert min(found["learnt"].values()) > 0.8, found["learnt"]
    names = {"goal": "G13", "case": "mlp, batch 64", "peer": "Lightning's Trainer, DataLoader and CSVLogger"}
    checksum = json.dumps(found["learnt"])
    return compared(found["pairs"], checksum=checksum, must=0.7, stretch=0.5, better="lower", **names)


BATCH, EPOCHS, PAIRS, TURNS = 128, 4, 5, 20
CASE = "cnn, two processes of one thread"


def ours(folder, epochs, processes):
    """The job of so many processes of one thread, of the same global batches."""
    folder.mkdir(exist_ok=True)
    made = jobs.learning("cnn", BATCH, epochs, folder)
    return {**made, "settings": {**made["settings"], "devices": processes}}


def torchrun(folder):
    """Seconds of the last epochs of a bare script, and its accuracy."""
    place = folder / "theirs.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.benchmarks.training_ranks", str(folder), str(BATCH), str(EPOCHS), str(place)]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    found = json.loads(place.read_text())
    return found["seconds"], found["accuracy"]


def whole(folder):
    """The same of ours."""
    ends = []
    done = supervise(
        ours(folder, EPOCHS, 2),
        folder / "logs",
        lambda told: ends.append(time.perf_counter()) if told["event"] == "epoch" else None,
    )
    return ends[-1] - ends[0], done["metrics"]["validation_accuracy"]


def one_process(must, stretch):
    def measured():
        """G15: steps a second of two processes over one, epoch by epoch in turns."""
        os.environ["OMP_NUM_THREADS"] = "1"
        with tempfile.TemporaryDirectory(prefix="millrace-bench-") as place:
            two, one = (
                Training(ours(Path(place, str(number)), TURNS + 2, number), Path(place, "logs")) for number in (2, 1)
            )
            pairs = in_turns(two, one, TURNS)
            two.close()
            one.close()
        learnt = {"two": two.accuracy, "one": one.accuracy}
        assert min(learnt.values()) > 0.8, learnt
        speeds = [(theirs, ours) for ours, theirs in pairs]
        names = {"goal": "G15", "case": CASE, "peer": "one process of one thread"}
        return compared(speeds, checksum=json.dumps(learnt), must=must, stretch=stretch, better="higher", **names)

    return measured


def script(must, stretch):
    def measured():
        """G15: steps a second of two processes over a bare script's under torchrun, whole trainings in turns."""
        os.environ["OMP_NUM_THREADS"] = "1"
        pairs, learnt = [], {}
        for number in range(PAIRS + 1):
            found = {}
            for who in (whole, torchrun) if number % 2 else (torchrun, whole):
                with tempfile.TemporaryDirectory(prefix="millrace-bench-") as place:
                    # It writes the shards that both read.
                    ours(Path(place), EPOCHS, 2)
                    found[who], learnt[who.__name__] = who(Path(place))
            pairs.append((found[torchrun], found[whole]))
        assert min(learnt.values()) > 0.8, learnt
        names = {"goal": "G15", "case": CASE, "peer": "a bare script under torchrun"}
        return compared(pairs[1:], checksum=json.dumps(learnt), must=must, stretch=stretch, better="higher", **names)

    return measured
