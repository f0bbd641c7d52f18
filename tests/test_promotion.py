"""Who is champion: promotions lie on top of each other, a rollback takes the last one off for good."""

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from components import register
from components.context import RunContext
from components.contracts.artifacts import Approval
from components.contracts.errors import ConfigError, IntegrityError
from components.register.promotion import Champion, standing, withdrawn
from components.train import TrainSettings
from tests.line import registered, table_recipe, write_table

ASKED = Approval(who="ada", why="slow answers")


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return write_table(tmp_path_factory.mktemp("rows") / "table")


@dataclass
class Model:
    """A model of its own for each test; what its packages are made of is shared."""

    ctx: RunContext
    name: str
    rows: Path

    def register(self, seed):
        recipe = table_recipe(self.rows, settings=TrainSettings(max_epochs=1, seed=seed))
        return registered(recipe, self.ctx, self.name)[2]

    def champion(self):
        """The version that stands; the registry says the same."""
        now = self.moves()[-1].version
        assert self.ctx.tracker.aliased(self.name, "champion") == now
        return now

    def moves(self):
        return [one for _, one in register.moves_of(self.ctx, self.name)]

    def roll_back(self):
        return register.roll_back(self.ctx, self.name, ASKED)

    def promote(self, version, approval=ASKED):
        return register.promote_by(self.ctx, self.name, version, approval)


@pytest.fixture
def three(rows, shared_ctx, request):
    """A model with three versions, each champion when it came."""
    model = Model(shared_ctx, re.sub(r"[^a-z0-9]+", "-", request.node.name)[:60], rows)
    assert [model.register(seed).version for seed in (1, 2, 3)] == [1, 2, 3]
    return model


def test_a_rollback_goes_back_one_by_one_and_lasts(three, monkeypatch):
    told = []
    monkeypatch.setattr(three.ctx.progress, "warned", told.append, raising=False)
    for left in ("2", "1"):
        assert three.roll_back()
        assert three.champion() == left
    with pytest.raises(ConfigError, match=r"E_CONFIG NAME: no champion stood before this one \(got "):
        three.roll_back()
    assert three.register(2).aliases == ("challenger",)
    assert three.champion() == "1"
    back = f"`millrace promote {three.name} 2 --why …` brings it back"
    assert told == [f"version 2 stays challenger: ada rolled it back (slow answers); {back}"]
    assert three.promote("2", Approval(who="bob", why="measured again"))
    assert three.champion() == "2"
    assert three.register(2).aliases == ("challenger", "champion")
    assert not three.promote("2"), "it is already"
    assert [(one.version, one.how, one.who, one.to) for one in three.moves()] == [
        ("1", "run", "", 0),
        ("2", "run", "", 0),
        ("3", "run", "", 0),
        ("2", "rollback", "ada", 2),
        ("1", "rollback", "ada", 1),
        ("2", "person", "bob", 0),
    ]
    assert all(one.at.endswith("+00:00") for one in three.moves())
    assert three.roll_back()
    assert three.champion() == "1"


def test_a_mirror_that_says_otherwise_is_mended(three):
    three.ctx.tracker.client.set_registered_model_alias(three.name, "champion", "1")
    assert register.mirror(three.ctx, three.name)
    assert three.champion() == "3"
    assert not register.mirror(three.ctx, three.name)
    assert three.name in register.names(three.ctx)
    assert not register.mirror(three.ctx, "nobody")


def test_a_mirror_is_written_again_where_the_champion_moved_meanwhile(three, monkeypatch):
    """Somebody rolls back between this one's look at the pointer and its word to the registry."""
    alias, others = three.ctx.tracker.alias, []

    def late(name, which, version):
        if not others:
            others.append(version)
            three.roll_back()
        return alias(name, which, version)

    monkeypatch.setattr(three.ctx.tracker, "alias", late)
    register.mirror(three.ctx, three.name)
    assert others == ["3"]
    assert three.champion() == "2"


def test_what_is_gone_is_passed_over_and_what_was_altered_is_not_promoted(three):
    client, place = three.ctx.tracker.client, three.ctx.placement.mlflow_artifacts
    client.delete_model_version(three.name, "2")
    three.roll_back()
    assert three.champion() == "1"
    for wrong in ("2", "7"):
        said = rf"E_CONFIG VERSION: there is no such version .*\(got '{three.name} {wrong}'\); allowed: 1, 3"
        with pytest.raises(ConfigError, match=said):
            three.promote(wrong)
    client.set_model_version_tag(three.name, "3", "millrace.verified", "false")
    with pytest.raises(ConfigError, match="E_CONFIG VERSION: there is no such version that a run registered whole"):
        three.promote("3")
    client.set_model_version_tag(three.name, "3", "millrace.verified", "true")
    # The last test of the shared registry: every copy in it is altered.
    for path in place.rglob("weights.safetensors"):
        path.write_bytes(b"altered")
    with pytest.raises(IntegrityError, match=f"E_DIGEST {three.name} version 3: the registry has other bytes"):
        three.promote("3")
    assert three.champion() == "1"


def test_promotions_lie_on_top_of_each_other():
    def one(content, **more):
        return Champion(content=content, fingerprint=content, version="1", run="r", **more)

    moves = [(1, one("a")), (2, one("b")), (3, one("a", how="rollback", to=1, instead="b")), (4, one("c"))]
    assert [epoch for epoch, _ in standing(moves)] == [1, 4]
    assert [bool(withdrawn(moves, name)) for name in "abcd"] == [False, True, False, False]
    moves += [(5, one("b")), (6, one("c", how="rollback", to=4, instead="b")), (7, one("b"))]
    assert [epoch for epoch, _ in standing(moves)] == [1, 4, 7]
    assert not withdrawn(moves, "b"), "it came back"
