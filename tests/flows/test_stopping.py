"""A run that is asked to stop stops, wherever the signal finds it."""

import os
import signal
import threading
import time

import pytest

from flows import launch


def test_who_waits_for_a_lock_that_nobody_lets_go_of_is_asked_again(monkeypatch):
    """As when the signal came between the taking of a lock and the block that lets go of it."""
    monkeypatch.setattr(launch, "AGAIN_SECONDS", 0.1)
    left, times = threading.Lock(), []
    handlers = [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    with pytest.raises(launch.Interruption), launch._interruptible():
        try:
            left.acquire()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        finally:
            times.append(time.monotonic())
            left.acquire(timeout=20)
    assert time.monotonic() - times[0] < 10
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert handlers == [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
