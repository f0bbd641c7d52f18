"""A worker of a pool in the foreground."""

import signal
import subprocess
import sys

import pytest

from components.contracts.closure import ROOT

WORKER = """
import os, sys
from types import SimpleNamespace
from flows import worker

worker.server = SimpleNamespace(required=lambda *_: None)
worker._kind = lambda *_: "process"
worker.environment = lambda *_: dict(os.environ)
worker.command = lambda *_: [sys.executable, "-c", sys.argv[1]]
worker.STOP_SECONDS = 0.5
print(worker.work(None, "big"))
"""
POLITE = "import time; print('there', flush=True); time.sleep(60)"
STUCK = f"import signal; [signal.signal(one, signal.SIG_IGN) for one in (2, 15)]; {POLITE}"


@pytest.mark.parametrize(("prefects", "expected"), [(POLITE, -signal.SIGTERM), (STUCK, -signal.SIGKILL)])
def test_a_worker_that_is_asked_to_stop_ends_also_where_prefects_does_not(prefects, expected):
    command = [sys.executable, "-c", WORKER, prefects]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "there\n"
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=30)
    assert out.split() == [str(int(expected))]
