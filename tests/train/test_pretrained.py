"""Training that begins with weights of another model: which are taken over, which stay, how fast they learn."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from components import train
from components.contracts.errors import ConfigError, DataError
from components.models.k_means import KMeans
from components.models.mlp import Mlp
from components.objectives.clustering import Clustering
from components.train import TrainConfig, TrainSettings
from components.train.pretrained import Pretrained
from components.train.starting import groups, thaw
from tests.line import prepared, registered, table_recipe, write_table

TRUNK = "encoder.trunk."
FIRST = "encoder.trunk.0."
QUICK = {"max_epochs": 3, "batch_size": 32, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def known(tmp_path_factory, shared_ctx):
    """A trained and registered model, its weights, and a function that trains another one on the same rows."""
    ctx = shared_ctx
    recipe = table_recipe(write_table(tmp_path_factory.mktemp("rows") / "t"), settings=TrainSettings(**QUICK))
    model, _, version = registered(recipe, ctx, "known")
    assert "champion" in version.aliases
    record = ctx.store.artifact("package", model.fingerprint).standing()
    folder = ctx.store.folder(record)
    dataset = prepared(recipe, ctx)

    def again(model=recipe.model, seed=5, **pretrained):
        settings = TrainSettings(**QUICK, seed=seed, pretrained=Pretrained(**pretrained))
        checkpoint = train.run(
            TrainConfig(model=model, objective=recipe.objective, settings=settings), dataset, ctx=ctx
        )
        return weights(ctx, checkpoint), checkpoint

    return load_file(next(folder.rglob("weights.safetensors"))), folder, again


def weights(ctx, checkpoint):
    return load_file(
        ctx.store.open(ctx.store.artifact("train", checkpoint.fingerprint).standing(), "weights.safetensors")
    )


def same(first, second, part=""):
    return [name for name in first if name.startswith(part) and (first[name] == second[name]).all()]


def test_frozen_weights_stay_and_others_learn(known):
    before, folder, again = known
    after, _ = again(weights=str(folder), parts=(TRUNK,), freeze={TRUNK: 99})
    assert same(before, after) == [name for name in before if name.startswith(TRUNK)]


def test_weights_learn_again_when_their_time_has_come(known):
    before, folder, again = known
    after, _ = again(weights=str(folder), freeze={TRUNK: 99, "encoder.embeddings": 1})
    assert set(same(before, after)) == {name for name in before if name.startswith(TRUNK)}


def test_a_registered_model_is_named_by_alias_or_version(known):
    before, folder, again = known
    named, by_alias = again(weights="models:/known@champion", freeze={"encoder": 99})
    numbered, by_version = again(weights="models:/known/1", freeze={"encoder": 99})
    _, by_folder = again(weights=str(folder), freeze={"encoder": 99})
    assert by_alias.fingerprint == by_version.fingerprint == by_folder.fingerprint, "the same weights, from anywhere"
    assert same(before, named, "encoder") == [name for name in before if name.startswith("encoder")]
    assert numbered.keys() == named.keys()


def test_a_longer_name_decides_the_step_size():
    network = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 1))
    found = groups(network, {"0": 0.1, "0.bias": 0.5}, 0.01)
    assert {round(one["lr"], 6): sum(p.numel() for p in one["params"]) for one in found} == {
        0.001: 6,
        0.005: 3,
        0.01: 4,
    }


def test_what_fits_by_name_and_shape_is_taken_over(known):
    before, folder, again = known
    after, _ = again(model=Mlp(hidden=(8, 4)), weights=str(folder), parts=(FIRST,), freeze={FIRST: 99})
    assert np.array_equal(before[f"{FIRST}weight"], after[f"{FIRST}weight"])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    "write", [torch.save, lambda one, path: path.write_bytes(pickle.dumps(one)), lambda _, path: path.touch()]
)
def test_bad_input_B47_weights_that_are_no_tensors_alone_are_not_read(known, tmp_path, write):
    _, _, again = known
    write(OrderedDict(one=torch.ones(2)), tmp_path / "weights.pt")
    with pytest.raises(DataError, match=r"E_CKPT_UNTRUSTED train.pretrained.weights: it is no .*got 'weights.pt'"):
        again(weights=str(tmp_path / "weights.pt"))


@pytest.mark.bad_input
def test_weights_that_do_not_fit_are_one_line(known, tmp_path, shared_ctx):
    _, folder, again = known
    with pytest.raises(ConfigError, match="E_CONFIG train.pretrained.weights: no weights are there"):
        again(weights=str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="E_CONFIG train.pretrained.weights: no weights .*got 'models:/known@none'"):
        again(weights="models:/known@none")
    with pytest.raises(ConfigError, match="E_CONFIG train.pretrained.parts: no weights of that name .*got 'trunk'"):
        again(weights=str(folder), parts=("trunk",))
    with pytest.raises(ConfigError, match="E_CONFIG train.pretrained.freeze: no weights of the model .*got 'x'"):
        again(weights=str(folder), freeze={"x": 1})
    settings = TrainSettings(pretrained=Pretrained(weights=str(folder)))
    config = TrainConfig(model=KMeans(), objective=Clustering(), settings=settings)
    with pytest.raises(ConfigError, match="E_CONFIG train.pretrained: a model of kind k-means is fitted in passes"):
        train.run(config, prepared(table_recipe(write_table(tmp_path / "u")), shared_ctx), ctx=shared_ctx)


def test_layers_that_wake_up_behave_as_in_training():
    """A frozen layer of normalisation keeps its means; from the epoch on in which it learns it has those of batches."""
    network = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 2))
    for epoch, learns in enumerate((False, False, True)):
        thaw(network, {"1.": 2}, epoch)
        assert network[1].training == network[1].weight.requires_grad == learns
        assert network[0].training
        assert network[2].weight.requires_grad


def test_players_have_rates_of_their_own():
    network = torch.nn.ModuleDict({"generator": torch.nn.Linear(2, 2), "critic": torch.nn.Linear(2, 1)})
    rates = {"critic.": 0.1, "critic.bias": 0.01, "generator.": 0.5}
    found = {
        id(one): group["lr"]
        for player in network
        for group in groups(network, rates, 2.0, f"{player}.")
        for one in group["params"]
    }
    named = {name: found[id(one)] for name, one in network.named_parameters()}
    assert named == pytest.approx({
        "generator.weight": 1.0,
        "generator.bias": 1.0,
        "critic.weight": 0.2,
        "critic.bias": 0.02,
    })
