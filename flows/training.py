"""The training flow: a recipe, from raw data to a registered model."""

from typing import Annotated, Any, Literal

from prefect import flow
from pydantic import Field

from components.contracts.artifacts import Rejected
from components.register import rival
from flows import tasks
from flows.line import configs
from flows.publish import published, running
from flows.settings import OF_FLOWS

Step = Literal["ingest", "validate", "clean", "preprocess", "train", "package", "evaluate", "compress", "gate"]
"""What can be run anew; register always looks."""


@flow(name="training", flow_run_name="{recipe}", **OF_FLOWS)
def training(
    recipe: str = "digits-cnn",
    overrides: Annotated[list[str], Field(max_length=100)] = [],  # noqa: B006 - Prefect reads the default for its form
    rerun: list[Step] = [],  # noqa: B006
    *,
    epochs: Annotated[int, Field(ge=0, le=100_000)] = 0,
    batch_size: Annotated[int, Field(ge=0, le=1_000_000)] = 0,
    seed: Annotated[int, Field(ge=-1, le=2**31 - 1)] = -1,
) -> Any:
    """Run a recipe from raw data to a registered model; what has been done before is reused.

    Args:
        recipe: Name of a recipe, or the path or address of a YAML file.
        overrides: Changes to the recipe, each as key.path=value, such as train.batch_size=128.
        rerun: Steps to run anew although nothing changed.
        epochs: Passes over the training rows; 0 leaves it to the recipe.
        batch_size: Rows a step, over all processes together; 0 leaves it to the recipe.
        seed: Of weights, order and dropout; -1 leaves it to the recipe.
    """
    knobs = {"max_epochs": epochs or None, "batch_size": batch_size or None, "seed": seed if seed >= 0 else None}
    changes = [f"train.{name}={value}" for name, value in knobs.items() if value is not None]
    with running(recipe, [*overrides, *changes], rerun) as run:
        config = configs(run.config)
        raw = tasks.ingest(config["ingest"])
        valid = tasks.validate(config["validate"], raw)
        clean = tasks.clean(config["clean"], valid)
        dataset = tasks.preprocess(config["preprocess"], clean)
        checkpoint = tasks.train(config["train"], dataset)
        package = tasks.package(config["package"], checkpoint, dataset)
        champion = rival(run.ctx, run.config.model_name, package)
        report = tasks.evaluate(config["evaluate"], package, dataset, champion)
        run.approve(report)
        smaller = tasks.compress(config["compress"], package, dataset) if config["compress"] else None
        verdict = tasks.gate(config["gate"], report, smaller)
        version = None
        if not isinstance(verdict, Rejected):
            version = tasks.register(config["register"], verdict, package)
        return published(run, (raw, valid, clean, dataset), checkpoint, verdict, version, smaller=smaller)
