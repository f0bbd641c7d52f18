"""F6 for every source: a run that is killed while it reads; the next one reads the rest, and nothing twice."""

import pickle
import signal
from multiprocessing import get_context

import pytest

from components import ingest
from components.adapters.compute import Compute
from components.adapters.snapshot_rows import read_rows
from components.context import open_context
from components.contracts.placement import Placement
from components.sources import KINDS
from tests.faults.kills import arm
from tests.sources.test_sources import served, source_of

STEP, SECONDS = 3, 60
IN_MEMORY = {"mongodb"}
"""What only a fork of this process can see. Others begin in a process without threads: deltalake has some, OpenMP too."""
STARTS_OVER = {"redis"}
"""What gives no state to come back to: all of it is asked for again."""


def take(kind, place, home, number=0):
    """Ingest, and leave the parts' keys and the rows beside the home; the process is killed at event `number`."""
    if number:
        arm(number)
    ctx = open_context(Placement(home=home), "test")
    ctx.compute = Compute(workers=1, synchronous=True)
    raw = ingest.run(ingest.IngestConfig(source=source_of(kind, place)), ctx=ctx)
    rows = [row for part in raw.parts for row in read_rows(ctx.store, "ingest", part.key).to_pylist()]
    home.with_suffix(".taken").write_bytes(pickle.dumps(({part.key for part in raw.parts}, rows)))


def killed(kind, place, home, number=0):
    """Whether `take`, in a process of its own, was."""
    how = get_context("fork" if kind in IN_MEMORY else "forkserver")
    how.set_forkserver_preload([__name__])
    child = how.Process(target=take, args=(kind, place, home, number))
    child.start()
    child.join(SECONDS)
    if child.exitcode is None:
        child.kill()
        child.join()
        pytest.fail("it hangs")
    assert child.exitcode in {0, -signal.SIGKILL}, child.exitcode
    return child.exitcode != 0


def taken(home):
    return pickle.loads(home.with_suffix(".taken").read_bytes())


@pytest.mark.faults
@pytest.mark.parametrize("kind", KINDS)
def test_fault_F6_each_kind_of_source_is_killed_while_it_reads(
    kind, places, tmp_path, documents, broker, redis, redis_server, tally
):
    """F6-every: at every third event, before some and after others; the rows are those of a run that was not killed."""
    documents.d.c.insert_many([{"_id": number, "n": number} for number in range(5)])
    places |= served(kind, broker, redis, redis_server)
    assert not killed(kind, places[kind], tmp_path / "oracle")
    _, expected = taken(tmp_path / "oracle")
    with tally(f"F6-every-{kind}") as count:
        for number in range(1, 300, STEP):
            home = tmp_path / str(number)
            if not killed(kind, places[kind], home, number):
                break
            count.injected += 1
            count.hit += 1
            standing = {path: path.stat().st_mtime_ns for path in (home / "store").rglob("part.json")}
            assert not killed(kind, places[kind], home)
            count.holds(lambda home=home: _as_expected(taken(home)[1], expected))
            count.holds(lambda home=home, standing=standing: _used(standing, taken(home)[0], kind))
        assert 5 < number < 299


def _as_expected(found, expected):
    assert found == expected


def _used(standing, keys, kind):
    """Parts that stood were neither written again nor passed over."""
    assert all(path.stat().st_mtime_ns == when for path, when in standing.items())
    read = {path.parent.name for path in standing if path.parts[-4] == "ingest"}
    assert kind in STARTS_OVER or read <= keys
