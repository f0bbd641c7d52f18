"""F1 to F3 on a bucket: the commit kernel killed, refused and cut off at every request."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import commit_scenario as scene

pytestmark = pytest.mark.faults
LIMIT = 200


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch):
    """Makes buckets in the state that every fault meets."""
    monkeypatch.setenv("HOME", str(tmp_path))

    def made():
        address = s3.bucket()
        scene.before(address)
        return address

    return made


def start(s3, address, home):
    """The scenario in a process of its own, with copies of its own."""
    home.mkdir(exist_ok=True)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(__file__).parents[2]), "HOME": str(home)}
    command = [sys.executable, "-B", "-m", "tests.faults.commit_scenario", address]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment | s3.environment, stdout=pipe, stderr=pipe, text=True)


def swept(s3, bucket, tmp_path, what, *, persisting=False):
    """The scenario once per request, with `what` at the nth, until one gets through: (address, process, hit)."""
    for number in range(1, LIMIT):
        address, hits, victim = bucket(), [], []

        def rule(at, *_, number=number, hits=hits, victim=victim):
            if at == number or (persisting and at > number):
                hits.append(at)
                if what.startswith("kill"):
                    s3.door.victim = victim[0].pid
                return what
            return "pass"

        with s3.ruled(rule) as door:
            door.lock.acquire()
            victim.append(start(s3, address, tmp_path / f"home-{number}"))
            door.lock.release()
            victim[0].out, victim[0].err = victim[0].communicate(timeout=120)
        if not hits:
            assert victim[0].returncode == 0, victim[0].err
            return
        yield address, victim[0]
    raise AssertionError("the scenario never ended")


@pytest.mark.parametrize("what", ["kill-before", "kill-after"])
def test_fault_F1_kill_at_every_request(s3, bucket, tmp_path, tally, what):
    """F1-bucket: the process dies before or after the nth request is done."""
    with tally(f"F1-bucket-{what}") as count:
        for address, process in swept(s3, bucket, tmp_path, what):
            count.injected += 1
            count.hit += process.returncode == -signal.SIGKILL
            part = count.holds(scene.check, address)
            scene.scenario(address)
            count.holds(scene.check_converged, address, part)
    assert count.injected > 10


@pytest.mark.parametrize("what", ["503", "cut-before", "cut-after"])
def test_fault_F2_one_request_fails(s3, bucket, tmp_path, tally, what):
    """F2-bucket-once: the nth request is refused or lost, or its answer is; the run goes on, exactly once."""
    with tally(f"F2-bucket-{what}-once") as count:
        for address, process in swept(s3, bucket, tmp_path, what):
            count.injected += 1
            count.hit += 1
            assert (process.returncode, process.out) == (0, ""), process.err
            count.holds(scene.check_converged, address, scene.check(address))
    assert count.injected > 10


@pytest.mark.parametrize(("what", "code"), [("403", "E_CREDENTIALS"), ("503", "E_IO"), ("cut-before", "E_SERVER_UNR")])
def test_fault_F2_the_store_goes_away_for_good(s3, bucket, tmp_path, tally, what, code):
    """F2-bucket-for-good: from the nth request on everything fails; one line, the old state stays readable."""
    with tally(f"F2-bucket-{what}-for-good") as count:
        for address, process in swept(s3, bucket, tmp_path, what, persisting=True):
            count.injected += 1
            count.hit += process.returncode == 1
            assert process.out.startswith(code), (process.out, process.err)
            assert address in process.out
            assert process.out.count("\n") == 1
            assert "Traceback" not in process.err
            part = count.holds(scene.check, address)
            scene.scenario(address)
            count.holds(scene.check_converged, address, part)


def test_fault_F3_a_record_is_put_after_its_objects(s3, bucket, tmp_path):
    """F3-bucket-order: a put that was answered is durable, so order is all; every prefix of it is a case of F1."""
    address = bucket()
    with s3.ruled(None) as door:
        process = start(s3, address, tmp_path / "home")
        assert process.wait(timeout=120) == 0, process.stderr.read()
        process.communicate()
        puts = [path.partition("/store/")[2] for method, path, _, _ in door.log if method == "PUT"]
    records = [name for name in puts if name.endswith(("part.json", "record.json"))]
    assert len(records) == 2
    for record in records:
        folder = record.rpartition("/")[0]
        later = puts[puts.index(record) + 1 :]
        assert not [name for name in later if name.startswith(f"{folder}/")]
    assert puts[-1] == "pointers/champion/m/000000000002.json"
