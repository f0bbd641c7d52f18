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


def test_fault_F5_a_record_is_put_and_its_answer_is_lost(s3, bucket, tmp_path, tally):
    """F5-reply-lost: at each conditional put, once; the outcome is read back, nothing is put twice or deleted."""
    with tally("F5-reply-lost") as count:
        for nth in range(1, 20):
            address, seen = bucket(), []

            def rule(_number, method, path, nth=nth, seen=seen):
                if (method == "PUT" and path.endswith(("part.json", "record.json"))) or "/pointers/" in path:
                    seen.append((method, path))
                    puts = [one for one in seen if one[0] == "PUT"]
                    if method == "PUT" and len(puts) == nth:
                        return "cut-after"
                return "pass"

            with s3.ruled(rule) as door:
                process = start(s3, address, tmp_path / f"home-{nth}")
                out, err = process.communicate(timeout=120)
                deleted = [path for method, path, _, _ in door.log if method == "DELETE"]
            if len([one for one in seen if one[0] == "PUT"]) < nth:
                break
            count.injected += 1
            count.hit += 1
            assert (process.returncode, out, deleted) == (0, "", []), err
            count.holds(scene.check_converged, address, scene.check(address))
    assert count.injected >= 3


def test_fault_F15_an_upload_ends_between_its_pieces(s3, tmp_path, tally, monkeypatch):
    """F15-cut-upload: no object is to be seen, no piece stays behind, and the next run writes it all."""
    from components.adapters import s3_requests
    from components.adapters.stores import open_store
    from components.contracts.placement import Placement

    monkeypatch.setattr(s3_requests, "PART_BYTES", 5 * 2**20)
    body = os.urandom(21 * 2**20)

    def commit(store, fail_at):
        asked = type(store.files)._ask
        seen = 0

        async def breaking(self, what, *arguments, **named):
            nonlocal seen
            if what == "upload_part":
                seen += 1
                if seen == fail_at:
                    raise RuntimeError("between two pieces")
            return await asked(self, what, *arguments, **named)

        with monkeypatch.context() as patch:
            patch.setattr(type(store.files), "_ask", breaking)
            with store.part("ingest", "a" * 32).attempt() as attempt:
                (attempt.folder / "rows.bin").write_bytes(body)
                return attempt.commit({"rows": 1})

    with tally("F15-cut-upload") as count:
        for fail_at in range(1, 6):
            store = open_store(Placement(home=tmp_path / str(fail_at), store=s3.bucket()))
            name = store.files.place("").removeprefix("s3://").partition("/")[0]
            count.injected += 1
            with pytest.raises(RuntimeError, match="between two pieces"):
                commit(store, fail_at)
            count.hit += 1
            count.holds(_nothing_there, s3.client(), name)
            record = commit(store, 0)
            assert store.open(record, "rows.bin").read_bytes() == body


def _nothing_there(client, bucket):
    keys = [one["Key"] for one in client.list_objects_v2(Bucket=bucket).get("Contents", ())]
    assert not [key for key in keys if "ingest" in key], keys
    assert not client.list_multipart_uploads(Bucket=bucket).get("Uploads")
