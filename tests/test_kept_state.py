"""Byte-pair tokens stay as rows change, until `refit` or another config says otherwise."""

import numpy as np
import pytest

from components import preprocess
from components.features.text import Text
from components.sources.files import FilesSource
from components.validate import ColumnCheck, ValidateConfig
from flows.collection import roots
from tests.line import cleaned_line, table_recipe

WORDS = ["low", "lower", "lowest", "new", "newer", "newest", "wide", "wider", "widest"]


def written(path, words, rows=60, seed=0):
    drawn = np.random.default_rng(seed)
    lines = [f"{' '.join(drawn.choice(words, 6))},{drawn.choice(['yes', 'no'])}" for _ in range(rows)]
    path.write_text("\n".join(["t,label", *lines]) + "\n")


@pytest.fixture
def prepared_again(tmp_path, ctx):
    """Prepares the rows of a folder of texts as they are now."""
    folder = tmp_path / "texts"
    folder.mkdir()
    written(folder / "0.csv", WORDS)

    def again(refit=0, rerun=0, **changes):
        settings = {"column": "t", "tokens": "byte-pair", "vocabulary": 40, "length": 8, **changes}
        checks = ValidateConfig(columns={"t": ColumnCheck(type="string")})
        recipe = table_recipe(folder, checks=checks, cleaning=(), source=FilesSource(uri=str(folder)))
        config = preprocess.PreprocessConfig(features=(Text(**settings),), target=recipe.target, refit=refit)
        ctx.rerun = {"preprocess": rerun}
        return preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)

    return folder, again


def tokens(dataset):
    return dataset.features[0].state["tokenizer"]


def test_tokens_stay_as_rows_come_and_the_dataset_says_where_they_are_from(prepared_again):
    folder, again = prepared_again
    first = again()
    written(folder / "1.csv", ["strange", "stranger", "strangest"], seed=1)
    second = again()
    assert second.rows["train"] > first.rows["train"]
    assert tokens(second) == tokens(first)
    assert (first.fitted_on, second.fitted_on) == ({}, {"text": first.clean.content})
    assert again().fingerprint == second.fingerprint, "nothing changed"
    written(folder / "2.csv", ["odd", "odder"], seed=2)
    third = again()
    assert third.fitted_on == second.fitted_on, "the first snapshot, not the one before"
    assert third.content != second.content


@pytest.mark.parametrize("change", [{"refit": 1}, {"rerun": 1}, {"vocabulary": 41}])
def test_they_are_found_anew_where_that_is_asked_for(prepared_again, change):
    folder, again = prepared_again
    first = again()
    written(folder / "1.csv", ["strange", "stranger", "strangest"], seed=1)
    anew = again(**change)
    assert anew.fitted_on == {}
    assert tokens(anew) != tokens(first)
    written(folder / "2.csv", ["odd", "odder"], seed=2)
    assert tokens(again(**change)) == tokens(anew)


def test_rows_that_come_back_are_the_dataset_of_before(prepared_again):
    folder, again = prepared_again
    first = again()
    written(folder / "1.csv", ["strange", "stranger"], seed=1)
    again()
    (folder / "1.csv").unlink()
    assert again().fingerprint == first.fingerprint


def test_words_are_counted_in_every_change(prepared_again):
    folder, again = prepared_again
    first = again(tokens="word")
    written(folder / "1.csv", ["strange", "stranger"], seed=1)
    second = again(tokens="word")
    assert second.fitted_on == {}
    assert tokens(second) != tokens(first)


def test_what_fitted_them_outlives_collection(prepared_again, ctx):
    folder, again = prepared_again
    first = again()
    written(folder / "1.csv", ["strange", "stranger"], seed=1)
    again()
    assert first.fingerprint in roots(ctx.store, ctx.tracker, keep_days=0).names


def test_a_trial_takes_what_its_recipe_keeps_and_keeps_nothing(prepared_again, ctx):
    folder, again = prepared_again
    recipe, ctx.name = ctx.name, "trials"
    ctx.kept = recipe
    first = again()
    written(folder / "1.csv", ["strange", "stranger", "strangest"], seed=1)
    assert tokens(again()) != tokens(first), "a trial keeps nothing"
    ctx.name, ctx.kept = recipe, ""
    kept = again()
    written(folder / "2.csv", ["odd", "odder"], seed=2)
    ctx.name, ctx.kept = "trials", recipe
    assert tokens(again()) == tokens(kept), "but takes over what its recipe has kept"
