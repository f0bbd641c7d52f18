"""The toy line in a copy of the project: `python -m tests.e2e.matrix_line FOLDER CHANGES`, outcomes as JSON."""

import json
import sys
from pathlib import Path

from components import evaluate, package, register, train
from components.adapters.compute import Compute
from components.context import open_context
from components.contracts.placement import Placement
from components.contracts.registry import load_kind
from components.models import KINDS
from components.objectives.classification import Classification
from components.validate import ColumnCheck, ValidateConfig
from flows.line import decided
from tests.line import SHORT, prepared, table_recipe

MODEL = {"kind": "custom", "target": "acme.net:Net"}


def line(folder, changes):
    """Run every step; `changes` set epochs, accelerator, the greatest `n` that passes, and the table's folder."""
    ctx = open_context(Placement(home=folder / "home"), "toy")
    ctx.compute = Compute(workers=1, synchronous=True)
    number = ColumnCheck(type="float64", nullable=False, maximum=changes.get("maximum", 1e9))
    recipe = table_recipe(
        folder / changes.get("table", "table"),
        checks=ValidateConfig(columns={"n": number, "c": ColumnCheck(type="string")}, max_bad_fraction=1.0),
        model=load_kind("components.models", KINDS, MODEL, "model").model_validate(MODEL),
        settings=train.TrainSettings(
            max_epochs=changes.get("epochs", 3),
            batch_size=16,
            learning_rate=0.02,
            accelerator=changes.get("accelerator", "auto"),
        ),
    )
    dataset = prepared(recipe, ctx)
    config = train.TrainConfig(model=recipe.model, objective=Classification(), settings=recipe.settings)
    made = package.run(package.PackageConfig(), train.run(config, dataset, ctx=ctx), dataset, ctx=ctx)
    report = evaluate.run(SHORT, made, dataset, register.rival(ctx, "toy", made), ctx=ctx)
    verdict = decided(recipe.gate, report, ctx=ctx)
    register.run(register.RegisterConfig(name="toy"), verdict, made, ctx=ctx)
    return [[one.step, one.reused, one.why] for one in ctx.outcomes]


if __name__ == "__main__":
    print(json.dumps(line(Path(sys.argv[1]), json.loads(sys.argv[2]))))
