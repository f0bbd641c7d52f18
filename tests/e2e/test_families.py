"""What recipes of model families say beside their floors."""

import numpy as np
import pyarrow as pa
import pytest
import torch
from sklearn.decomposition import PCA

from components.context import open_context
from components.contracts.placement import Placement
from components.features.feature import tensor_of
from components.features.fitted import load_feature
from components.packages import open_package
from components.sources.digits import DigitsSource
from components.statistics.keys import TEST, TRAIN
from flows.line import STAGES
from flows.pipeline import load_recipe
from tests.line import loader_of

pytestmark = pytest.mark.e2e
WHOLE = "target={kind: none}"
EACH = {
    "image": "{kind: cnn, layers: [{kind: conv, channels: 32, norm: true}, {kind: conv, channels: 32, norm: true}]}",
    "sums": "{kind: mlp, hidden: [64]}",
    "runs": "{kind: recurrent, cell: gru, hidden: 32, embedding: 16, bidirectional: true, pool: max}",
}


class Shuffled(DigitsSource):
    """The same digits with labels that follow from nothing."""

    def read(self, partition):
        rows = super().read(partition)
        labels = np.random.default_rng(0).permutation(rows.table["label"])
        at = rows.table.column_names.index("label")
        return type(rows)(table=rows.table.set_column(at, "label", pa.array(labels)), numbers=rows.numbers)


@pytest.fixture(scope="module")
def ctx(tmp_path_factory):
    return open_context(Placement(home=tmp_path_factory.mktemp("home")), "families")


def ran(config, ctx, last="evaluate"):
    """What each step gave."""
    found = {}
    for name, stage in STAGES.items():
        given = [found[one] for one in stage.takes]
        found[name] = stage.run(stage.config(config), *given, *([None] if name == "evaluate" else []), ctx=ctx)
        if name == last:
            return found
    raise AssertionError(last)


def tensors(dataset, ctx, split):
    """The one input, a row each."""
    (fitted,) = dataset.features
    feature = load_feature(fitted)
    batches = loader_of(dataset, ctx, split, 4096).epoch(0)
    return np.concatenate([feature.apply(tensor_of(one[feature.name]), fitted.state).flatten(1) for one in batches])


@pytest.mark.parametrize("recipe", ["digits-autoencoder", "digits-vae"])
def test_a_code_says_more_than_as_many_principal_components(recipe, ctx):
    changes = [WHOLE, *(["objective.divergence=0.001"] if recipe == "digits-vae" else [])]
    config = load_recipe(recipe, changes)
    found = ran(config, ctx)
    training, test = (tensors(found["preprocess"], ctx, split) for split in (TRAIN, TEST))
    components = PCA(config.model.code).fit(training)
    theirs = ((components.inverse_transform(components.transform(test)) - test) ** 2).mean()
    assert found["evaluate"].metrics["mse"].value < theirs


def accuracy(ctx, changes, source=None):
    config = load_recipe("multimodal-small", changes)
    if source is not None:
        config = config.model_copy(update={"source": source})
    return ran(config, ctx)["evaluate"].metrics["accuracy"].value


def alone(name):
    """The changes that leave one input."""
    features = next(line for line in FEATURES if f"name: {name}" in line or (name == "image" and "kind: image" in line))
    return [f"features=[{features}]", f"model={EACH[name]}"]


FEATURES = [
    "{kind: image, column: image, height: 4, width: 8, channels: 1}",
    "{kind: vector, name: sums, column: sums, length: 8, standardise: true}",
    "{kind: text, name: runs, column: runs, vocabulary: 100, min_count: 1, length: 16}",
]


def test_three_inputs_say_more_than_each_of_them(ctx):
    together = accuracy(ctx, [])
    assert together > max(accuracy(ctx, alone(name)) for name in EACH)


def test_labels_that_follow_from_nothing_leave_the_inputs_equal(ctx):
    """No input knows more of them than chance: nothing but the label's own column holds it."""
    quick = ["train.max_epochs=5", "checks={}"]
    source = Shuffled(form="pieces")
    found = [accuracy(ctx, [*quick, *changes], source) for changes in ([], *map(alone, EACH))]
    assert max(found) < 0.1 + 3 * np.sqrt(0.1 * 0.9 / 360)


def loaded(package, ctx):
    """The predictor of a package."""
    return open_package(ctx.store.folder(ctx.store.artifact("package", package.fingerprint).standing()) / "model")


def test_a_classifier_that_never_saw_them_finds_all_digits_among_drawn_ones(ctx):
    drawer = loaded(ran(load_recipe("digits-gan"), ctx)["package"], ctx)
    judge = loaded(ran(load_recipe("digits-cnn"), ctx)["package"], ctx)
    with torch.inference_mode():
        drawn = drawer.network.sample(1000, torch.Generator().manual_seed(0)) * 255
        ((feature, fitted),) = zip(judge.features, judge.fitted, strict=True)
        (scores,) = judge.network({feature.name: feature.apply(drawn, fitted.state)}).values()
        sure, found = scores.softmax(1).max(1)
    shares = torch.bincount(found, minlength=10) / len(found)
    assert (shares > 0).all(), "every digit"
    assert shares.max() <= 0.2, "none is drawn all the time"
    assert sure.mean() >= 0.85, "they look like digits"
