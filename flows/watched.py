"""Monitoring as the command and the flow do it: which model, which rows, and where what was found is kept."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from components import ingest, monitor
from components.adapters.pointers import drift_pointer
from components.context import RunContext
from components.contracts.artifacts import Dataset, DriftReport, ModelPackage, RawSnapshot
from components.contracts.errors import MillraceError
from components.contracts.spec import Column
from components.monitor import MonitorConfig, Watched
from components.packages import told_of
from components.raw_rows import package_folder
from components.registered import Place, find, lineage, named
from flows.pipeline import PipelineConfig, load_recipe
from flows.scored import source_of


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is looked after: NAME[@ALIAS]; rows of a file, folder or recipe, or the log of so many hours."""

    model: str
    source: str = ""
    overrides: Sequence[str] = ()
    hours: float = 24.0
    simulate: float = 0.0


def watched(order: Order, ctx: RunContext) -> DriftReport:
    """Hold new rows against those that the model was tested on; what was found is kept for status and metrics.

    Raises:
        ConfigError: E_CONFIG, there is no such model or recipe, or its run is of a release that noted no lineage.
        DataError, EnvironmentFault: The steps' own.
    """
    place, name = find(ctx, order.model), named(order.model)[0]
    made_of = lineage(ctx, place)
    package = ctx.load(ModelPackage, place.fingerprint)
    dataset = ctx.load(Dataset, made_of["results"]["preprocess"])
    settings = _settings(made_of, ctx)
    refused = _refused(ctx.load(RawSnapshot, made_of["results"]["ingest"]), dataset)
    config = Watched(
        **settings.model_dump(), name=name, version=place.version, simulate=order.simulate, refused=refused
    )
    if order.source:
        raw = ingest.run(_reads(order, name, place, ctx), ctx=ctx)
        report = monitor.run(config, raw, package, dataset, ctx=ctx)
    else:
        since = datetime.now(UTC) - timedelta(hours=order.hours)
        report = monitor.run_on_log(config, since, package, dataset, ctx=ctx)
    if not order.simulate and report.found:
        _keep(ctx, report)
    return report


def recipe_of(made_of: dict[str, Any], ctx: RunContext) -> PipelineConfig:
    """The recipe that made a package, as it stands now."""
    placement = ctx.placement
    return load_recipe(made_of["recipe"], made_of["overrides"], placement.data, placement.recipes)


def _refused(raw: RawSnapshot, dataset: Dataset) -> tuple[int, int]:
    """How many rows were set aside before the model learnt from the others, and how many came."""
    ledgers = [one.ledger for one in (raw, dataset.clean.valid, dataset.clean) if one.ledger is not None]
    lost = sum(one.quarantined + sum(one.dropped.values()) for one in ledgers)
    return lost, max((one.rows_in + one.added for one in ledgers), default=0)


def _keep(ctx: RunContext, report: DriftReport) -> None:
    sizes = {f"{one.kind}: {one.what}": one.size for one in report.found}
    drift_pointer(ctx.store, report.name).set({
        "version": report.version,
        "report": report.fingerprint,
        "rows": report.rows,
        "alarms": list(report.alarms),
        "sizes": sizes,
        "at": time.time(),
    })


def _settings(made_of: dict[str, Any], ctx: RunContext) -> MonitorConfig:
    try:
        return recipe_of(made_of, ctx).monitor
    except MillraceError as error:
        ctx.progress.warned(f"the recipe's own settings of monitoring cannot be read: {error.line()}")
        return MonitorConfig()


def _reads(order: Order, name: str, place: Place, ctx: RunContext) -> ingest.IngestConfig:
    said, _ = told_of(package_folder(ctx.store, place.fingerprint))
    source = source_of(order.source, order.overrides, name, ctx)
    columns = tuple(Column.model_validate(one) for one in said["raw"] if one["name"] in said["needed"])
    return ingest.IngestConfig(source=source, columns=columns)
