"""A champion while registering is killed anywhere, and while fifty processes promote and roll back at once."""

import json
import os
import random
import traceback
from pathlib import Path

import mlflow
import pytest

from components import gate, register, smoke
from components.adapters.compute import Compute
from components.adapters.model_registry import CARD
from components.context import open_context
from components.contracts.artifacts import Approval
from components.contracts.errors import IntegrityError, MillraceError
from components.contracts.placement import Placement
from components.evaluate import run as evaluate
from components.register import RegisterConfig
from components.train import TrainSettings
from tests.faults.kills import killed_at
from tests.line import SHORT, packaged, table_recipe, write_table

EXTRA = [
    (mlflow.MlflowClient, name)
    for name in (
        "create_logged_model",
        "log_model_artifacts",
        "create_model_version",
        "update_model_version",
        "log_model_artifact",
        "set_model_version_tag",
        "set_registered_model_alias",
    )
]
PROCESSES, VERSIONS = 50, 4
ASKED = Approval(who="ada", why="tried")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A home, and packages of seeds with their datasets. Who forks must not have opened the registry: children do."""
    home = tmp_path_factory.mktemp("home")
    ctx = context(home, "maker")
    folder = write_table(home / "table")
    recipes = [table_recipe(folder, settings=TrainSettings(max_epochs=1, seed=seed)) for seed in range(VERSIONS)]
    return home, [packaged(recipe, ctx) for recipe in recipes]


def context(home, name):
    ctx = open_context(Placement(home=home), name)
    ctx.compute = Compute(workers=1, synchronous=True)
    return ctx


def judged(ctx, dataset, model, name):
    """The verdict of a package beside the champion that stands now."""
    report = evaluate(SHORT, model, dataset, register.rival(ctx, name, model), ctx=ctx)
    return gate.run(gate.GateConfig(), report)


def registering(home, name, dataset, model):
    # Children that come one after another ask the clean process of their parent; one of its own takes each seconds.
    smoke._running.owner = os.getpid()
    ctx = context(home, "run")
    return register.run(RegisterConfig(name=name), judged(ctx, dataset, model, name), model, ctx=ctx)


def child(work, place=None):
    """Do it in a process of its own; what it returned, or the code of its error. With a `place`, only start it."""
    there, path = os.fork(), place
    if there == 0:
        try:
            said = {"returned": work()}
        except MillraceError as error:
            said = {"error": error.code}
        except BaseException:
            said = {"error": traceback.format_exc()}
        path.write_text(json.dumps(said))
        os._exit(0)
    return there


def answer(work, place):
    os.waitpid(child(work, place), 0)
    said = json.loads(place.read_text())
    assert "error" not in said, said
    return said["returned"]


def found(home, name):
    """What pointer and registry say."""
    ctx = context(home, "look")
    return {
        "versions": sorted(ctx.tracker.versions(name)),
        "alias": ctx.tracker.aliased(name, "champion"),
        "moves": [[epoch, one.model_dump()] for epoch, one in register.moves_of(ctx, name)],
        "verified": [ctx.tracker.version_tags(name, one).get("millrace.verified") for one in "12"],
        "cards": [bool(ctx.tracker.version_tags(name, one).get("millrace.card")) for one in "12"],
    }


@pytest.mark.faults
def test_fault_F34_a_killed_registration_leaves_one_version_and_one_champion(made, tmp_path, tally):
    home, ((first_rows, first), (rows, model), *_) = made
    with tally("F34") as count:
        for number in range(1, 100):
            name = f"f34-{number}"
            answer(lambda name=name: registering(home, name, first_rows, first).version, tmp_path / "one")
            if not killed_at(number, lambda name=name: registering(home, name, rows, model), EXTRA):
                break
            count.injected += 1
            count.hit += 1
            assert answer(lambda name=name: registering(home, name, rows, model).version, tmp_path / "two") == 2
            count.holds(check_one, answer(lambda name=name: found(home, name), tmp_path / "found"))
        assert count.injected > 10, "before and after each of its steps"


def check_one(said):
    assert said["versions"] == ["1", "2"]
    assert said["alias"] == said["moves"][-1][1]["version"] == "2"
    assert [one["version"] for _, one in said["moves"]] == ["1", "2"]
    assert said["verified"] == ["true", "true"]
    assert said["cards"] == [True, True]


@pytest.mark.faults
def test_fault_F36_what_was_altered_in_the_registry_is_not_promoted_and_the_champion_stays(made, tmp_path, tally):
    """Each file of a version is cut short, has a bit turned, and is gone."""
    home, ((first_rows, first), (rows, model), *_) = made
    for its_rows, one in ((first_rows, first), (rows, model)):
        answer(lambda r=its_rows, m=one: registering(home, "f36", r, m).version, tmp_path / "made")
    answer(lambda: register.roll_back(context(home, "back"), "f36", ASKED), tmp_path / "back")
    folder = Path(answer(lambda: str(files_of(context(home, "look"), "f36", "2")), tmp_path / "folder"))
    wanted = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != CARD)
    assert {"MLmodel", "weights.safetensors", "model.json", "predictor.py"} <= {path.name for path in wanted}
    with tally("F36") as count:
        answer(lambda: promoted_while_altered(home, wanted), tmp_path / "said")
        count.injected = count.hit = 3 * len(wanted)
        count.holds(check_stays, answer(lambda: found(home, "f36"), tmp_path / "found"))
        # Whole again, it may be promoted; and a run mends what is gone by a version of its own.
        assert answer(lambda: register.promote_by(context(home, "p"), "f36", "2", ASKED), tmp_path / "promoted")
        wanted[-1].unlink()
        assert answer(lambda: registering(home, "f36", rows, model).version, tmp_path / "mended") == 3
        assert answer(lambda: found(home, "f36"), tmp_path / "found")["alias"] == "3"


def files_of(ctx, name, version):
    """Where the registry keeps a version's files."""
    model = ctx.tracker.model_id(name, version)
    (found,) = [path for path in ctx.placement.mlflow_artifacts.rglob(model) if path.is_dir()]
    return found / "artifacts" if (found / "artifacts").is_dir() else found


