"""G12, G13 and G15: a step of training beside a hand-written loop, Lightning's own, one process and bare torchrun."""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from components.train.supervisor import supervise
from tests.benchmarks import jobs
from tests.benchmarks.measure import compared
from tests.benchmarks.start_up import ROOT

CLOSE_PAIRS = 30
DRAWS = 2000


def child(*arguments):
    command = [sys.executable, "-m", "tests.benchmarks.training_child", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def bounds(ratios):
    """The 95 % bootstrap bounds of their median."""
    drawn = random.Random(0)
    medians = sorted(statistics.median(drawn.choices(ratios, k=len(ratios))) for _ in range(DRAWS))
    return round(medians[DRAWS // 40], 4), round(medians[-DRAWS // 40], 4)


def loop(kind, batch, must, stretch):
    def measured():
        """Blocks of steps in one process, ours and theirs in turns; both learnt the classes."""
        found = child(kind, batch, CLOSE_PAIRS)
        assert min(found["learnt"].values()) > 0.8, found["learnt"]
        pairs = found["pairs"]
        apart = [one / other for one, other in found["same"]]
        print(
            json.dumps({
                "tried": found["tried"],
                "A/A": round(statistics.median(apart), 4),
                "A/A bounds": bounds(apart),
            })
        )
        low, high = bounds([ours / theirs for ours, theirs in pairs])
        names = {"goal": "G12", "case": f"{kind}, batch {batch}", "peer": "hand-written loop, fastest of its settings"}
        made = compared(
            pairs, checksum=json.dumps(found["learnt"]), must=must, stretch=stretch, better="lower", **names
        )
        return made.bounded(low, high)

    return measured


def lightning():
    """G13: whole fits in turns."""
    found = child("lightning", 64, 7)
    assert min(found["learnt"].values()) > 0.8, found["learnt"]
    names = {"goal": "G13", "case": "mlp, batch 64", "peer": "Lightning's Trainer, DataLoader and CSVLogger"}
    checksum = json.dumps(found["learnt"])
    return compared(found["pairs"], checksum=checksum, must=0.7, stretch=0.5, better="lower", **names)


BATCH, STEPS, EPOCHS, PAIRS = 128, 100, 4, 5


def ours(folder, shards, processes):
    """Seconds of the last epochs of ours, and the accuracy, in so many processes of one thread."""
    made = jobs.whole(
        folder / f"job-{processes}-{time.monotonic_ns()}",
        shards,
        jobs.CNN,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        devices=processes,
        schedule="constant",
    )
    ends = []
    done = supervise(
        made, folder / "logs", lambda told: ends.append(time.perf_counter()) if told["event"] == "epoch" else None
    )
    return ends[-1] - ends[0], done["metrics"]["validation_accuracy"]


def torchrun(folder):
    """The same of a bare script under torchrun."""
    place = folder / "theirs.json"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tests.benchmarks.training_ranks", str(folder), str(BATCH), str(EPOCHS), str(place)]
    subprocess.run(command, cwd=ROOT, check=True, stderr=subprocess.DEVNULL)
    found = json.loads(place.read_text())
    return found["seconds"], found["accuracy"]


def ranks(peer, must, stretch):
    def measured():
        """G15: steps a second of two processes of one thread each over the peer's, from the same global batches."""
        os.environ["OMP_NUM_THREADS"] = "1"
        with tempfile.TemporaryDirectory(prefix="millrace-bench-") as place:
            folder = Path(place)
            rows, labels = jobs.pictures(BATCH * (STEPS + 2))
            held = 2 * BATCH
            shards = {
                "train": [jobs.written(folder, "t", rows[held:], labels[held:])],
                "validation": [jobs.written(folder, "v", rows[:held], labels[:held])],
            }
            other = (lambda: torchrun(folder)) if peer == "torchrun" else (lambda: ours(folder, shards, 1))
            both = {"ours": lambda: ours(folder, shards, 2), "theirs": other}
            pairs, learnt = [], {}
            for number in range(PAIRS + 1):
                found = {}
                for who in ("ours", "theirs") if number % 2 else ("theirs", "ours"):
                    found[who], learnt[who] = both[who]()
                pairs.append((found["theirs"], found["ours"]))
            assert min(learnt.values()) > 0.8, learnt
        named = "a bare script under torchrun" if peer == "torchrun" else "one process of one thread"
        names = {"goal": "G15", "case": "cnn, two processes of one thread, gloo", "peer": named}
        return compared(pairs[1:], checksum=json.dumps(learnt), must=must, stretch=stretch, better="higher", **names)

    return measured
