import re

import numpy as np
import pytest

from components import evaluate, gate, register
from components.adapters.compute import Compute
from components.adapters.pointers import Pointer
from components.adapters.snapshot_rows import read_rows
from components.adapters.store import Store
from components.adapters.tracking import Tracker
from components.context import open_context
from components.contracts.artifacts import ModelPackage
from components.contracts.errors import ConflictError
from components.contracts.placement import Placement
from components.packages import open_package
from components.register import RegisterConfig
from components.train import TrainSettings
from tests.line import SHORT, packaged, ran, registered, table_recipe, write_table


@pytest.fixture
def folder(tmp_path):
    return write_table(tmp_path / "table")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A context in which the toy table was registered once, and its recipe."""
    home = tmp_path_factory.mktemp("whole")
    context = open_context(Placement(home=home), "test")
    context.compute = Compute(workers=1, synchronous=True)
    recipe = table_recipe(write_table(home / "table"))
    return context, recipe, registered(recipe, context)


def test_a_line_ends_in_a_version_that_is_champion(whole):
    _, _, (model, report, version) = whole
    assert report.metrics["accuracy"].value > report.baseline["accuracy"]
    assert (version.name, version.version, version.aliases) == ("toy", 1, ("challenger", "champion"))
    assert version.package == model.fingerprint


def test_registering_again_makes_no_second_version_and_repairs_what_is_gone(whole):
    ctx, recipe, _ = whole
    ran(ctx)
    _, _, again = registered(recipe, ctx)
    assert (again.version, ran(ctx)) == (1, [])
    ctx.tracker.client.delete_registered_model_alias("toy", "champion")
    _, _, again = registered(recipe, ctx)
    assert (again.version, ctx.outcomes[-1].why, ran(ctx)) == (1, "champion", ["register"])
    ctx.tracker.client.delete_model_version("toy", "1")
    _, _, again = registered(recipe, ctx)
    assert (again.version, ran(ctx)) == (2, ["register"])
    assert ctx.tracker.aliased("toy", "champion") == "2"
    weights = next(ctx.placement.mlflow_artifacts.rglob("weights.safetensors"))
    for path in ctx.placement.mlflow_artifacts.rglob("weights.safetensors"):
        path.write_bytes(b"altered")
    assert weights.read_bytes() == b"altered"
    _, _, again = registered(recipe, ctx)
    assert (again.version, ctx.outcomes[-1].why.split(",")[0]) == (3, "the registered files were gone or altered")


def test_two_runs_that_register_one_package_at_once_find_one_version(whole, monkeypatch):
    ctx, recipe, _ = whole
    dataset, model = packaged(recipe, ctx)
    verdict = gate.run(recipe.gate, evaluate.run(SHORT, model, dataset, None, ctx=ctx))
    config, find, other = RegisterConfig(name="at-once"), Tracker.find_version, []

    def meanwhile(tracker, name, package):
        found = find(tracker, name, package)
        if not other:
            other.append("")
            other.append(register.run(config, verdict, model, ctx=ctx).version)
        return found

    monkeypatch.setattr(Tracker, "find_version", meanwhile)
    assert register.run(config, verdict, model, ctx=ctx).version == other[1] == 1
    assert ctx.tracker.versions("at-once") == {"1"}
    assert len(register.moves_of(ctx, "at-once")) == 1


def test_a_better_package_is_compared_with_the_champion_on_shared_rows(folder, ctx):
    poor = TrainSettings(max_epochs=1, batch_size=64, learning_rate=1e-6)
    _, first, _ = registered(table_recipe(folder, settings=poor), ctx)
    assert first.champion == {}
    good = table_recipe(folder, settings=TrainSettings(max_epochs=10, batch_size=16, learning_rate=0.03))
    _, second, version = registered(good, ctx)
    assert version.version == 2
    assert second.champion["accuracy"].value == pytest.approx(first.metrics["accuracy"].value)
    assert second.gain["accuracy"].value == pytest.approx(
        second.metrics["accuracy"].value - first.metrics["accuracy"].value
    )
    assert ran(ctx)
    registered(good, ctx)
    assert ran(ctx) == [], "being the champion itself does not change what a package is compared with"


def judged(recipe, ctx):
    """A package with the verdict that it gets against the champion which stands now."""
    dataset, model = packaged(recipe, ctx)
    report = evaluate.run(SHORT, model, dataset, register.rival(ctx, "toy", model), ctx=ctx)
    return gate.run(recipe.gate, report), model


@pytest.mark.faults
def test_of_two_runs_that_overlap_one_promotes_and_the_other_says_so(folder, ctx, monkeypatch):
    config = RegisterConfig(name="toy")
    recipes = [table_recipe(folder, settings=TrainSettings(max_epochs=1, seed=seed)) for seed in range(3)]
    both = [judged(recipe, ctx) for recipe in recipes[:2]]
    assert register.run(config, *both[0], ctx=ctx).version == 1
    with pytest.raises(ConflictError, match="E_CHAMPION_MOVED toy: version 1 became the champion"):
        register.run(config, *both[1], ctx=ctx)
    assert ctx.tracker.versions("toy") == {"1"}
    again = judged(recipes[1], ctx)
    assert again[0].report.rival == both[0][1].content
    late, move = judged(recipes[2], ctx), Pointer.move

    def overtaken(pointer, value, *, after):
        monkeypatch.setattr(Pointer, "move", move)
        assert register.run(config, *late, ctx=ctx).version == 3
        return move(pointer, value, after=after)

    monkeypatch.setattr(Pointer, "move", overtaken)
    with pytest.raises(ConflictError, match="version 3 became the champion"):
        register.run(config, *again, ctx=ctx)
    champions = [one.value["version"] for one in register.champion_pointer(ctx, "toy").history()]
    assert champions == ["1", "3"]
    assert ctx.tracker.aliased("toy", "champion") == "3"


def test_the_report_needs_no_network_and_escapes_what_data_say(tmp_path, ctx):
    folder = write_table(tmp_path / "t")
    for path in folder.iterdir():
        path.write_text(path.read_text().replace("yes.", "<script>alert(1)</script>."))
    _, report, _ = registered(table_recipe(folder, settings=TrainSettings(max_epochs=1, learning_rate=1e-6)), ctx)
    record = ctx.store.artifact("evaluate", report.fingerprint).record()
    page = ctx.store.open(record, "report.html").read_text()
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert not re.search(r"(src|href)=[\"']?(http|//)", page)
    assert "default-src 'none'" in page


def test_the_package_answers_raw_rows_alone_as_in_a_batch(whole):
    ctx, recipe, _ = whole
    dataset, model = packaged(recipe, ctx)
    predictor = open_package(package_folder(ctx.store, model))
    rows = read_rows(ctx.store, "validate", dataset.clean.valid.parts[0].key).select(["n", "c", "label"])
    answers = predictor.predict(rows).table()
    assert answers.column_names == ["prediction", "confidence", "probabilities"]
    right = np.array(answers["prediction"].to_pylist()) == np.array([cell[:-1] for cell in rows["label"].to_pylist()])
    assert right.mean() > 0.7
    alone = [predictor.predict(rows.slice(row, 1)).answers["probabilities"][0] for row in range(5)]
    assert np.allclose(alone, predictor.predict(rows).answers["probabilities"][:5], atol=1e-6)


def package_folder(store: Store, model: ModelPackage):
    return store.folder(store.artifact("package", model.fingerprint).record()) / "model"