def promoted_while_altered(home, wanted):
    ctx = context(home, "altered")
    champion = files_of(ctx, "f36", "1")
    before = mlflow.pyfunc.load_model(str(champion))
    rows = before.input_example
    answers = before.predict(rows).to_json()
    for path in wanted:
        body = path.read_bytes()
        for how in ("short", "turned", "gone"):
            path.unlink()
            if how == "short":
                path.write_bytes(body[:-1])
            elif how == "turned":
                path.write_bytes(bytes([*body[:-1], body[-1] ^ 1]) if body else b"x")
            with pytest.raises(IntegrityError, match="E_DIGEST f36 version 2"):
                register.promote_by(ctx, "f36", "2", ASKED)
            path.write_bytes(body)
        assert ctx.tracker.aliased("f36", "champion") == "1"
    assert mlflow.pyfunc.load_model("models:/f36@champion").predict(rows).to_json() == answers


def check_stays(said):
    assert said["alias"] == said["moves"][-1][1]["version"] == "1"
    assert [one["how"] for _, one in said["moves"]] == ["run", "run", "rollback"]


@pytest.mark.faults
def test_fault_F35_fifty_processes_promote_and_roll_back_at_once(made, tmp_path, tally):
    home, both = made
    name = "f35"
    for rows, model in both[:-1]:
        answer(lambda rows=rows, model=model: registering(home, name, rows, model).version, tmp_path / "made")
    began = answer(lambda: found(home, name), tmp_path / "began")["moves"]
    go = tmp_path / "go"

    def one(number):
        drawn, ctx = random.Random(number), context(home, f"p{number}")
        approval = Approval(who=f"p{number}", why="tried")
        rows, model = both[-1]
        # A run that began before all others moved the champion.
        verdict = judged(ctx, rows, model, name) if number % 5 == 0 else None
        ctx.tracker.versions(name)
        (tmp_path / f"ready-{number}").touch()
        while not go.exists():
            os.sched_yield()
        if verdict is not None:
            return register.run(RegisterConfig(name=name), verdict, model, ctx=ctx).version
        if number % 5 < 3:
            return register.roll_back(ctx, name, approval)
        return register.promote_by(ctx, name, str(drawn.randint(1, VERSIONS)), approval)

    with tally("F35") as count:
        places = {number: tmp_path / f"said-{number}" for number in range(PROCESSES)}
        running = [child(lambda number=number: one(number), place) for number, place in places.items()]
        while len(list(tmp_path.glob("ready-*"))) < PROCESSES:
            assert not any(place.exists() for place in places.values()), [p.read_text() for p in places.values()]
        go.touch()
        for process in running:
            os.waitpid(process, 0)
        said = {f"p{number}": json.loads(place.read_text()) for number, place in places.items()}
        count.injected, count.hit = PROCESSES, len(said)
        ended = answer(lambda: found(home, name), tmp_path / "ended")
        count.holds(check_history, began, ended, said)


def check_history(began, ended, said):
    """Epochs have no gap; each move was right for the moves before it; nobody moved twice or was told otherwise."""
    moves = ended["moves"]
    assert [epoch for epoch, _ in moves] == list(range(1, len(moves) + 1))
    assert moves[: len(began)] == began
    assert len(moves) > len(began) + 3
    assert ended["alias"] == moves[-1][1]["version"]
    names = [one["run"] for _, one in moves[len(began) :]]
    assert len(set(names)) == len(names)
    errors = {name: one["error"] for name, one in said.items() if "error" in one}
    assert set(errors.values()) <= {"E_CONFIG", "E_CHAMPION_MOVED"}, errors
    assert not set(names) & set(errors)
    stack, standing = [], []
    for epoch, one in moves:
        if one["how"] == "rollback":
            # The newest below the top that is another package.
            assert one["instead"] == stack[-1][1]
            while stack and stack[-1][1] == one["instead"]:
                stack.pop()
            assert (stack[-1][0], stack[-1][1]) == (one["to"], one["content"])
        else:
            assert not standing or standing[-1] != (one["content"], one["version"]), "a move that moves nothing"
            stack.append((epoch, one["content"]))
        standing.append((one["content"], one["version"]))
