"""The training flow: a recipe, from raw data to a registered model."""

from typing import Annotated, Any

from prefect import flow
from pydantic import Field

from components.clean import CleanConfig
from components.contracts.artifacts import Rejected
from components.ingest import IngestConfig
from components.package import PackageConfig
from components.preprocess import PreprocessConfig
from components.register import RegisterConfig, rival
from components.train import TrainConfig
from flows import tasks
from flows.publish import published, running


@flow(name="training", flow_run_name="{recipe}", persist_result=False, log_prints=False)
def training(
    recipe: str = "digits-cnn",
    overrides: Annotated[list[str], Field(max_length=100)] = [],  # noqa: B006 - Prefect reads the default for its form
    rerun: Annotated[list[str], Field(max_length=20)] = [],  # noqa: B006
    epochs: Annotated[int, Field(ge=0, le=100_000)] = 0,
) -> Any:
    """Run a recipe from raw data to a registered model; what has been done before is reused.

    Args:
        recipe: Name of a shipped recipe, or the path of a YAML file.
        overrides: Changes to the recipe, each as key.path=value, such as train.batch_size=128.
        rerun: Steps to run anew although nothing changed, such as train.
        epochs: Passes over the training rows; 0 leaves it to the recipe.
    """
    with running(recipe, overrides, rerun, epochs) as run:
        config = run.config
        raw = tasks.ingest(IngestConfig(source=config.source))
        valid = tasks.validate(config.validation, raw)
        clean = tasks.clean(CleanConfig(operations=config.cleaning), valid)
        prepared = PreprocessConfig(features=config.features, target=config.target, split=config.split)
        dataset = tasks.preprocess(prepared, clean)
        learner = TrainConfig(model=config.model, objective=config.objective, settings=config.train)
        checkpoint = tasks.train(learner, dataset)
        package = tasks.package(PackageConfig(), checkpoint, dataset)
        champion = rival(run.ctx, config.model_name, package)
        report = tasks.evaluate(config.evaluate, package, dataset, champion)
        run.approve(report)
        verdict = tasks.gate(config.gate, report)
        version = None
        if not isinstance(verdict, Rejected):
            version = tasks.register(RegisterConfig(name=config.model_name), verdict, package)
        return published(run, dataset, checkpoint, verdict, version)
