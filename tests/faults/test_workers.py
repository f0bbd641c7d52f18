"""F6 to F12: ingest in this process and on worker processes that are killed, stopped, poisoned and starved."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import dask
import psutil
import pytest
from distributed import Client, LocalCluster

from components import ingest
from components.adapters.compute import OWN_CLUSTER, Compute
from components.adapters.snapshot_rows import read_rows
from components.context import open_context
from components.contracts.errors import MillraceError
from components.contracts.placement import Placement
from components.sources.files import FilesSource
from tests.faults.kills import killed_at
from tests.faults.slow import source

pytestmark = pytest.mark.faults
SEEDS = 20


def context(home, address=""):
    made = open_context(Placement(home=home, dask_address=address), "test")
    made.compute = Compute(workers=2, address=address, synchronous=not address)
    return made


def take(one, ctx):
    raw = ingest.run(ingest.IngestConfig(source=one), ctx=ctx)
    return raw, [row for part in raw.parts for row in read_rows(ctx.store, "ingest", part.key).to_pylist()]


@contextmanager
def cluster(workers=2, memory="auto", failures=3, **settings):
    with (
        dask.config.set(OWN_CLUSTER | {"distributed.scheduler.allowed-failures": failures, **settings}),
        LocalCluster(
            n_workers=workers,
            threads_per_worker=1,
            host="127.0.0.1",
            dashboard_address=None,
            memory_limit=memory,
            silence_logs=50,
        ) as made,
    ):
        yield made


def pids(made):
    return [worker.pid for worker in made.workers.values() if worker.pid]


def parts_of(folder, count=5):
    (folder / "data").mkdir()
    for part in range(count):
        lines = "".join(f"{part},{one}\n" for one in range(40))
        (folder / "data" / f"{part}.csv").write_text(f"a,b\n{lines}")
    return FilesSource(uri=str(folder / "data"))


def test_fault_F6_ingest_is_killed_at_every_event(tmp_path, tally):
    """F6-files: before and after every part, the manifest and the pointers; what stands is not read again."""
    one = parts_of(tmp_path)
    expected, rows = take(one, context(tmp_path / "oracle"))
    with tally("F6-files") as count:
        for number in range(1, 200):
            home = tmp_path / str(number)
            if not killed_at(number, lambda home=home: take(one, context(home))):
                break
            count.injected += 1
            count.hit += 1
            standing = {path: path.stat().st_mtime_ns for path in (home / "store").rglob("part.json")}
            again, found = take(one, context(home))
            count.holds(lambda again=again, found=found: _same(again, found, expected, rows))
            count.holds(lambda standing=standing: _untouched(standing))
        assert 20 < number < 199


def _same(again, found, expected, rows):
    assert again.content == expected.content
    assert found == rows


def _untouched(standing):
    assert all(path.stat().st_mtime_ns == when for path, when in standing.items())


def test_fault_F7_a_worker_is_killed_in_the_middle_of_a_partition(tmp_path, tally):
    """F7-worker-killed: the same result as without, and not a row more."""
    one = source(parts=8)
    expected, rows = take(one, context(tmp_path / "oracle"))
    with tally("F7-worker-killed") as count, cluster() as made:
        for seed in range(SEEDS):
            draw = random.Random(seed)
            began = Path(tmp_path / f"log-{seed}")
            slow = one.model_copy(update={"log": str(began)})
            count.injected += 1

            def kill(draw=draw, began=began, count=count):
                while not began.exists():
                    time.sleep(0.01)
                time.sleep(draw.random() * 0.4)
                os.kill(draw.choice(pids(made)), signal.SIGKILL)
                count.hit += 1

            killer = threading.Thread(target=kill)
            killer.start()
            again, found = take(slow, context(tmp_path / f"home-{seed}", made.scheduler_address))
            killer.join()
            count.holds(lambda found=found: _rows(found, rows))
            assert len(again.parts) == len(expected.parts)
            with Client(made, set_as_default=False) as client:
                client.wait_for_workers(2, timeout=30)


def _rows(found, rows):
    assert found == rows


@pytest.mark.parametrize("kind", ["ends its process", "needs more memory than a worker has"])
def test_fault_F8_F11_a_partition_that_ends_every_worker(tmp_path, tally, kind):
    """F8-poison and F11-memory: the run fails, names the part and the limit, and keeps what the others gave."""
    row = "F8-poison" if kind == "ends its process" else "F11-memory"
    fields = {} if row == "F8-poison" else {"megabytes": 400}
    log = tmp_path / "log"
    one = source(parts=6, seconds=0.05, poison=3, log=str(log), **fields)
    with tally(row) as count, cluster(memory="300MB" if fields else "auto", failures=1) as made:
        count.injected += 1
        ctx = context(tmp_path / "home", made.scheduler_address)
        with pytest.raises(
            MillraceError, match=r"E_WORKER blobs from row 31: worker processes ended whenever"
        ) as caught:
            take(one, ctx)
        count.hit += 1
        count.holds(lambda: _named(caught.value, limited=bool(fields)))
        tried = log.read_text().split().count("3")
        assert tried == 2, "tried again once, not for ever"
        kept = list((tmp_path / "home" / "store" / "ingest" / "parts").glob("*/part.json"))
        assert len(kept) >= 3
        assert not list((tmp_path / "home" / "store" / "ingest").glob("*/record.json"))


def test_fault_F11_memory_workers_that_are_full_before_they_begin(tmp_path, tally):
    """F11-memory: their libraries alone take what makes Dask pause them; the run says so and does not wait for ever."""
    pausing = {"distributed.worker.memory.pause": 0.05}
    with tally("F11-memory") as count, cluster(memory="600MB", failures=1, **pausing) as made:
        count.injected += 1
        with pytest.raises(MillraceError, match=r"E_WORKER dask: every worker process waits for memory .* 572 MiB"):
            take(source(parts=4), context(tmp_path / "home", made.scheduler_address))
        count.hit += 1


def _named(error, *, limited):
    assert ("each may use 286 MiB" in error.line()) or not limited
    assert "_per_partition" in error.action


def test_fault_F9_everything_that_runs_is_killed(tmp_path, tally):
    """F9-all-killed: client, scheduler and workers at once; the next run goes on from the parts that stand."""
    code = (
        "import sys; from pathlib import Path; from tests.faults.test_workers import *\n"
        "if __name__ == '__main__':\n"
        "    home, log = Path(sys.argv[1]), sys.argv[2]\n"
        "    with cluster() as made:\n"
        "        take(source(parts=8, log=log), context(home, made.scheduler_address))\n"
    )
    (tmp_path / "child.py").write_text(code)
    _, rows = take(source(parts=8), context(tmp_path / "oracle"))
    with tally("F9-all-killed") as count:
        for seed in range(5):
            home, log = tmp_path / f"home-{seed}", tmp_path / f"log-{seed}"
            command = [sys.executable, str(tmp_path / "child.py"), str(home), str(log)]
            root = str(Path(__file__).parents[2])
            child = subprocess.Popen(command, start_new_session=True, cwd=root, env={**os.environ, "PYTHONPATH": root})
            count.injected += 1
            end = time.monotonic() + 60
            while time.monotonic() < end and (not log.exists() or len(log.read_text().split()) < 2 + seed):
                time.sleep(0.02)
            processes = [psutil.Process(child.pid), *psutil.Process(child.pid).children(recursive=True)]
            for process in processes:
                process.kill()
            child.wait()
            count.hit += 1
            standing = len(list((home / "store" / "ingest" / "parts").glob("*/part.json")))
            log.unlink()
            _, found = take(source(parts=8, log=str(log)), context(home))
            count.holds(lambda found=found: _rows(found, rows))
            read = len(log.read_text().split()) if log.exists() else 0
            assert read == 8 - standing, "what stands is not read again"


def test_fault_F10_a_worker_that_was_stopped_comes_back_late(tmp_path, tally):
    """F10-stopped: its parts are read elsewhere; what it brings when it goes on changes nothing."""
    one = source(parts=6, seconds=0.5)
    _, rows = take(one, context(tmp_path / "oracle"))
    settings = {"distributed.scheduler.worker-ttl": "3s"}
    with tally("F10-stopped") as count, cluster(**settings) as made:
        log = tmp_path / "log"
        slow = one.model_copy(update={"log": str(log)})
        count.injected += 1

        def stop():
            while not log.exists():
                time.sleep(0.01)
            time.sleep(0.1)
            victim = pids(made)[0]
            os.kill(victim, signal.SIGSTOP)
            count.hit += 1
            time.sleep(8)
            os.kill(victim, signal.SIGCONT)

        stopper = threading.Thread(target=stop)
        stopper.start()
        raw, found = take(slow, context(tmp_path / "home", made.scheduler_address))
        stopper.join()
        time.sleep(2)
        count.holds(_rows, found, rows)
        again, found = take(slow, context(tmp_path / "home"))
        count.holds(_rows, found, rows)
        assert again.content == raw.content
        assert len(list((tmp_path / "home" / "store" / "ingest" / "parts").glob("*"))) == 6


def test_fault_F12_the_disk_that_workers_spill_to_is_full(tmp_path, tally):
    """F12-spill-full: results are records, which never spill; the run does not notice."""
    if os.geteuid():
        pytest.skip("mounting needs root")
    spill = tmp_path / "spill"
    spill.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "none", str(spill)], check=True)
    try:
        one = source(parts=6, seconds=0.05, megabytes=150, poison=2)
        _, rows = take(source(parts=6), context(tmp_path / "oracle"))
        with (
            tally("F12-spill-full") as count,
            dask.config.set({"temporary-directory": str(spill)}),
            cluster(memory="600MB") as made,
        ):
            count.injected += 1
            room = os.statvfs(spill)
            (spill / "full").write_bytes(b"x" * (room.f_bavail * room.f_frsize))
            count.hit += os.statvfs(spill).f_bavail == 0
            _, found = take(one, context(tmp_path / "home", made.scheduler_address))
            count.holds(_rows, found, rows)
    finally:
        subprocess.run(["umount", str(spill)], check=True)
