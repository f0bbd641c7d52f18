"""Training on four times the memory that there is: a control group with a hard limit, every row once an epoch."""

import json
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from components.adapters.shard_files import write_shard
from components.features.shards import write_fit
from components.models.mlp import Mlp
from tests.benchmarks import jobs
from tests.benchmarks.measure import compared
from tests.benchmarks.start_up import ROOT

LIMIT = 2**30
TIMES, WIDTH, SHARDS, EPOCHS = 4, 1024, 16, 2
GROUPS = Path("/sys/fs/cgroup")


@contextmanager
def limited(limit):
    """A new control group with a hard limit of bytes, of version 1 or 2; its folder, and the file that has its peak."""
    old = GROUPS / "memory"
    first = (old if old.is_dir() else GROUPS) / f"millrace-bench-{os.getpid()}"
    first.mkdir()
    try:
        if old.is_dir():
            (first / "memory.limit_in_bytes").write_text(str(limit))
            yield first, first / "memory.max_usage_in_bytes"
        else:
            (first / "memory.max").write_text(str(limit))
            (first / "memory.swap.max").write_text("0")
            yield first, first / "memory.peak"
    finally:
        first.rmdir()


def job(folder):
    """Shards of TIMES the limit, written one by one, and what trains a small network on them for EPOCHS."""
    rows = TIMES * LIMIT // (4 * WIDTH) // SHARDS
    drawn = np.random.default_rng(0)
    write_fit(folder, partial={}, dictionaries={"v": [], "label": [["a", "b"]]})
    files = []
    for number in range(SHARDS):
        values = drawn.random((rows, WIDTH), np.float32)
        labels = (values[:, :1] > 0.5).astype(np.int32)
        path = folder / f"{number}.arrow"
        write_shard({"v": values, "label": labels, "row": np.arange(number * rows, (number + 1) * rows)}, path)
        files.append({"path": str(path), "rows": rows, "without": "", "fit": str(folder / "fit.json")})
    write_shard({"v": values[:256], "label": labels[:256], "row": np.arange(256)}, folder / "v.arrow")
    few = [{"path": str(folder / "v.arrow"), "rows": 256, "without": "", "fit": str(folder / "fit.json")}]
    os.sync()
    shards = {"train": files, "validation": few, "width": WIDTH}
    made = jobs.whole(folder, shards, Mlp(hidden=(16,)), ("a", "b"), max_epochs=EPOCHS, batch_size=256)
    return made, rows * SHARDS


def training():
    """The peak of memory over its limit; fails where a row is missing, comes twice, or nothing is learned."""
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as place:
        whole, rows = job(Path(place))
        Path(place, "job.json").write_text(json.dumps(whole))
        with limited(LIMIT) as (group, peak):
            inside = f"echo $$ > {group}/cgroup.procs && exec {sys.executable} -m tests.benchmarks.memory_child {place}"
            done = subprocess.run(["bash", "-c", inside], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
            used = int(peak.read_text())
        said = json.loads(done.stdout.splitlines()[-1])
    assert said["shuffled"] == "nearby"
    assert said["epochs"] == [rows] * EPOCHS, "every row once an epoch"
    assert said["twice"] == 0
    assert said["orders"] == EPOCHS, "each epoch in an order of its own"
    assert said["validation_accuracy"] > 0.9
    print(json.dumps({"peak_bytes": used, "limit_bytes": LIMIT, "data_bytes": TIMES * LIMIT, **said}), flush=True)
    names = {"goal": "memory", "case": f"trains on {TIMES} times a limit of 1 GiB", "peer": "the limit"}
    # The kernel ends what goes beyond; files that were read count until it needs their room.
    return compared([(used, LIMIT)] * 2, checksum=str(rows), must=1.0, stretch=1.0, better="lower", **names)
