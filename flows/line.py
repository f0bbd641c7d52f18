"""The line of steps as data: what each takes, and how a recipe configures it.

The training flow says the same in Prefect's words; what looks at a single step, or at all of them, reads it here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from components import clean, compress, evaluate, gate, ingest, package, preprocess, register, train, validate
from components.context import RunContext
from components.contracts.artifacts import (
    Approval,
    Approved,
    Artifact,
    Checkpoint,
    CleanSnapshot,
    Compressed,
    Dataset,
    EvalReport,
    ModelPackage,
    ModelVersion,
    RawSnapshot,
    Rejected,
    ValidSnapshot,
    Verdict,
)
from components.contracts.fingerprint import digest
from flows.pipeline import PipelineConfig


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One step: `run(config, *inputs, ctx=ctx)` gives `gives`, from what the steps of `takes` gave."""

    run: Callable[..., Any]
    config: Callable[[PipelineConfig], Any]
    takes: tuple[str, ...] = ()
    gives: type[Artifact]


def decided(
    config: gate.GateConfig,
    report: EvalReport,
    compressed: Compressed | None = None,
    approval: Approval | None = None,
    *,
    ctx: RunContext,
) -> Verdict:
    """The gate's verdict, committed."""
    inputs = {"report": report.content, "approval": digest(approval.model_dump()) if approval else ""}
    if compressed:
        inputs["compressed"] = compressed.content
    if config.max_latency_ms and report.cost:
        # A report's content does not say what was timed.
        inputs["latency"] = str(report.cost.latency_ms_95)
    verdict = ctx.commit(
        Verdict, gate.__name__, config, inputs, lambda _: gate.run(config, report, approval, compressed)
    )
    kind = Approved if verdict.verdict == "approved" else Rejected
    return kind.model_validate(verdict.model_dump())


def shrunk(
    config: compress.CompressConfig | None, package: ModelPackage, dataset: Dataset, *, ctx: RunContext
) -> Compressed | None:
    """Smaller versions, where the recipe asks for them."""
    return compress.run(config, package, dataset, ctx=ctx) if config else None


def _ingest(one: PipelineConfig) -> ingest.IngestConfig:
    """The source, and of the checks what says how cells are read: bounds may change without a new ingest."""
    checks = one.validation
    aside = checks.max_bad_files > 0
    return ingest.IngestConfig(
        source=one.source, columns=checks.declared(), set_aside_files=aside, allow_empty=checks.allow_empty
    )


STAGES = {
    "ingest": Stage(run=ingest.run, config=_ingest, gives=RawSnapshot),
    "validate": Stage(run=validate.run, config=lambda one: one.validation, takes=("ingest",), gives=ValidSnapshot),
    "clean": Stage(
        run=clean.run,
        config=lambda one: clean.CleanConfig(operations=one.cleaning),
        takes=("validate",),
        gives=CleanSnapshot,
    ),
    "preprocess": Stage(
        run=preprocess.run,
        config=lambda one: preprocess.PreprocessConfig(
            features=one.features,
            target=one.target,
            split=one.split,
            leaks=one.leaks,
            outliers=one.outliers,
            rebalance=one.rebalance,
            reweigh=one.reweigh,
            dead_columns=one.dead_columns,
            refit=one.refit,
        ),
        takes=("clean",),
        gives=Dataset,
    ),
    "train": Stage(
        run=train.run,
        config=lambda one: train.TrainConfig(
            model=one.model, objective=one.objective, augment=one.augment, settings=one.train
        ),
        takes=("preprocess",),
        gives=Checkpoint,
    ),
    "package": Stage(
        run=package.run, config=lambda one: one.package, takes=("train", "preprocess"), gives=ModelPackage
    ),
    "evaluate": Stage(
        run=evaluate.run, config=lambda one: one.evaluate, takes=("package", "preprocess"), gives=EvalReport
    ),
    "compress": Stage(run=shrunk, config=lambda one: one.compress, takes=("package", "preprocess"), gives=Compressed),
    "gate": Stage(run=decided, config=lambda one: one.gate, takes=("evaluate", "compress"), gives=Verdict),
    "register": Stage(
        run=register.run,
        config=lambda one: one.register_as.model_copy(update={"name": one.model_name}),
        takes=("gate", "package"),
        gives=ModelVersion,
    ),
}
"""In the order in which they run."""


def configs(config: PipelineConfig) -> dict[str, Any]:
    """Each step's config, by the step's name."""
    return {name: stage.config(config) for name, stage in STAGES.items()}
