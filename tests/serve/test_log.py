"""The prediction log: what is kept of requests, what never is, and that nothing about it fails an answer."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from components.adapters.prediction_log import began, log_name, logged
from components.contracts.spec import Column
from components.serve import log as logs
from components.serve.log import Log, logged_columns
from components.serve.settings import LogConfig
from components.serve.wire import Asked
from flows.collection import collected
from tests.serve.conftest import QUIET, row, serving

LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
def made(line, ctx):
    """A log of its own store, and what it said."""
    told = []

    def log(**config):
        return Log(ctx.store, "toy", LogConfig(**config), told.append)

    log.told, log.now = told, line.host("toy").now
    log.rows = lambda: [one for _, table in logged(ctx.store, "toy", LONG_AGO) for one in table.to_pylist()]
    return log


def asked(*values):
    return Asked({"n": list(values), "c": ["a"] * len(values)}, len(values))


def answers(*values):
    return [{"prediction": "yes", "confidence": value, "probabilities": [1 - value, value]} for value in values]


def test_what_is_asked_and_answered_can_be_read_again(line):
    config = QUIET.model_copy(update={"log": LogConfig(seconds=0.2)})
    began_at = datetime.now(UTC) - timedelta(seconds=1)
    with serving([line.host("toy")], config) as client:
        said = client.post("/invocations", json=row(n=7.25), headers={"x-request-id": "one"})
        client.post("/invocations", content="n,c\n-3.5,\n", headers={"content-type": "text/csv", "x-request-id": "two"})
        client.post("/invocations", json=row(n="no number"), headers={"x-request-id": "three"})
        # What came since the last writing is written when the server ends.
    found = {
        one["request"]: (record, one)
        for record, table in logged(line.ctx.store, "toy", began_at)
        for one in table.to_pylist()
    }
    assert set(found) == {"one", "two"}
    record, one = found["one"]
    assert (one["asked"], one["row"]) == ({"n": 7.25, "c": "a"}, 0)
    assert one["answer"] == said.json()["predictions"][0]
    assert found["two"][1]["asked"] == {"n": -3.5, "c": None}
    assert abs(one["at"] - datetime.now(UTC)) < timedelta(minutes=1)
    assert (record.meta["version"], record.meta["model"]) == ("1", "toy")
    assert not list(logged(line.ctx.store, "toy", datetime.now(UTC) + timedelta(seconds=2)))


def test_of_many_rows_a_sample_is_kept_that_is_drawn_evenly(made):
    log = made(rows=50)
    for at in range(100):
        log.note(made.now, asked(*range(at * 10, at * 10 + 10)), answers(*[0.5] * 10), f"r{at}")
    log.write()
    found = made.rows()
    cells = [one["asked"]["n"] for one in found]
    assert len(cells) == len(set(cells)) == 50
    # Of 50 drawn evenly from 1,000 the middle lies within 6 deviations of 500.
    assert 250 < sum(cells) / 50 < 750
    assert (log.written, log.lost) == (50, 0)
    log.write()
    assert len(made.rows()) == 50


def test_a_share_of_the_requests_or_none_is_looked_at(made):
    log, silent = made(share=0.5), made(share=0)
    for at in range(400):
        log.note(made.now, asked(at), answers(0.5), f"r{at}")
        silent.note(made.now, asked(at), answers(0.5), f"r{at}")
    log.write()
    silent.write()
    assert 120 < len(made.rows()) < 280


def test_files_and_free_text_and_what_is_redacted_are_never_written(made):
    """A column that a feature reads as a value is written, unless it is to be redacted."""
    kinds = {"n": "float64", "c": "string", "letter": "string", "scan": "image", "tags": "strings"}
    by = replace(made.now, columns=tuple(Column(name=name, type=kind) for name, kind in kinds.items()))
    for config, names in (
        (LogConfig(), ["n", "c"]),
        (LogConfig(redact=("n",)), ["c"]),
        (LogConfig(write=("letter", "scan")), ["n", "c", "letter", "scan"]),
        (LogConfig(write=("letter",), redact=("letter",)), ["n", "c"]),
    ):
        assert [one.name for one in logged_columns(by, config)] == names
    log = made(redact=("n",))
    log.note(made.now, asked(12345.0), answers(0.5), "secret")
    log.write()
    assert [one["asked"] for one in made.rows()] == [{"c": "a"}]
    nothing = made(redact=("n", "c"))
    nothing.note(made.now, asked(1.0), answers(0.25), "bare")
    nothing.write()
    assert [one["answer"]["confidence"] for one in made.rows() if one["request"] == "bare"] == [0.25]


def test_a_log_that_cannot_be_written_fails_no_answer_and_is_told_once(made, monkeypatch):
    log = made()

    def broken(*_):
        raise OSError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(logs.pq, "write_table", broken)
        for _ in range(2):
            log.note(made.now, asked(1.0), answers(0.5), "r")
            log.write()
    assert (log.lost, log.written) == (2, 0)
    assert len(made.told) == 1
    assert "the predictions of toy are not logged: " in made.told[0]
    log.note(made.now, asked(2.0), answers(0.5), "again")
    log.write()
    assert [one["asked"]["n"] for one in made.rows()] == [2.0]


def test_garbage_collection_keeps_what_was_logged_of_late(made, ctx, monkeypatch):
    log = made()
    for key, old in (("new", False), ("old", True)):
        log.note(made.now, asked(1.0), answers(0.5), key)
        if old:
            log._kept = [replace(one, at=LONG_AGO) for one in log._kept]
        log.write()
    keys = ctx.store.files.names(f"{log_name('toy')}/parts")
    assert [began(key).year for key in keys] == [2020, datetime.now(UTC).year]
    monkeypatch.setattr("components.adapters.collect.GRACE_SECONDS", -1.0)
    collected(ctx.store, ctx.tracker, keep_days=30, really=True)
    assert [one["request"] for one in made.rows()] == ["new"]
