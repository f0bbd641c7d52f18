"""Distillation: a smaller network learns from what a registered one says of the same rows."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from components import train
from components.contracts.errors import ConfigError
from components.features.number import Number
from components.models.linear import Linear
from components.models.mlp import Mlp
from components.packages import PARTS
from components.raw_rows import package_folder
from components.registered import find
from components.train import TrainConfig, TrainSettings
from components.train.teaching import Teacher, distilled, teacher_of
from tests.line import packaged, prepared, registered, table_recipe, write_table

QUICK = {"max_epochs": 3, "batch_size": 32, "learning_rate": 0.02}


@pytest.fixture(scope="module")
def known(tmp_path_factory, shared_ctx):
    """A registered teacher, its recipe, and the rows that it learnt from."""
    folder = write_table(tmp_path_factory.mktemp("rows") / "t")
    recipe = table_recipe(folder, model=Mlp(hidden=(32,)), settings=TrainSettings(**QUICK | {"max_epochs": 8}))
    registered(recipe, shared_ctx, "teacher")
    return recipe, prepared(recipe, shared_ctx), folder


def learnt(known, ctx, **teacher):
    recipe, dataset, _ = known
    asked = Teacher(model="teacher", **teacher) if teacher else None
    settings = TrainSettings(**QUICK, teacher=asked)
    config = TrainConfig(model=Linear(), objective=recipe.objective, settings=settings)
    return train.run(config, dataset, ctx=ctx)


def test_who_learns_from_a_teacher_alone_ends_nearer_to_what_it_says(known, shared_ctx):
    """Than who learns from the targets: the teacher's probabilities are what is compared, on all rows."""
    folder = package_folder(shared_ctx.store, find(shared_ctx, "teacher").fingerprint)
    teacher = teacher_of(str(folder))
    away = {}
    for name, how in {"targets": {}, "teacher": {"share": 1.0, "temperature": 1.0}}.items():
        settings = TrainSettings(**QUICK | {"max_epochs": 8}, teacher=Teacher(model="teacher", **how) if how else None)
        small = table_recipe(known[2], model=Mlp(hidden=(4,)), settings=settings)
        _, package = packaged(small, shared_ctx)
        place = shared_ctx.store.folder(shared_ctx.store.artifact("package", package.fingerprint).standing()) / "model"
        draw = torch.Generator().manual_seed(0)
        rows = {
            "numbers": torch.randn(500, 1, generator=draw),
            "categories": torch.randint(0, 3, (500, 1), generator=draw),
        }
        with torch.no_grad():
            ours, theirs = (one(rows)["label"].log_softmax(1) for one in (teacher_of(str(place)), teacher))
        away[name] = float(functional.kl_div(ours, theirs, log_target=True, reduction="batchmean"))
    assert away["teacher"] < away["targets"]
    assert (folder / PARTS / "model.json").exists()


def test_a_share_of_the_loss_is_the_teachers_and_its_weights_are_not_kept(known, shared_ctx):
    alone, half = learnt(known, shared_ctx), learnt(known, shared_ctx, share=0.5)
    assert alone.content != half.content
    assert alone.history[0]["train_loss"] != half.history[0]["train_loss"]
    sizes = [one.files["weights.safetensors"] for one in (alone, half)]
    assert sizes[0] != sizes[1]
    record = shared_ctx.store.artifact("train", half.fingerprint).standing()
    from safetensors.numpy import load_file

    names = load_file(shared_ctx.store.open(record, "weights.safetensors"))
    assert not [one for one in names if "teacher" in one]


def test_another_teacher_is_another_training(known, shared_ctx):
    """The registered version's content is an input of the step, whatever it is called."""
    first = learnt(known, shared_ctx, share=0.5)
    assert learnt(known, shared_ctx, share=0.5).fingerprint == first.fingerprint
    registered(
        table_recipe(known[2], model=Mlp(hidden=(32,)), settings=TrainSettings(**QUICK | {"seed": 9})),
        shared_ctx,
        "teacher",
    )
    assert learnt(known, shared_ctx, share=0.5).fingerprint != first.fingerprint
    assert learnt(known, shared_ctx, share=0.5).fingerprint == learnt(known, shared_ctx, share=0.5).fingerprint


def test_the_loss_is_the_divergence_times_the_squared_temperature():
    ours, theirs = torch.randn(6, 3), torch.randn(6, 3)
    found = distilled("classification", {"y": ours}, {"y": theirs}, None, 3.0)
    p, q = (theirs / 3).softmax(1), (ours / 3).softmax(1)
    assert found.item() == pytest.approx(9 * (p * (p / q).log()).sum(1).mean().item(), rel=1e-5)
    assert distilled("classification", {"y": ours}, {"y": ours}, None, 2.0).item() == pytest.approx(0, abs=1e-6)
    weights = torch.tensor([1.0, 0, 0, 0, 0, 0])
    only = distilled("classification", {"y": ours}, {"y": theirs}, weights, 1.0)
    first = distilled("classification", {"y": ours[:1]}, {"y": theirs[:1]}, None, 1.0)
    assert only.item() == pytest.approx(first.item() / 6, rel=1e-5)
    assert distilled("regression", {"y": ours}, {"y": theirs}, None, 1.0).item() == pytest.approx(
        float(((ours - theirs) ** 2).mean()), rel=1e-5
    )
    some = distilled("multi-label", {"y": ours}, {"y": theirs}, None, 1.0).item()
    assert some == pytest.approx(float(functional.binary_cross_entropy_with_logits(ours, theirs.sigmoid())), rel=1e-5)


def test_a_teacher_that_reads_or_tells_something_else_is_refused(known, shared_ctx, tmp_path):
    recipe, _, folder = known
    other = prepared(table_recipe(folder, features=(Number(columns=("n",)),)), shared_ctx)
    settings = TrainSettings(**QUICK, teacher=Teacher(model="teacher"))
    config = TrainConfig(model=Linear(), objective=recipe.objective, settings=settings)
    with pytest.raises(ConfigError, match="E_CONFIG train.teacher: the teacher reads other features"):
        train.run(config, other, ctx=shared_ctx)
    settings = TrainSettings(**QUICK, teacher=Teacher(model="nobody@champion"))
    with pytest.raises(ConfigError, match="E_CONFIG train.teacher.model: no model of that name was ever champion"):
        train.run(config.model_copy(update={"settings": settings}), known[1], ctx=shared_ctx)
    assert np.isfinite(learnt(known, shared_ctx).metrics["validation_loss"])
