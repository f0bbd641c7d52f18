"""Simpler models learn in a thread beside the rest of an evaluation, which ends them when it fails."""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from components.evaluate import peers


class Slow:
    """A model that learns until it is let go."""

    def __init__(self, name, seen, begun, goes_on):
        self.name, self.seen, self.begun, self.goes_on = name, seen, begun, goes_on
        self.classes_ = np.array([0, 1])

    def fit(self, *_):
        self.seen.append((self.name, threading.current_thread().name.partition("_")[0]))
        self.begun.set()
        assert self.goes_on.wait(10)
        return self

    def predict_proba(self, inputs):
        return np.full((len(inputs), 2), 0.5)


@pytest.fixture
def learning(monkeypatch):
    """Three slow models on a few rows; which of them learn, and where, and the two events."""
    seen, begun, goes_on = [], threading.Event(), threading.Event()

    def models(_rows, *, classes):
        assert classes
        for name in ("one", "two", "three"):
            yield name, Slow(name, seen, begun, goes_on), 100

    inputs, truth = np.zeros((8, 1), np.float32), np.array([0, 1] * 4)
    monkeypatch.setattr(peers, "_models", models)
    monkeypatch.setattr(peers, "_sample", lambda *_: peers.Sample(None, truth, inputs, inputs, truth))
    monkeypatch.setattr(peers, "_told", lambda _predictor, sample, answers: (sorted(answers), len(sample.truth)))
    return seen, begun, goes_on


PREDICTOR = SimpleNamespace(target=SimpleNamespace(classes=("no", "yes")))


def test_the_rest_goes_on_while_they_learn(learning):
    seen, begun, goes_on = learning
    with peers.peers_beside(PREDICTOR, None, None) as peers_of:
        assert begun.wait(10)
        assert seen == [("one", "millrace-peers")]
        goes_on.set()
        assert peers_of() == (["one", "three", "two"], 8)


def test_an_evaluation_that_fails_waits_for_one_of_them_at_most(learning):
    seen, begun, goes_on = learning
    with pytest.raises(KeyboardInterrupt), peers.peers_beside(PREDICTOR, None, None):
        assert begun.wait(10)
        threading.Timer(0.1, goes_on.set).start()
        raise KeyboardInterrupt
    assert seen == [("one", "millrace-peers")]
    assert not [one for one in threading.enumerate() if one.name.startswith("millrace-peers")]


def test_what_goes_wrong_in_the_thread_is_raised_where_it_is_asked_for(learning, monkeypatch):
    def broken(*_):
        raise ValueError("broken")

    monkeypatch.setattr(Slow, "fit", broken)
    with peers.peers_beside(PREDICTOR, None, None) as peers_of, pytest.raises(ValueError, match="broken"):
        peers_of()
