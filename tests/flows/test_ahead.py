"""Libraries of later steps are imported while training goes on, and not where it is reused or fails."""

import threading

import pytest

from flows import ahead
from flows.pipeline import load_recipe


@pytest.fixture
def imported(monkeypatch):
    """The names of what is imported, and by whom; nothing is really."""
    found = []
    monkeypatch.setattr(ahead, "SETTLED_SECONDS", 0.05)
    monkeypatch.setattr(ahead, "import_module", lambda name: found.append((name, threading.current_thread().name)))
    return found


def trained(config, event=None):
    """A step that goes on for a while."""
    with ahead.imported_ahead(config):
        (event or threading.Event()).wait(0.3)


def test_what_the_recipe_needs_is_there_when_training_has_ended(imported):
    trained(load_recipe("digits-cnn", []))
    assert [name for name, _ in imported] == [*ahead.ANSWERS, *ahead.PEERS, *ahead.EXPLANATIONS]
    assert {thread for _, thread in imported} == {"millrace-imports"}


def test_what_it_does_not_need_is_not_imported(imported):
    trained(load_recipe("digits-cnn", ["evaluate.peers=false", "evaluate.explain=0"]))
    assert [name for name, _ in imported] == [*ahead.ANSWERS]


def test_a_model_that_is_fitted_in_this_process_has_it_for_itself(imported):
    trained(load_recipe("digits-kmeans", []))
    assert imported == []


def test_when_training_has_ended_the_rest_is_left_to_the_steps(monkeypatch):
    began, seen = threading.Event(), []

    def slow(name):
        seen.append(name)
        began.set()
        threading.Event().wait(0.3)

    monkeypatch.setattr(ahead, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(ahead, "import_module", slow)
    with ahead.imported_ahead(load_recipe("digits-cnn", [])):
        began.wait(10)
    assert seen == ["torch"]
    assert not [one for one in threading.enumerate() if one.name == "millrace-imports"]


def test_a_step_that_is_reused_imports_nothing(imported):
    before = threading.active_count()
    with ahead.imported_ahead(load_recipe("digits-cnn", [])):
        pass
    assert (imported, threading.active_count()) == ([], before)


def test_training_that_fails_waits_for_one_module_at_most(monkeypatch):
    began, goes_on, seen = threading.Event(), threading.Event(), []

    def slow(name):
        seen.append(name)
        began.set()
        goes_on.wait(10)

    monkeypatch.setattr(ahead, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(ahead, "import_module", slow)
    with pytest.raises(KeyboardInterrupt), ahead.imported_ahead(load_recipe("digits-cnn", [])):
        began.wait(10)
        raise KeyboardInterrupt
    goes_on.set()
    for thread in threading.enumerate():
        if thread.name == "millrace-imports":
            thread.join(10)
    assert seen == ["torch"]


def test_a_library_that_is_not_installed_is_told_by_the_step_that_needs_it(monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(ahead, "SETTLED_SECONDS", 0.0)
    monkeypatch.setattr(ahead, "import_module", absent)
    trained(load_recipe("digits-cnn", []))
