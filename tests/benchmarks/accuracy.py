"""G14: from the archive of JPEG CIFAR-10 to 70 % on its test part, beside ten epochs of the tutorial's network."""

import functools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.images import CIFAR
from tests.benchmarks.measure import compared
from tests.benchmarks.peers import environment
from tests.benchmarks.start_up import COMMAND, ROOT, timed

ENOUGH, PAIRS = 0.70, 5
PEERS = ("torch", "keras")


def archive():
    """The archive, which has to be there."""
    path = Path(os.environ.get("MILLRACE_DATA", ""), CIFAR)
    if not path.is_file():
        raise FileNotFoundError(f"set MILLRACE_DATA to the folder of {CIFAR}")
    return path


def ours(seed):
    """The seconds of the whole command and of its training, and what it reached."""
    with tempfile.TemporaryDirectory() as home:
        timed(COMMAND, "setup", MILLRACE_HOME=home)
        began = time.perf_counter()
        said = timed(COMMAND, "run", "cifar10-fast", "--set", f"train.seed={seed}", "--json", MILLRACE_HOME=home)[1]
        whole = time.perf_counter() - began
        timed(COMMAND, "down", MILLRACE_HOME=home)
    record = json.loads(said)
    trained = next(step["seconds"] for step in record["steps"] if step["step"] == "train")
    assert record["metrics"]["test_accuracy"] >= ENOUGH, record["metrics"]
    return {"whole": whole, "training": trained, "accuracy": record["metrics"]["test_accuracy"]}


def theirs(peer, seed):
    """The same of the peer's script."""
    python = environment(peer) if peer == "keras" else sys.executable
    command = [python, str(Path(__file__).with_name(f"accuracy_{peer}.py")), str(archive()), str(seed)]
    more = {"PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **more}, stdout=subprocess.PIPE, text=True, check=True)
    return {"whole": time.perf_counter() - began, **json.loads(done.stdout.splitlines()[-1])}


@functools.cache
def rounds():
    """Of each seed, what everybody made of it: one after the other, and the other way round for the next."""
    archive()
    everybody = {"ours": ours, **{peer: functools.partial(theirs, peer) for peer in PEERS}}
    found = []
    for seed in range(PAIRS):
        order = list(everybody)[:: -1 if seed % 2 else 1]
        found.append({name: everybody[name](seed) for name in order})
        print(json.dumps({"seed": seed, **found[-1]}), file=sys.stderr)
    return found


def beside(peer, part):
    """`part`: the whole way from the archive (for ours with servers, checks, report and registration) or training."""

    def measured():
        mine, other = ([one[name] for one in rounds()] for name in ("ours", peer))
        said = {"ours": [one["accuracy"] for one in mine], "theirs": [round(one["accuracy"], 4) for one in other]}
        assert statistics.mean(said["theirs"]) > 0.6, said
        pairs = [(one[part], two[part]) for one, two in zip(mine, other, strict=True)]
        names = {"goal": "G14", "case": f"{part}, JPEG CIFAR-10", "peer": f"the tutorial's ten epochs in {peer}"}
        return compared(pairs, checksum=json.dumps(said), must=0.6, stretch=0.35, better="lower", **names)

    return measured
