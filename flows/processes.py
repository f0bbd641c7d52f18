"""A process that outlives the command which started it: found again by number and birth, ended with all it started.

Each carries the name of its service and home in its environment, and so does everything that it starts. So a process
whose starter was killed before it could note the number, or whose parent has gone, is still found.
"""

import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from components.contracts.errors import EnvironmentFault

MARK = "_MILLRACE_SERVICE"
LOOPBACK = "127.0.0.1"
PORTS_TRIED = 50
STOP_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service that was started here. `started` is True for the command that started it; `process` 0: not ours."""

    address: str
    process: int
    started: bool = False

    @property
    def api_url(self) -> str:
        """Where Prefect's clients talk to it."""
        return f"{self.address}/api"

    @property
    def alive(self) -> bool:
        """Whether its process is still there."""
        with suppress(psutil.NoSuchProcess):
            return _lives(psutil.Process(self.process))
        return False


@dataclass(frozen=True, kw_only=True)
class Service:
    """One service of one home: its lock, its record under `servers/`, its log under `logs/`."""

    name: str
    home: Path

    @property
    def log(self) -> Path:
        """Where it writes."""
        return self.home / "logs" / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.home / "servers" / f"{self.name}.json"

    @property
    def _mark(self) -> str:
        return f"{self.name}:{self.home}"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One command at a time starts or ends it."""
        self._record.parent.mkdir(parents=True, exist_ok=True)
        with (self._record.parent / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def find(self) -> Running | None:
        """What an earlier command left running, or None. A process that only reuses its number is not it."""
        try:
            said = json.loads(self._record.read_bytes())
            process = psutil.Process(said["process"])
            if abs(process.create_time() - said["created"]) < 1 and process.status() != psutil.STATUS_ZOMBIE:
                return Running(address=said["address"], process=said["process"])
        except (FileNotFoundError, ValueError, KeyError, psutil.NoSuchProcess):
            pass
        return None

    @property
    def last_port(self) -> int:
        """Where one listened that was not stopped and may have gone; 0 where there was none."""
        try:
            return int(json.loads(self._record.read_bytes())["address"].rpartition(":")[2])
        except (FileNotFoundError, ValueError, KeyError):
            return 0

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        address: str,
        *,
        folder: Path | None = None,
        handed: Sequence[int] = (),
    ) -> Running:
        """Start it, in a session of its own; `handed` are open files that it gets. Hold the lock around this."""
        self.end()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as out:
            before = out.tell()
            process = subprocess.Popen(
                command,
                env={**environment, MARK: self._mark},
                pass_fds=handed,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=folder or self.home,
            )
        created = psutil.Process(process.pid).create_time()
        said = {"process": process.pid, "created": created, "address": address, "log_from": before}
        self._record.write_text(json.dumps(said))
        return Running(address=address, process=process.pid, started=True)

    def stop(self) -> Running | None:
        """End it and everything that it started, also what a killed parent left; what was ended, if anything."""
        with self.lock():
            return self.end()

    def end(self) -> Running | None:
        """`stop`, for who holds the lock."""
        running = self.find()
        ended = 0
        # What starts another process while it is asked to stop is looked for again.
        while family := self._family(running):
            ended = ended or family[0].pid
            for one in family:
                with suppress(psutil.NoSuchProcess):
                    one.terminate()
            _, stubborn = psutil.wait_procs(family, STOP_SECONDS)
            for one in stubborn:
                with suppress(psutil.NoSuchProcess):
                    one.kill()
            psutil.wait_procs(stubborn, STOP_SECONDS)
        self._record.unlink(missing_ok=True)
        return running or (Running(address="", process=ended) if ended else None)

    def listens(self, running: Running) -> bool:
        """Whether it is this service, and no other process, that listens at its address."""
        port = int(running.address.rpartition(":")[2])
        with suppress(psutil.NoSuchProcess):
            root = psutil.Process(running.process)
            for one in (root, *root.children(recursive=True)):
                with suppress(psutil.Error):
                    places = one.net_connections("inet")
                    if any(place.status == psutil.CONN_LISTEN and place.laddr.port == port for place in places):
                        return True
        return False

    def _family(self, running: Running | None) -> list[psutil.Process]:
        found = {}
        if running is not None:
            with suppress(psutil.NoSuchProcess):
                root = psutil.Process(running.process)
                found = {one.pid: one for one in (root, *root.children(recursive=True))}
        for one in psutil.process_iter():
            with suppress(psutil.Error):
                if one.environ().get(MARK) == self._mark and one.pid != os.getpid():
                    found[one.pid] = one
        return [one for one in found.values() if _lives(one)]

    def wait(self, running: Running, answers: Callable[[], bool], seconds: float, what: str) -> None:
        """Return when `answers()`.

        Raises:
            EnvironmentFault: E_SERVER_UNREACHABLE, it ended or took longer than `seconds`; E_DATABASE, its database
                is of another release.
        """
        end = time.monotonic() + seconds
        while (gone := bool(running.process) and not running.alive) or not answers():
            if gone or time.monotonic() > end:
                raise self._fault(running, what)
            time.sleep(0.05)

    def _said(self) -> str:
        """What it wrote since it was started."""
        with suppress(OSError, ValueError), self.log.open("rb") as log:
            log.seek(json.loads(self._record.read_bytes())["log_from"])
            return log.read()[-20_000:].decode(errors="replace")
        return ""

    def _fault(self, running: Running, what: str) -> EnvironmentFault:
        if running.process and OTHER_SCHEMA in self._said():
            return EnvironmentFault(
                "E_DATABASE",
                f"the database of {what} was made by a newer release",
                place=str(self.home / self.name),
                action="install the release that made it",
            )
        return EnvironmentFault(
            "E_SERVER_UNREACHABLE",
            f"{what} does not answer",
            place=running.address,
            action=f"read {self.log}, then run `millrace down` and the same command again",
        )


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


OTHER_SCHEMA = "Can't locate revision identified by"
"""What Alembic says of a database that a newer release made."""


def awaited(home: Path) -> set[int]:
    """Ports where workers of other homes look for their Prefect server, which may be gone: ours stays away."""
    ports = set()
    for one in psutil.process_iter():
        with suppress(psutil.Error, ValueError):
            environment = one.environ()
            if environment.get(MARK, "").startswith("worker:") and environment[MARK] != f"worker:{home}":
                ports.add(int(environment["PREFECT_API_URL"].removesuffix("/api").rpartition(":")[2]))
    return ports


def listener(port: int, first: int, setting: str, last: int = 0, avoided: Collection[int] = ()) -> socket.socket:
    """A socket on loopback that listens already: on `port`, or where that is 0 on the first free one from `first` on.

    `last` is tried before those: what still looks for a server that went away finds the next one there.

    Raises:
        EnvironmentFault: E_PORT_TAKEN.
    """
    numbers = filter(None, (last, *range(first, first + PORTS_TRIED)))
    for number in [port] if port else [one for one in numbers if one not in avoided]:
        opened = socket.socket()
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Who is handed this socket takes it for one of another family and leaves Nagle's algorithm on: 40 ms a reply.
        opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            opened.bind((LOOPBACK, number))
            opened.listen(128)
        except OSError:
            opened.close()
            continue
        return opened
    raise EnvironmentFault(
        "E_PORT_TAKEN",
        "something else listens there",
        place=setting if port else f"ports {first} to {first + PORTS_TRIED - 1}",
        value=port or None,
        action=f"set {setting} to a free port" + (", or unset it to take the next free one" if port else ""),
    )


def python(*arguments: str) -> list[str]:
    """A command of this interpreter."""
    return [sys.executable, *arguments]
