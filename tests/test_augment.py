"""Augmentations: each one's effect and draws, mixed losses, and that training that goes on sees the same."""

import pytest
import torch

from components import train as train_step
from components.augment import KINDS
from components.augment.augmentation import augmented, check_features, check_inputs, generator
from components.augment.images import Affine, Colour, Crop, Cutout, Flip
from components.augment.mixes import Cutmix, Mixup
from components.augment.sounds import Mask, Noise
from components.augment.tokens import TokenDropout
from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec
from components.features.text import Text
from components.objectives.classification import Classification
from components.train import TrainConfig, job_of
from components.train.data import DatasetModule
from components.train.module import Learner
from tests.line import image_recipe, prepared, write_images

CASES = [
    Affine(rotation=20, zoom=0.2, shear=0.1),
    Colour(),
    Crop(pixels=2),
    Cutmix(),
    Cutout(share=0.5),
    Flip(),
    Mask(feature="image", frames=0.5, bands=0.5),
    Mixup(),
    Noise(feature="image"),
    TokenDropout(share=0.5),
]


def drawn(*numbers):
    return generator(torch.device("cpu"), *numbers)


def inputs_of(rows=32):
    torch.manual_seed(0)
    return {"image": torch.randn(rows, 3, 8, 6), "text": torch.randint(0, 9, (rows, 7))}


def test_every_kind_has_a_case():
    assert {one.kind for one in CASES} == set(KINDS)


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.kind)
def test_an_augmentation_keeps_shapes_changes_something_and_hangs_on_its_draws_alone(case):
    before = inputs_of()
    kept = {name: value.clone() for name, value in before.items()}
    found, other, weight = augmented([case], before, drawn(1, 2))
    again, *_ = augmented([case], before, drawn(1, 2))
    else_, *_ = augmented([case], before, drawn(1, 3))
    assert all(torch.equal(before[name], kept[name]) for name in before), "the batch itself stays"
    changed = [name for name in before if not torch.equal(found[name], before[name])]
    assert changed == (["text"] if case.kind == "token-dropout" else ["image"])
    for name, value in before.items():
        assert found[name].shape == value.shape
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name], again[name])
    assert not torch.equal(found[changed[0]], else_[changed[0]])
    assert (other is None) == (case.kind not in {"mixup", "cutmix"}) == (weight is None)


def test_images_are_mirrored_moved_and_cut():
    image = inputs_of()["image"]
    flipped = Flip().apply(image, drawn(0))
    which = [torch.equal(one, other.flip(2)) for one, other in zip(flipped, image, strict=True)]
    same = [torch.equal(one, other) for one, other in zip(flipped, image, strict=True)]
    assert 4 < sum(which) < 28
    assert [not one for one in which] == same
    moved = Crop(pixels=2).apply(image, drawn(0))
    padded = torch.nn.functional.pad(image, [2] * 4, mode="reflect")
    for row in range(8):
        places = [padded[row, :, y : y + 8, x : x + 6] for y in range(5) for x in range(5)]
        assert sum(torch.equal(moved[row], one) for one in places) == 1
    cut = Cutout(share=0.5).apply(image, drawn(0))
    gone = (cut == 0).all(1).flatten(1).sum(1)
    assert gone.min() >= 1
    assert gone.max() == 9


def test_turns_zooms_and_leans_are_those_of_their_matrices():
    whole = torch.zeros(1, 1, 33, 33)
    whole[0, 0, 16, 23] = 1
    rows = whole.repeat(64, 1, 1, 1)

    def place(values):
        """Down and right of the middle, of each row's centre of mass."""
        axis = torch.arange(33.0) - 16
        mass = values.sum((1, 2, 3))
        return (values.sum((1, 3)) @ axis) / mass, (values.sum((1, 2)) @ axis) / mass

    down, right = place(Affine(rotation=45).apply(rows, drawn(0)))
    assert torch.allclose((down**2 + right**2).sqrt(), torch.tensor(7.0), atol=0.2)
    angle = torch.atan2(down, right) * 180 / torch.pi
    assert angle.min() < -30
    assert angle.max() > 30
    assert angle.abs().max() <= 46
    down, right = place(Affine(zoom=0.3).apply(rows, drawn(0)))
    assert down.abs().max() < 0.1
    assert 4.9 - 0.2 <= right.min() < 5.6
    assert 8.4 < right.max() <= 9.1 + 0.2
    tall = torch.zeros(64, 1, 33, 33)
    tall[:, 0, 26, 16] = 1
    down, right = place(Affine(shear=0.5).apply(tall, drawn(0)))
    assert torch.allclose(down, torch.tensor(10.0), atol=0.2)
    assert right.abs().max() <= 5.2
    assert right.min() < -3 < 3 < right.max()
    wide = torch.zeros(16, 1, 21, 41)
    wide[:, 0, 10, 28] = 1
    turned = Affine(rotation=20).apply(wide, drawn(3))
    down, right = turned.sum((1, 3)) @ (torch.arange(21.0) - 10), turned.sum((1, 2)) @ (torch.arange(41.0) - 20)
    away = (down**2 + right**2).sqrt() / turned.sum((1, 2, 3))
    assert torch.allclose(away, torch.tensor(8.0), atol=0.2), "a turn keeps distances, whatever the image's shape"


def test_runs_of_a_spectrum_are_hidden():
    spectrum = torch.ones(400, 1, 10, 20)
    hidden = Mask(frames=0.3, bands=0.2).apply(spectrum, drawn(0)) == 0
    frames, bands = hidden.all(2)[:, 0].sum(1), hidden.all(3)[:, 0].sum(1)
    assert sorted(set(frames.tolist())) == list(range(7))
    assert sorted(set(bands.tolist())) == list(range(3))
    assert hidden.all(2)[:, 0, 0].any()
    assert hidden.all(2)[:, 0, -1].any()


