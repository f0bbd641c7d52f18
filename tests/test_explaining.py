"""What reports say beside the metrics: explanations, simpler models, harmed rows, on data of which the truth is known."""

import json
import sys

import numpy as np
import pytest

from components import evaluate
from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.errors import EnvironmentFault
from components.contracts.placement import Placement
from components.contracts.spec import OWN_COLUMNS
from components.evaluate import EvaluateConfig
from components.evaluate.peers import peers_beside
from components.evaluate.robustness import ROWS, WHOLE, robustness_of
from components.explanations.attribution import Explained, emptied
from components.explanations.units import Seen
from components.features.category import Category
from components.features.label import Label
from components.features.number import Number
from components.features.series import Series
from components.features.text import Text
from components.features.value import Value
from components.models.mlp import Mlp
from components.models.recurrent import Recurrent
from components.objectives.regression import Regression
from components.packages import open_package
from components.raw_rows import accepted, folder_of, sampled, truth_of
from components.sources.files import FilesSource
from components.sources.windows import WindowsSource
from components.train import TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import SHORT, Recipe, image_recipe, packaged, write_images

WORDS = ["one", "two", "three", "four", "five", "six", "seven"]


def write(folder, header, lines):
    folder.mkdir()
    (folder / "rows.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder


def planted(folder):
    """The label hangs on `good` alone, and a little on `kind`; `idle` and `none` say nothing."""
    random = np.random.default_rng(3)
    lines = []
    for _ in range(900):
        good, idle = random.normal(size=2)
        kind, none = random.choice(["a", "b"]), random.choice(["x", "y", ""])
        lines.append(
            f"{good:.4f},{idle:.4f},{kind},{none},{'yes' if good + (0.4 if kind == 'a' else -0.4) > 0 else 'no'}"
        )
    return Recipe(
        source=FilesSource(uri=str(write(folder, "good,idle,kind,none,label", lines))),
        checks=ValidateConfig(columns={"good": ColumnCheck(type="float64"), "idle": ColumnCheck(type="float64")}),
        features=(Number(columns=("good", "idle")), Category(columns=("kind", "none"))),
        target=Label(column="label"),
        model=Mlp(hidden=(16,)),
        settings=TrainSettings(max_epochs=15, batch_size=32, learning_rate=0.02),
    )


def reviews(folder):
    """Texts of fillers with one word that says it all."""
    random = np.random.default_rng(4)
    lines = []
    for _ in range(500):
        label = random.choice(["bad", "good"])
        words = [*random.choice(WORDS, 8), {"bad": "awful", "good": "lovely"}[label]]
        lines.append(f"{' '.join(random.permutation(words))},{label}")
    return Recipe(
        source=FilesSource(uri=str(write(folder, "text,label", lines))),
        checks=ValidateConfig(),
        features=(Text(column="text", vocabulary=40, length=12),),
        target=Label(column="label"),
        model=Recurrent(cell="gru", hidden=12, embedding=8),
        settings=TrainSettings(max_epochs=8, batch_size=32, learning_rate=0.02),
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Each line's package, opened, with its dataset and context."""
    home = tmp_path_factory.mktemp("explaining")
    known = {}

    def make(name):
        if name not in known:
            ctx = open_context(Placement(home=home / name), name)
            ctx.compute = Compute(workers=1, synchronous=True)
            recipes = {
                "table": lambda: planted(home / "planted"),
                "text": lambda: reviews(home / "reviews"),
                "image": lambda: image_recipe(write_images(home / "images")),
            }
            dataset, package = packaged(recipes[name](), ctx)
            known[name] = (ctx, dataset, package, open_package(folder_of(package, ctx.store)))
        return known[name]

    return make


def test_rows(ctx, dataset, predictor):
    rows, _ = accepted(predictor, sampled(dataset, ctx.store, "test", ROWS))
    return rows.drop(list(OWN_COLUMNS)), truth_of(predictor, rows)


test_rows.__test__ = False


@pytest.mark.parametrize("name", ["table", "text", "image"])
def test_what_is_attributed_to_a_row_adds_up_to_how_far_its_score_moves(made, name):
    """The completeness of integrated gradients: no way in is forgotten and none is counted twice."""
    ctx, dataset, _, predictor = made(name)
    tensors = predictor.tensors(test_rows(ctx, dataset, predictor)[0].slice(0, 40))
    specs = [one.spec(known.state) for one, known in zip(predictor.features, predictor.fitted, strict=True)]
    network = Explained(predictor.network, specs)
    outputs, empty = network.outputs(tensors), network.outputs(emptied(tensors, specs))
    chosen = outputs.argmax(1)
    given = network.gradients(tensors, chosen)
    moved = np.array([
        (out - base)[at] - (out - base)[1 - at] for out, base, at in zip(outputs, empty, chosen, strict=True)
    ])
    added = sum(one.reshape(len(one), -1).sum(1) for one in given.values())
    assert np.abs(added - moved).max() < 0.05 * max(np.abs(moved).max(), 1)
    assert np.abs(moved).max() > 0.5
    seen = Seen(predictor, tensors, outputs, chosen, given)
    assert sum(one.weights.sum() for one in seen.units) == pytest.approx(added.sum(), rel=1e-3)


def test_the_ranking_of_a_table_says_what_was_planted(made):
    ctx, dataset, package, _ = made("table")
    report = evaluate.run(EvaluateConfig(search=False), package, dataset, None, ctx=ctx)
    told = report.explanation
    assert list(told.ranking)[:2] == ["good", "kind"]
    assert told.ranking["good"] > 0.4
    assert told.gain.low > 0
    record = ctx.store.artifact("evaluate", report.fingerprint).record()
    figures = json.loads(ctx.store.open(record, "evaluation.json").read_text())["figures"]
    (table,) = [one for one in figures if one.get("title") == "What the answers hang on"]
    said = {row[0]: row[1:] for row in table["rows"]}
    assert said["good"][1] == "+ the higher"
    assert said["kind"][1] == "+ a, − b"
    loss, low = (float(one) for one in said["good"][2].replace("(", "").split()[:2])
    assert loss > low > 0.15
    assert abs(float(said["idle"][2].split()[0])) < 0.05
    assert set(report.peers) == {
        "this model", "logistic regression", "random forest", "gradient boosting", "support vector machine",
    }  # fmt: skip
    assert all(one["accuracy"] > 0.85 for one in report.peers.values())
    assert report.peers["this model"]["accuracy"] == pytest.approx(report.metrics["accuracy"].value)
    assert report.peer_rows == report.rows


def test_the_words_that_say_it_are_found_and_marked(made):
    ctx, dataset, package, _ = made("text")
    report = evaluate.run(EvaluateConfig(search=False), package, dataset, None, ctx=ctx)
    assert report.metrics["accuracy"].value > 0.95
    assert report.explanation.gain.low > 0
    record = ctx.store.artifact("evaluate", report.fingerprint).record()
    figures = json.loads(ctx.store.open(record, "evaluation.json").read_text())["figures"]
    (words,) = [one for one in figures if one.get("title") == "Words of text"]
    assert (words["rows"][0][0], words["rows"][0][2]) == ("lovely", "awful")
    (texts,) = [one for one in figures if one["kind"] == "words"]
    for text in texts["texts"]:
        assert max(text["words"], key=lambda one: one[1])[0] == {"good": "lovely", "bad": "awful"}[text["answer"]]
    assert report.peers == {}, "a text is no table"
    assert "lovely</span>" in ctx.store.open(record, "report.html").read_text()


def test_pictures_have_their_heat_maps(made):
    ctx, dataset, package, _ = made("image")
    report = evaluate.run(EvaluateConfig(search=False, explain=3), package, dataset, None, ctx=ctx)
    record = ctx.store.artifact("evaluate", report.fingerprint).record()
    figures = json.loads(ctx.store.open(record, "evaluation.json").read_text())["figures"]
    single, whole = (one for one in figures if one["kind"] == "gallery")
    assert single["head"] == ["answer", "picture", "integrated gradients", "occlusion", "Grad-CAM"]
    assert len(single["rows"]) == 3
    assert np.array(single["rows"][0][2]).shape == (8, 8, 3)
    assert len(whole["rows"]) == 1
    assert ctx.store.open(record, "report.html").read_text().count('<img class="map"') == 3 * 4 + 1
    assert set(report.harmed) == {WHOLE, *(f"noise in pictures, {one} of white" for one in ("5 %", "20 %")),
                                  "blur, half a pixel", "blur, one pixel"}  # fmt: skip


def test_harm_does_what_it_says_and_only_to_what_the_model_reads(made):
    ctx, dataset, _, predictor = made("table")
    rows, truth = test_rows(ctx, dataset, predictor)
    found = dict(robustness_of(predictor, rows, truth))
    assert list(found) == [
        WHOLE, "noise in numbers, 10 % of the deviation", "noise in numbers, 50 % of the deviation", "cells missing, 10 %",
        "cells missing, 30 %",
    ]  # fmt: skip
    accuracies = [one["accuracy"] for one in found.values()]
    assert accuracies[0] > accuracies[2]
    assert accuracies[0] > accuracies[4] > 0.5
    ctx, dataset, _, predictor = made("text")
    rows, truth = test_rows(ctx, dataset, predictor)
    harmed = dict(robustness_of(predictor, rows, truth))
    assert harmed["typing errors, 20 % of the words"]["accuracy"] < harmed[WHOLE]["accuracy"]


def test_what_a_package_refuses_says_so(made):
    """Cells that may not be missing are not taken away; what it refuses all the same has no metrics."""
    ctx, dataset, _, predictor = made("table")
    rows, truth = test_rows(ctx, dataset, predictor)

    class Strict:
        raw, features, objective = predictor.raw, predictor.features, predictor.objective

        def predict(self, table):
            if any(one.null_count for one in table.columns[:2]):
                error = ValueError("refused")
                error.code = "E_ROW_REJECTED"
                raise error
            return predictor.predict(table)

    found = dict(robustness_of(Strict(), rows, truth))
    assert found["cells missing, 10 %"] == {}
    assert found[WHOLE]


def test_a_forecast_stands_beside_the_last_value(tmp_path, ctx):
    random = np.random.default_rng(5)
    walk = np.cumsum(random.normal(size=900))
    folder = write(tmp_path / "walk", "x", [f"{value:.4f}" for value in walk])
    source = WindowsSource(of={"kind": "files", "uri": str(folder)}, values=("x",), window=8, horizon=2)
    recipe = Recipe(
        source=source,
        checks=ValidateConfig(),
        features=(Series(columns=("x",), window=8, scale="training"),),
        target=Value(columns=("x_next",), steps=2),
        model=Mlp(hidden=(8,)),
        objective=Regression(),
        settings=TrainSettings(max_epochs=2, batch_size=32, monitor="absolute_error"),
    )
    dataset, package = packaged(recipe, ctx)
    predictor = open_package(folder_of(package, ctx.store))
    with peers_beside(predictor, dataset, ctx.store) as peers_of:
        peers, rows = peers_of()
    assert set(peers) == {"this model", "last value"}
    assert rows == dataset.rows["test"]
    # One step ahead of a walk is off by its step, two steps by the root of two of them.
    assert peers["last value"]["mse"] == pytest.approx(1.5, rel=0.25)


def test_of_several_numbers_their_mean_is_explained(tmp_path, ctx):
    """Each of two numbers hangs on a column of its own; neither is taken for a class."""
    random = np.random.default_rng(6)
    values = random.normal(size=(600, 3))
    lines = [f"{a:.4f},{b:.4f},{c:.4f},{2 * a:.4f},{2 * b:.4f}" for a, b, c in values]
    recipe = Recipe(
        source=FilesSource(uri=str(write(tmp_path / "two", "a,b,idle,low,high", lines))),
        checks=ValidateConfig(),
        features=(Number(columns=("a", "b", "idle")),),
        target=Value(columns=("low", "high")),
        model=Mlp(hidden=(8,)),
        objective=Regression(),
        settings=TrainSettings(max_epochs=8, batch_size=32, learning_rate=0.02, monitor="absolute_error"),
    )
    dataset, package = packaged(recipe, ctx)
    told = evaluate.run(EvaluateConfig(search=False), package, dataset, None, ctx=ctx).explanation
    assert set(list(told.ranking)[:2]) == {"a", "b"}
    assert all(0.35 < told.ranking[name] < 0.6 for name in "ab"), "they add up, and do not speak against each other"
    assert told.gain.low > 0


def test_without_captum_the_line_says_what_to_install(made, monkeypatch):
    ctx, dataset, package, _ = made("table")
    monkeypatch.setitem(sys.modules, "captum", None)
    with pytest.raises(EnvironmentFault, match="E_EXTRA_MISSING evaluate.explain: captum is not installed.*explain"):
        evaluate.run(EvaluateConfig(search=False, explain=1), package, dataset, None, ctx=ctx)
    assert evaluate.run(SHORT.model_copy(update={"worst": 1}), package, dataset, None, ctx=ctx).explanation is None
