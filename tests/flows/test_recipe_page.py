"""The page of what the recipes reach: a line for each, of the last time that it was run, on whatever it was run."""

import pytest

from flows.pipeline import load_recipe
from flows.recipe_files import names
from tests.e2e import recipes

FLOOR = {
    "recipe": "mine",
    "data": "built in",
    "metric": "accuracy",
    "value": 0.9,
    "floor": 0.8,
    "also": {"auroc": 0.95},
    "baseline": None,
    "seeds": [0.91, 0.89],
    "spread": 0.02,
    "training": 1.5,
    "hardware": "cpu: 2 × here",
}
SHORT = {
    "recipe": "large",
    "short": ["train.max_epochs=2"],
    "metric": "accuracy",
    "epochs": [0.3, 0.4],
    "training": 9.5,
    "hardware": "cpu: 2 × here",
}


@pytest.fixture
def page(tmp_path, monkeypatch):
    monkeypatch.setattr(recipes, "ROOT", tmp_path)
    monkeypatch.setattr(recipes, "PAGE", tmp_path / "recipes.md")
    return recipes.PAGE


def rows(page):
    return [line for line in page.read_text().splitlines() if line.startswith("| ") and "| metric |" not in line]


def test_a_line_stays_until_its_recipe_is_run_again(page):
    recipes.keep([FLOOR])
    recipes.keep([SHORT])
    recipes.keep([{**FLOOR, "recipe": "also"}, {**FLOOR, "value": 0.7}, {**FLOOR, "recipe": "none", "floor": 0.0}])
    assert rows(page) == [
        "| also | built in | accuracy (auroc 0.95) | 0.9 | 0.8 | – | 0.9100, 0.8900 | 0.02 | 1.5 s | cpu: 2 × here |",
        "| mine | built in | accuracy (auroc 0.95) | 0.7 | 0.8 | – | 0.9100, 0.8900 | 0.02 | 1.5 s | cpu: 2 × here |",
        "| none | built in | accuracy (auroc 0.95) | 0.9 | – | – | 0.9100, 0.8900 | 0.02 | 1.5 s | cpu: 2 × here |",
        "| large | train.max_epochs=2 | accuracy | 0.3000, 0.4000 | 9.5 s | cpu: 2 × here |",
    ]
    assert page.read_text().count("## Short runs") == 1


def test_a_gpu_s_line_takes_the_place_of_the_short_run(page):
    recipes.keep([SHORT])
    recipes.keep([{**FLOOR, "recipe": "large"}])
    assert len(rows(page)) == 1
    assert "Short runs" not in page.read_text()


@pytest.mark.parametrize(
    ("values", "passes"),
    [([0.3, 0.4, 0.5], True), ([0.3, 0.5, 0.4], False), ([0.3, 0.3], False), ([0.3], False)],
)
def test_a_short_run_has_to_rise_from_epoch_to_epoch(values, passes, monkeypatch):
    asked = []

    def call(*arguments):
        asked.extend(arguments)
        trial = {"history": [{"train_loss": 1.0, "validation_accuracy": one} for one in values]}
        return {"repeated": {"trials": [trial], "train_seconds": 3.21, "device": "cpu"}}

    monkeypatch.setattr(recipes, "call", call)
    line = recipes.rising({"name": "large", "metric": "accuracy", "short": ["train.max_epochs=2"]})
    assert (line["pass"], line["epochs"], line["training"]) == (passes, values, 3.2)
    assert asked == ["repeat", "large", "--seeds", "1", "--set", "train.max_epochs=2", "--json"]


@pytest.mark.parametrize("name", names(None))
def test_what_a_shipped_recipe_is_shown_by_can_be_run(name):
    proof = load_recipe(name).proof
    for changes in ((), proof.short, *((change,) for change in proof.vary)):
        load_recipe(name, changes)
    assert (proof.device == "gpu") == bool(proof.short)
