"""The line of steps without Prefect, on toy data: what a notebook would do."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image as Pillow

from components import clean, evaluate, gate, ingest, package, preprocess, register, train, validate
from components.adapters.dataset_store import Loader
from components.cleaning.remove_suffix import RemoveSuffix
from components.cleaning.require import Require
from components.evaluate import EvaluateConfig
from components.features.category import Category
from components.features.image import Image
from components.features.label import Label
from components.features.number import Number
from components.features.shards import lookups_of, shard_files
from components.gate import GateConfig
from components.models.cnn import Cnn, Conv
from components.models.mlp import Mlp
from components.objectives.classification import Classification
from components.preprocess import PreprocessConfig
from components.register import RegisterConfig
from components.sources.files import FilesSource
from components.sources.image_folder import ImageFolderSource
from components.statistics.splits import SplitConfig
from components.train import TrainConfig, TrainSettings
from components.validate import ColumnCheck, ValidateConfig

NAMES = "low mid high"
SHORT = EvaluateConfig(search=False, peers=False, robustness=False, explain=0)
"""Of reports that are not looked at."""


@dataclass(kw_only=True)
class Recipe:
    source: object
    checks: ValidateConfig
    cleaning: tuple = ()
    features: tuple
    target: Label
    split: SplitConfig = SplitConfig()
    model: object
    objective: object = Classification()
    settings: TrainSettings = TrainSettings(max_epochs=3, batch_size=16, learning_rate=0.02)
    gate: GateConfig = GateConfig()


def write_table(folder, rows=240, files=3, seed=0):
    """CSV files of a number, a category and a label that follows from them; labels end in a dot."""
    random = np.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    for number in range(files):
        lines = ["n,c,label"]
        for _ in range(rows // files):
            value, kind = random.normal(0, 10), random.choice(["a", "b", ""])
            label = "yes." if value + (5 if kind == "a" else -5) > 0 else "no."
            lines.append(f"{value:.4f},{kind},{label}")
        (folder / f"{number}.csv").write_text("\n".join(lines) + "\n")
    return folder


def table_recipe(folder, **changes):
    settings = {
        "source": FilesSource(uri=str(folder)),
        "checks": ValidateConfig(
            columns={"n": ColumnCheck(type="float64", nullable=False), "c": ColumnCheck(type="string")}
        ),
        "cleaning": (RemoveSuffix(columns=("label",), suffix="."), Require(columns=("label",))),
        "features": (Number(columns=("n",)), Category(columns=("c",))),
        "target": Label(column="label"),
        "model": Mlp(hidden=(8,)),
    }
    return Recipe(**(settings | changes))


def png(value, size=8):
    buffer = io.BytesIO()
    Pillow.fromarray(np.full((size, size), value, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def write_images(folder, each=60):
    for label, base in (("dark", 20), ("light", 200)):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            (folder / label / f"{number:03}.png").write_bytes(png(base + number % 40))
    return folder


def image_recipe(folder, **changes):
    settings = {
        "source": ImageFolderSource(uri=str(folder)),
        "checks": ValidateConfig(),
        "features": (Image(height=8, width=8, channels=1),),
        "target": Label(column="label"),
        "model": Cnn(layers=(Conv(channels=4),)),
    }
    return Recipe(**(settings | changes))


def cleaned_line(recipe, ctx):
    """The cleaned rows of a recipe."""
    checks = recipe.checks
    config = ingest.IngestConfig(
        source=recipe.source,
        columns=checks.declared(),
        set_aside_files=checks.max_bad_files > 0,
        allow_empty=checks.allow_empty,
    )
    raw = ingest.run(config, ctx=ctx)
    valid = validate.run(recipe.checks, raw, ctx=ctx)
    return clean.run(clean.CleanConfig(operations=recipe.cleaning), valid, ctx=ctx)


def prepared(recipe, ctx):
    config = PreprocessConfig(features=recipe.features, target=recipe.target, split=recipe.split)
    return preprocess.run(config, cleaned_line(recipe, ctx), ctx=ctx)


def loader_of(dataset, ctx, split, batch_size, **order):
    """What training reads of a split."""
    files = shard_files(dataset, ctx.store, split)
    return Loader(files, batch_size, lookups=lookups_of(files, (*dataset.features, dataset.target)), **order)


def numbers_of(dataset, ctx, split):
    """The stored cells of the first column of the feature `numbers`."""
    return np.concatenate([batch["numbers"][:, 0] for batch in loader_of(dataset, ctx, split, 100).epoch(0)])


def trained(recipe, ctx):
    dataset = prepared(recipe, ctx)
    config = TrainConfig(model=recipe.model, objective=recipe.objective, settings=recipe.settings)
    return dataset, train.run(config, dataset, ctx=ctx)


def packaged(recipe, ctx):
    dataset, checkpoint = trained(recipe, ctx)
    return dataset, package.run(package.PackageConfig(), checkpoint, dataset, ctx=ctx)


def registered(recipe, ctx, name="toy"):
    dataset, model = packaged(recipe, ctx)
    report = evaluate.run(SHORT, model, dataset, register.rival(ctx, name, model), ctx=ctx)
    verdict = gate.run(recipe.gate, report)
    return model, report, register.run(RegisterConfig(name=name), verdict, model, ctx=ctx)


def ran(ctx):
    """The steps of the last line that ran; forgets them."""
    steps = [one.step for one in ctx.outcomes if not one.reused]
    ctx.outcomes.clear()
    return steps
