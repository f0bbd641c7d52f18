"""F1 to F3 on the local folder: the commit kernel killed, starved and cut off at every event."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import commit_scenario as scene

pytestmark = pytest.mark.faults

EVENTS = {"open", "os.mkdir", "os.link", "os.remove", "os.rmdir", "os.scandir", "os.listdir", "shutil.rmtree"}
SCENE = Path(scene.__file__)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "store"
    scene.before(folder)
    return folder


def strace(root, *options):
    root_of_project = Path(__file__).parents[2]
    command = ["strace", "-f", "-qq", *options, sys.executable, "-B", str(SCENE), str(root)]
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(root_of_project)}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False, timeout=120)


def calls_of(name, root, log):
    """How many calls of `name` come before the scene's mark, and how many there are in all."""
    done = strace(root, "-e", f"trace={name},close", "-o", str(log))
    assert done.returncode == 0, done.stderr
    lines = log.read_text().splitlines()
    mark = next(at for at, line in enumerate(lines) if f"close({scene.MARK})" in line)
    ours = [at for at, line in enumerate(lines) if re.search(rf"\b{name}\(", line)]
    return sum(at <= mark for at in ours), len(ours)


def copies(root, tmp_path):
    number = 0
    while True:
        number += 1
        folder = tmp_path / f"try-{number}"
        shutil.copytree(root, folder, symlinks=True)
        yield number, folder
        shutil.rmtree(folder)


def test_fault_F1_kill_at_every_named_event(root, tmp_path, tally):
    """F1-kill-at-every-event: an audit hook kills at the nth open, mkdir, link, remove …, until a run gets through."""
    with tally("F1-kill-at-every-event") as count:
        for number, folder in copies(root, tmp_path):
            child = os.fork()
            if child == 0:
                _die_at(number)
                scene.scenario(folder)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            if os.WIFEXITED(status):
                assert os.WEXITSTATUS(status) == 0
                break
            assert os.WTERMSIG(status) == signal.SIGKILL
            count.injected += 1
            count.hit += 1
            part = count.holds(scene.check, folder)
            scene.scenario(folder)
            count.holds(scene.check_converged, folder, part)
    assert count.injected > 40


def _die_at(number):
    left = number

    def hook(event, _arguments):
        nonlocal left
        if event in EVENTS:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


@pytest.mark.parametrize("call", ["write", "fsync", "close", "link", "mkdir"])
def test_fault_F1_kill_at_every_call(root, tmp_path, tally, call):
    """F1-kill-at-every-syscall: strace kills at the nth write, fsync, close, link and mkdir."""
    start, end = calls_of(call, _copy(root, tmp_path / "count"), tmp_path / "log")
    assert end > start
    with tally(f"F1-kill-at-every-{call}") as count:
        for number, folder in copies(root, tmp_path):
            at = start + number
            if at > end:
                break
            count.injected += 1
            done = strace(
                folder, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={at}", "-o", "/dev/null"
            )
            count.hit += done.returncode in {-signal.SIGKILL, 128 + signal.SIGKILL}
            part = count.holds(scene.check, folder)
            scene.scenario(folder)
            count.holds(scene.check_converged, folder, part)


@pytest.mark.parametrize("fault", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
def test_fault_F2_error_at_every_call(root, tmp_path, tally, call, fault):
    """F2-errno: the nth write, fsync or link fails; one line names code and path, and nothing is half there."""
    start, end = calls_of(call, _copy(root, tmp_path / "count"), tmp_path / "log")
    code = {"ENOSPC": "E_DISK_FULL", "EIO": "E_IO"}[fault]
    with tally(f"F2-{fault}-at-every-{call}") as count:
        for number, folder in copies(root, tmp_path):
            at = start + number
            if at > end:
                break
            count.injected += 1
            done = strace(
                folder, "-e", f"trace={call}", "-e", f"inject={call}:error={fault}:when={at}", "-o", "/dev/null"
            )
            count.hit += done.returncode == 1
            assert done.stdout.startswith(code), (done.stdout, done.stderr)
            assert str(folder) in done.stdout
            assert "Traceback" not in done.stderr
            part = count.holds(scene.check, folder)
            scene.scenario(folder)
            count.holds(scene.check_converged, folder, part)


def _copy(root, target):
    shutil.copytree(root, target)
    return target


CALL = re.compile(r"^\d+ +(\w+)\((.*)\) += (-?\d+)(?:<(.*)>)?")
QUOTED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')
NUMBERED = re.compile(r"^(\d+)<((?:\\x[0-9a-f]{2})*)>")


def operations(root, log):
    """What the scene did to the file system, in order: (what, path, detail)."""
    names = "openat,write,fsync,link,mkdir,unlink,rmdir,close,unlinkat"
    done = strace(root, "-y", "-xx", "-s", "1000000", "-e", f"trace={names}", "-o", str(log))
    assert done.returncode == 0, done.stderr
    found, lines = [], log.read_text().splitlines()
    mark = next(at for at, line in enumerate(lines) if f"close({scene.MARK})" in line)
    for line in lines[mark + 1 :]:
        matched = CALL.match(line)
        if matched is None or int(matched[3]) < 0:
            continue
        call, arguments, _, _ = matched.groups()
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in QUOTED.findall(arguments)]
        held = NUMBERED.match(arguments)
        path = bytes.fromhex(held[2].replace("\\x", "")).decode() if held else ""
        if call == "openat" and "O_CREAT" in arguments:
            found.append(("create", texts[0].decode(), None))
        elif call == "write" and path.startswith(str(root)):
            found.append(("write", path, texts[0]))
        elif call == "fsync":
            found.append(("fsync", path, None))
        elif call == "link":
            found.append(("link", texts[0].decode(), texts[1].decode()))
        elif call in {"mkdir", "rmdir", "unlink"}:
            found.append((call, texts[0].decode(), None))
        elif call == "unlinkat":
            inside = re.match(r"\d+<((?:\\x[0-9a-f]{2})*)>", arguments)
            folder = bytes.fromhex(inside[1].replace("\\x", "")).decode() if inside else ""
            kind = "rmdir" if "AT_REMOVEDIR" in arguments else "unlink"
            found.append((kind, os.path.join(folder, texts[0].decode()), None))  # noqa: PTH118
    return [one for one in found if one[1].startswith(str(root))]


