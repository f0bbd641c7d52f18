"""The champion that answers, and what comes in its place: nothing that is altered, and never two in one answer."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from components import register
from components.contracts.artifacts import Approval
from components.contracts.errors import ConfigError, IntegrityError
from components.serve import hosting
from components.serve.hosting import Host
from components.serve.wire import Asked, RefusedError
from tests.serve.conftest import row, serving

ASKED = Approval(who="ada", why="tried")


@pytest.fixture
def swapped(line, request):
    """A model of two versions, the second one champion; its name."""
    name = request.node.name.replace("_", "-")[:50]
    assert [line.register(name, seed) for seed in (3, 4)] == [1, 2]
    return name


def test_a_new_champion_takes_over_and_a_rollback_brings_the_old_one_back(line, swapped):
    host = line.host(swapped)
    with serving([host]) as client:
        second = client.post("/invocations", json=row())
        register.roll_back(line.ctx, swapped, ASKED)
        first = until(client, "1")
        register.promote_by(line.ctx, swapped, "2", ASKED)
        again = until(client, "2")
        assert second.json() == again.json() != first.json()
        assert client.get("/version").json()[swapped]["swaps"] == 2
    assert line.told == [
        f"{swapped} version 1 answers in the place of 2",
        f"{swapped} version 2 answers in the place of 1",
    ]


def until(client, version):
    for _ in range(500):
        answer = client.post("/invocations", json=row())
        assert answer.status_code == 200
        if answer.headers["x-model-version"] == version:
            return answer
    raise AssertionError(version)


def test_an_altered_version_is_refused_and_the_old_one_stays(line, swapped):
    register.roll_back(line.ctx, swapped, ASKED)
    host = line.host(swapped)
    package = register.moves_of(line.ctx, swapped)[1][1].fingerprint
    record = line.ctx.store.artifact("package", package).standing()
    path = line.ctx.store.folder(record) / "model" / "artifacts" / "package" / "weights.safetensors"
    body = path.read_bytes()
    for altered in (body[:-1], bytes([*body[:-1], body[-1] ^ 1])):
        path.unlink()
        path.write_bytes(altered)
        register.promote_by(line.ctx, swapped, "2", ASKED)
        assert not host.look()
        assert not host.look()
        assert host.now.place.version == "1"
        register.roll_back(line.ctx, swapped, ASKED)
        assert not host.look()
    assert len(line.told) == 2, "once each"
    assert all(one.startswith(f"{swapped} stays at version 1: E_DIGEST") for one in line.told)
    with pytest.raises(IntegrityError, match="E_DIGEST"):
        line.host(swapped, "2")
    path.write_bytes(body)
    register.promote_by(line.ctx, swapped, "2", ASKED)
    assert host.look()
    assert host.now.place.version == "2"


def test_what_is_not_there_is_one_line(line):
    for name, alias in (("nobody", "champion"), ("toy", "7"), ("toy", "best")):
        with pytest.raises(ConfigError, match=f"E_CONFIG NAME: .*\\(got '{name}@{alias}'\\)"):
            line.host(name, alias)
    assert line.host("toy", "challenger").now.place.version == "1"


def test_a_row_that_is_refused_leaves_the_others_of_its_batch_alone(line):
    host = line.host("toy")
    good = Asked({"n": [1.5], "c": ["a"]}, 1)
    found = host.now.answers([good, Asked({"n": ["x"], "c": ["a"]}, 1), good, Asked({"c": ["a"]}, 1)])
    assert [isinstance(one, RefusedError) for one in found] == [False, True, False, True]
    assert found[0] == found[2] == host.now.answers([good])[0]


def test_a_defect_in_one_request_is_the_answer_to_no_other(line):
    host = line.host("toy")

    def broken(rows):
        if "odd" in rows["c"].to_pylist():
            raise TypeError("a defect")
        return host.now.predictor.predict(rows)

    hosted = replace(host.now, answerer=SimpleNamespace(predict=broken))
    good, odd = Asked({"n": [1.5], "c": ["a"]}, 1), Asked({"n": [1.5], "c": ["odd"]}, 1)
    found = hosted.answers([good, odd, good])
    assert isinstance(found[1], TypeError)
    assert found[0] == found[2] == host.now.answers([good])[0]


def test_a_champion_that_cannot_be_looked_for_ends_nothing(line, swapped, monkeypatch):
    """Whatever goes wrong is told once, and the next look may find the new champion."""
    register.roll_back(line.ctx, swapped, ASKED)
    host = line.host(swapped)
    register.promote_by(line.ctx, swapped, "2", ASKED)

    def broken(*_):
        raise KeyError("anything")

    with monkeypatch.context() as patch:
        patch.setattr(hosting, "open_package", broken)
        assert [host.look(), host.look(), host.now.place.version] == [False, False, "1"]
    assert line.told == [f"{swapped} stays at version 1: KeyError: 'anything'"]
    assert host.look()
    assert host.now.place.version == "2"


def test_a_graph_answers_as_the_network_does(line):
    """ONNX Runtime in its place: the same answers, from the same cleaning and features."""
    network, graph = line.host("toy"), Host(line.context("serving"), "toy", "champion", print, graph=True)
    assert graph.now.answerer is not graph.now.predictor
    asked = Asked({"n": [1.5, -3.0, 0.25], "c": ["a", None, "never seen"]}, 3)
    (found,), (wanted,) = graph.now.answers([asked]), network.now.answers([asked])
    assert [one["prediction"] for one in found] == [one["prediction"] for one in wanted]
    for one, other in zip(found, wanted, strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)
