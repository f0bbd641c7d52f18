"""What a run will have to do, read off the store before anything is started."""

from dataclasses import replace

from components import clean, ingest, preprocess, train, validate
from components.clean import CleanConfig
from components.context import NotCommittedError, Silent
from components.ingest import IngestConfig
from components.preprocess import PreprocessConfig
from components.train import TrainConfig
from flows.runs import Run

STEPS = ("ingest", "validate", "clean", "preprocess", "train", "package", "evaluate", "gate", "register")


def will_train(run: Run) -> bool:
    """Whether the store lacks the run's checkpoint, or anything that leads to it."""
    ctx, config = replace(run.ctx, peeking=True, progress=Silent(), outcomes=[]), run.config
    try:
        raw = ingest.run(IngestConfig(source=config.source), ctx=ctx)
        valid = validate.run(config.validation, raw, ctx=ctx)
        cleaned = clean.run(CleanConfig(operations=config.cleaning), valid, ctx=ctx)
        prepared = PreprocessConfig(features=config.features, target=config.target, split=config.split)
        dataset = preprocess.run(prepared, cleaned, ctx=ctx)
        learner = TrainConfig(model=config.model, objective=config.objective, settings=config.train)
        train.run(learner, dataset, ctx=ctx)
    except NotCommittedError:
        return True
    return False