def test_special_tokens_stay():
    tokens = torch.tensor([[3, 4, 2, 5, 0, 0]]).repeat(500, 1)
    found = TokenDropout(share=0.3).apply(tokens, drawn(0))
    assert (found[:, [2, 4, 5]] == tokens[:, [2, 4, 5]]).all()
    dropped = (found[:, [0, 1, 3]] == 1).float().mean()
    assert 0.25 < dropped < 0.35


def test_what_is_mixed_weighs_what_there_is_of_it():
    inputs = {"image": inputs_of()["image"], "more": torch.randn(32, 4)}
    found, other, weight = Mixup(alpha=1.0).mixed(inputs, drawn(0))
    for name, value in inputs.items():
        assert torch.allclose(found[name], weight * value + (1 - weight) * value[other])
    ones = {"image": torch.arange(32.0)[:, None, None, None].expand(32, 3, 8, 6)}
    found, other, weight = Cutmix().mixed(ones, drawn(1))
    own = (found["image"][:, 0] == torch.arange(32.0)[:, None, None]).float().mean((1, 2))
    apart = other != torch.arange(32)
    assert torch.allclose(own[apart], weight[apart])
    assert 0 < weight.min() < 1


@pytest.mark.parametrize("mix", [Mixup(alpha=1.0), Cutmix()], ids=lambda one: one.kind)
def test_the_loss_of_a_mix_is_that_of_both_labels(mix, tmp_path, ctx):
    recipe = image_recipe(write_images(tmp_path / "i"))
    config = TrainConfig(model=recipe.model, objective=Classification(), augment=(mix,), settings=recipe.settings)
    job = job_of(config, prepared(recipe, ctx), ctx, tmp_path)
    data = DatasetModule(job)
    torch.manual_seed(0)
    learner = Learner(job, len(data.training))
    batch = next(iter(data.training))
    loss = learner.loss_of(batch, 3)
    feature, fitted = learner._pairs(learner._features)[0]
    inputs = {"image": feature.apply(batch["image"], fitted.state)}
    inputs, other, weight = mix.mixed(inputs, drawn(recipe.settings.seed, 0, 3, 0))
    logits = learner.network(inputs)["label"]
    labels = batch["label"][:, 0].long()
    rows = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    theirs = torch.nn.functional.cross_entropy(logits, labels[other], reduction="none")
    assert loss.item() == pytest.approx((weight * rows + (1 - weight) * theirs).mean().item(), rel=1e-5)


def test_training_with_augmentation_learns_and_runs_the_same_again(tmp_path, ctx):
    recipe = image_recipe(write_images(tmp_path / "i"))
    dataset = prepared(recipe, ctx)
    found = []
    for augment in ((), (Colour(),), (Colour(),), (Flip(), Noise(feature="image"))):
        config = TrainConfig(model=recipe.model, objective=Classification(), augment=augment, settings=recipe.settings)
        found.append(train_step.run(config, dataset, ctx=ctx))
    assert found[1].content == found[2].content
    assert len({one.content for one in found}) == 3
    assert found[1].metrics["validation_accuracy"] > 0.9


@pytest.mark.parametrize(
    ("augmentations", "line"),
    [
        (
            [Flip(feature="pixels")],
            "E_CONFIG augment.0.feature: no feature has this name .got 'pixels'.; allowed: image, text",
        ),
        ([Mixup(), Cutmix()], "E_CONFIG augment: rows can be mixed once"),
        ([Text(column="t")], "E_CONFIG augment.0.target: an augmentation has a method apply, or mixed"),
    ],
)
def test_mistakes_are_one_line(augmentations, line):
    if isinstance(augmentations[0], Text):
        augmentations = [type("Mine", (), {})()]
    with pytest.raises(ConfigError, match=line):
        check_features(augmentations, ["image", "text"])


IMAGE, SMALL, WAVE, NUMBERS, TOKENS, BOXES = (
    TensorSpec(name="image", shape=(3, 8, 6), dtype="float32"),
    TensorSpec(name="image", shape=(3, 4, 4), dtype="float32"),
    TensorSpec(name="audio", shape=(1, 800), dtype="float32"),
    TensorSpec(name="image", shape=(4,), dtype="float32"),
    TensorSpec(name="text", shape=(-1,), dtype="int64", classes=(9,), sequence=True),
    TensorSpec(name="boxes", shape=(5, -1), dtype="float32", sequence=True),
)


@pytest.mark.parametrize(
    ("augmentation", "specs", "line"),
    [
        (Crop(), [SMALL], "E_CONFIG augment.0: crop is not for image: its sides have to be longer than 4 pixels"),
        (Mask(), [WAVE], "mask is not for audio: it needs an image or a spectrum"),
        (Flip(), [NUMBERS], "flip is not for image: it needs an image"),
        (Cutmix(), [NUMBERS], "cutmix is not for image: it needs an image"),
        (Noise(feature="text"), [TOKENS], "noise is not for text: it needs real numbers"),
        (TokenDropout(feature="image"), [IMAGE], "token-dropout is not for image: it needs a sequence of tokens"),
        (Mixup(), [TOKENS], "mixup is not for text: there is nothing to take a mean of"),
        *(
            (one, [IMAGE, BOXES], f"{one.kind} would leave boxes where they were")
            for one in (Mixup(), Cutmix(), Flip(), Affine())
        ),
    ],
)
def test_an_augmentation_of_another_kind_of_tensor_is_one_line(augmentation, specs, line):
    with pytest.raises(ConfigError, match=line):
        check_inputs([augmentation], specs)
    check_inputs([Mixup(), Crop(), Flip(), TokenDropout(feature="text")], [IMAGE, TOKENS])
