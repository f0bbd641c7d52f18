"""A run that is asked to stop stops, wherever the signal finds it."""

import os
import signal
import sys
import threading
import time

import pytest

from flows import stopping


def test_who_waits_for_a_lock_that_nobody_lets_go_of_is_asked_again(monkeypatch):
    """As when the signal came between the taking of a lock and the block that lets go of it."""
    monkeypatch.setattr(stopping, "AGAIN_SECONDS", 0.1)
    left, times = threading.Lock(), []
    handlers = [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]
    with pytest.raises(stopping.Interruption), stopping.interruptible():
        try:
            left.acquire()
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(20)
        finally:
            times.append(time.monotonic())
            left.acquire(timeout=20)
    assert time.monotonic() - times[0] < 10
    assert handlers == [signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)]


class Swallows:
    """Python drops what is raised while this is deleted."""

    def __del__(self):
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.01)


class TerminationSignal(BaseException):
    pass


def test_a_signal_that_a_finaliser_swallowed_is_asked_again_at_once_and_not_reported(capsys):
    """Also when the handler is not ours, as inside a flow."""

    def prefects(*_):
        raise TerminationSignal

    began, before = time.monotonic(), sys.unraisablehook
    with pytest.raises(stopping.Interruption), stopping.interruptible():
        ours = signal.signal(signal.SIGTERM, prefects)
        thing = Swallows()
        del thing
        signal.signal(signal.SIGTERM, ours)
        time.sleep(20)
    assert time.monotonic() - began < 5
    assert "Traceback" not in capsys.readouterr().err
    assert sys.unraisablehook is before