def test_fault_F3_a_record_is_linked_after_its_bytes_and_made_durable_after_its_name(root, tmp_path):
    """F3-order: every file and folder of an attempt is synced before its record, the record's folder after."""
    log = operations(root, tmp_path / "log")
    links = [at for at, (what, _, _) in enumerate(log) if what == "link"]
    assert [Path(log[at][2]).name for at in links] == ["part.json", "record.json", "000000000002.json"]
    for at in links:
        target, folder = Path(log[at][2]), str(Path(log[at][2]).parent)
        written = {path for what, path, _ in log[:at] if what == "write" and path.startswith(folder)}
        synced = {path for what, path, _ in log[:at] if what == "fsync"}
        assert written <= synced, f"{target.name} names bytes that are not on disk"
        made = {path for what, path, _ in log[:at] if what == "mkdir" and path.startswith(folder)}
        assert {str(Path(path).parent) for path in made} <= synced
        assert ("fsync", folder, None) in log[at:], f"{target.name} may vanish"


@pytest.mark.parametrize("lost", ["everything-unsynced", "unsynced-bytes", "unsynced-names", "nothing"])
def test_fault_F3_power_loss_after_every_operation(root, tmp_path, tally, lost):
    """F3-power-loss: each prefix of the log is replayed with what the disk may have lost, and loaded."""
    log = operations(_copy(root, tmp_path / "recorded"), tmp_path / "log")
    with tally(f"F3-power-loss-{lost}") as count:
        for end in range(len(log) + 1):
            folder = tmp_path / "crashed"
            shutil.copytree(root, folder)
            _replay(log[:end], tmp_path / "recorded", folder, lost)
            count.injected += 1
            count.hit += 1
            part = count.holds(scene.check, folder)
            scene.scenario(folder)
            count.holds(scene.check_converged, folder, part)
            shutil.rmtree(folder)


def _replay(log, recorded, folder, lost):
    """Do `log` again in `folder`, leaving out what was not synced.

    A file's bytes are safe once it was synced after they were written, a name once its folder was.
    """
    keep_bytes, keep_names = lost in {"nothing", "unsynced-names"}, lost in {"nothing", "unsynced-bytes"}

    def moved(path):
        return folder / Path(path).relative_to(recorded)

    def synced_later(at, path):
        return any(what == "fsync" and one == str(path) for what, one, _ in log[at + 1 :])

    bodies = {}
    for at, (what, path, detail) in enumerate(log):
        target, named = moved(path), keep_names or synced_later(at, Path(path).parent)
        if what == "mkdir" and named:
            target.mkdir(parents=True, exist_ok=True)
        elif what == "create":
            bodies[path] = []
            if named and target.parent.is_dir():
                target.touch()
        elif what == "write":
            safe = keep_bytes or synced_later(at, path)
            bodies[path].append(detail if safe else b"")
            if target.exists():
                target.write_bytes(b"".join(bodies[path]))
        elif what == "link":
            linked = moved(detail)
            if (keep_names or synced_later(at, Path(detail).parent)) and linked.parent.is_dir():
                linked.write_bytes(b"".join(bodies[path]))
        elif what == "unlink" and named:
            target.unlink(missing_ok=True)
        elif what == "rmdir" and named and target.is_dir():
            shutil.rmtree(target)
