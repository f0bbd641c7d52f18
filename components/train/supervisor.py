"""The parent's side of training: a child forked from a server that has torch and Lightning imported.

A fresh interpreter would spend six seconds on those imports; a fork has them in 0.03 s. The child holds the read end
of a pipe that only this process writes, and ends when it closes, however this process went. Of several processes the
child is torchrun's agent. One that was killed or is stuck is started again from the newest checkpoint.
"""

import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from components.contracts import errors
from components.contracts.errors import MillraceError
from components.train import endings, pulse
from components.train.endings import Ending
from components.train.entry import PREEMPTED, enter
from components.train.stalls import Stalls, ask_where, end
from components.train.torchrun import lead, rank_logs
from components.train.usage import Usage

POLL_SECONDS = 1.0
GRACE_SECONDS = 25.0
"""How long a child that was asked to stop may write its checkpoint."""
Told = Callable[[dict[str, Any]], None]


def prepare() -> None:
    """Start the server, which imports in the background while other steps run. Harmless when done twice."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["components.train.preloaded"])
    # A Ctrl-C reaches every process of the terminal; what is ignored here is ignored in the server from its start on.
    if threading.current_thread() is not threading.main_thread():
        forkserver.ensure_running()
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def supervise(job: dict[str, Any], logs: Path, told: Told) -> dict[str, Any]:
    """Run one job to its end and return its last event; `told` gets the others as they come.

    Raises:
        EnvironmentFault: E_TRAINING, the child died or failed, or is stuck; E_OUT_OF_MEMORY. Quotes the end of its log.
        MillraceError: what the child raised.
    """
    prepare()
    settings = job.get("settings") or {}
    restarts, last = int(settings.get("restarts", 0)), -1
    alone = settings.get("nodes", 1) == 1
    while True:
        child = Child(job, logs, told)
        ending = child.run()
        if ending.last.get("event") == "done":
            return ending.last
        if ending.last.get("event") == "error":
            raise _error(ending.last, child.log)
        went_on = ending.code == PREEMPTED and ending.step > last
        # Agents of several machines have started the processes anew themselves, all at the same time.
        again = ending.passing if alone else ending.vanished
        if not went_on and not (restarts and again):
            raise endings.fault(ending, child.log)
        restarts -= not went_on
        last = ending.step
        told({"event": "warning", "line": f"training {endings.said(ending)}; it goes on from its newest checkpoint"})


class Child:
    """One try at a job."""

    def __init__(self, job: dict[str, Any], logs: Path, told: Told) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        name = f"train-{os.getpid()}-{os.urandom(4).hex()}"
        self.log, self._told = logs / f"{name}.log", told
        self._scratch = logs / name
        self._scratch.mkdir()
        settings = job.get("settings") or {}
        self._ranks = int(settings.get("devices", 1))
        self._nodes = int(settings.get("nodes", 1))
        self._several = self._ranks * self._nodes > 1
        self._pulse = self._scratch / "pulse"
        pulse.create(self._pulse, self._ranks)
        self._job_file = self._scratch / "job.json"
        job = {"meeting": name, **job, "pulse": str(self._pulse), "scratch": str(self._scratch)}
        self._job_file.write_text(json.dumps(job))
        self._stalls = Stalls(self._pulse, float(settings.get("timeout_seconds", 90.0)))
        self._usage = Usage(self._pulse)
        self._ending = Ending()
        self._looked = time.monotonic()

    def run(self) -> Ending:
        """Start it and wait for its end; asked to stop, ask it, and wait a little for its checkpoint."""
        try:
            return self._followed()
        finally:
            shutil.rmtree(self._scratch, ignore_errors=True)

    def _followed(self) -> Ending:
        context = multiprocessing.get_context("forkserver")
        events, writer = context.Pipe(duplex=False)
        reader, lifeline = context.Pipe(duplex=False)
        given = (str(self._job_file), str(self.log), writer, reader)
        before = endings.kills()
        process = context.Process(target=lead if self._several else enter, args=given, name="millrace-train")
        process.start()
        writer.close()
        reader.close()
        try:
            self._listen(events, process)
        except BaseException:
            self._stop(events, process)
            raise
        finally:
            lifeline.close()
            self._end(process)
            events.close()
        self._ending.code = process.exitcode
        self._ending.starved = endings.kills() > before
        self._tidy()
        return self._ending

    def _listen(self, events: Connection, process: Any) -> None:
        """Pass events on until the last one, or until the child is gone."""
        while self._ending.last.get("event") not in {"done", "error"}:
            ready = wait([events, process.sentinel], POLL_SECONDS)
            if time.monotonic() - self._looked > POLL_SECONDS:
                self._looked = time.monotonic()
                self._look(process)
            if not ready:
                continue
            if not events.poll():
                break
            try:
                event: dict[str, Any] = json.loads(events.recv_bytes())
            except EOFError:
                break
            self._take(event)
        if self._ending.last.get("event") == "done":
            process.join(GRACE_SECONDS)

    def _take(self, event: dict[str, Any]) -> None:
        self._ending.step = max(self._ending.step, event.get("step", -1))
        if event["event"] in {"done", "error"}:
            self._ending.last = event
        elif event["event"] == "failed":
            self._ending.rank, self._ending.killed = event["rank"], event["killed"]
        else:
            self._told(event)

    def _look(self, process: Any) -> None:
        """See whether somebody is stuck, or failed in a process that does not write to the pipe."""
        for path in sorted(self._scratch.glob("*.error")):
            self._ending.last = json.loads(path.read_text())
        used = self._usage.look()
        if used:
            self._told({"event": "system", "metrics": used, "step": self._ending.step})
        stuck = self._stalls.look()
        if not stuck:
            if self._nodes > 1 and self._stalls.deserted:
                self._ending.stuck = "the other machines did not come back"
                process.kill()
            return
        self._ending.stuck = ask_where(stuck, self._logs())
        # The others wait for it, and would count as stuck next.
        for one in pulse.beats(self._pulse):
            end(one)
        if self._several:
            self._told({"event": "warning", "line": f"training is stuck: {self._ending.stuck}; it is ended"})
        else:
            process.join(POLL_SECONDS)

    def _logs(self) -> list[Path]:
        return rank_logs(str(self.log), self._ranks) if self._several else [self.log]

    def _stop(self, events: Connection, process: Any) -> None:
        """Ask the child to stop; what it tells meanwhile is passed on."""
        if not process.is_alive() or process.pid is None:
            return
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        over = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < over and process.is_alive():
            if wait([events, process.sentinel], POLL_SECONDS) and events.poll():
                with suppress(EOFError, ValueError):
                    self._take(json.loads(events.recv_bytes()))

    def _end(self, process: Any) -> None:
        """Leave no process behind: neither the child nor one of its ranks."""
        if process.is_alive():
            process.kill()
        process.join()
        for one in pulse.beats(self._pulse):
            end(one)

    def _tidy(self) -> None:
        for path in self._scratch.glob("*.error"):
            self._ending.last = self._ending.last or json.loads(path.read_text())
        self._ending.logs = [path for path in (*self._logs(), self.log) if path.exists()]
        if self._ending.last.get("event") == "done":
            for path in self._ending.logs:
                path.unlink(missing_ok=True)


def _error(event: dict[str, Any], log: Path) -> MillraceError:
    if event["code"] == "E_CUSTOM":
        event["action"] += f"; its traceback stands in {log}"
    parts = (event[name] for name in ("code", "what", "place", "value", "allowed", "action"))
    return errors.rebuilt(getattr(errors, event["type"]), *parts)
