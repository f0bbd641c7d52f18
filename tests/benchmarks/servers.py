"""Servers in turns: each in a process group of its own, all but one of them stopped."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx

from tests.benchmarks.start_up import ROOT

SECONDS = 2.0


class Server:
    """A server in a process group of its own, which is stopped while another has its turn."""

    def __init__(self, command, port, path="/invocations", **more):
        self.port, self.path = port, path
        self._process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
            # MLflow starts the uvicorn that it finds.
            env={**os.environ, "PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", **more},
        )  # fmt: skip

    def wait(self, body):
        """Until it answers; what it says."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            with contextlib.suppress(httpx.TransportError):
                said = httpx.post(
                    f"http://127.0.0.1:{self.port}{self.path}",
                    content=body,
                    headers={"content-type": "application/json"},
                )
                if said.status_code == 200:
                    return said.json()["predictions"][0]
            time.sleep(0.2)
        raise RuntimeError(f"no answer at port {self.port}")

    def turn(self, body, clients, seconds=SECONDS):
        """What so many clients get, nobody else working."""
        os.killpg(self._process.pid, signal.SIGCONT)
        script = Path(__file__).with_name("serving_load.py")
        asked = [str(one) for one in (self.port, self.path, clients, seconds, body)]
        try:
            done = subprocess.run([sys.executable, script, *asked], capture_output=True, text=True, check=True)
        finally:
            os.killpg(self._process.pid, signal.SIGSTOP)
        found = json.loads(done.stdout)
        if found["wrong"]:
            raise RuntimeError(f"{found['wrong']} refused at port {self.port}")
        return found

    def end(self):
        for sign in (signal.SIGCONT, signal.SIGTERM):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def free():
    with socket.create_server(("127.0.0.1", 0)) as one:
        return one.getsockname()[1]


def ours(home, name, *changes):
    port = free()
    sets = [part for one in ("lines=false", *changes) for part in ("--set", one)]
    command = [sys.executable, "-m", "flows.cli", "serve", name, "--port", str(port), *sets]
    return Server(command, port, MILLRACE_HOME=str(home))
