"""ModelPackage, its Dataset, and new rows → DriftReport: whether the world still is what the model was tested on.

New rows are a snapshot, or what a server noted in the prediction log. They are held against the model's test rows:
each column, missing cells, the answers, what the network makes of pictures, texts and sounds, how many rows are
refused, and, where labels are there, how wrong the answers are. The tests are corrected for being many, and how often
they cry wolf is counted on batches drawn from the test rows themselves.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from components.context import RunContext
from components.contracts.artifacts import Dataset, DriftReport, ModelPackage, RawSnapshot
from components.contracts.fingerprint import digest
from components.monitor.compared import compared, false_alarms
from components.monitor.rows import batch, log_parts, log_rows, reference, snapshot_rows
from components.monitor.settings import MonitorConfig
from components.monitor.sides import Seen, side_by_side
from components.monitor.simulated import moved
from components.packages import open_package, own_errors
from components.raw_rows import folder_of
from components.reports.drift import drift_page

__all__ = ["REPORT", "MonitorConfig", "Watched", "run", "run_on_log", "said_of"]
REPORT = "drift.html"


class Watched(MonitorConfig):
    """Which model is looked after, and how; `simulate` moves the new rows first, to try what comes of it."""

    name: str = Field(description="the model's name in the registry")
    version: str = Field(description="its version")
    refused: tuple[int, int] = Field(
        (0, 0), description="rows that were set aside before the model learnt, and how many there were in all"
    )
    simulate: float = Field(0.0, ge=0, description="how far new rows are moved first, in deviations; 0: not")


def run(config: Watched, raw: RawSnapshot, package: ModelPackage, dataset: Dataset, *, ctx: RunContext) -> DriftReport:
    """Hold the rows of a snapshot against the model's test rows.

    Raises:
        DataError: E_COLUMN_MISSING, the rows lack a column that the model needs.
    """

    def seen(predictor: Any) -> tuple[Seen, str, str]:
        rows = snapshot_rows(raw.parts, ctx.store, config.rows)
        if config.simulate:
            needed = [name for one in predictor.features for name in one.columns]
            rows = moved(rows, config.simulate, list(dict.fromkeys(needed)))
        aside = raw.ledger.quarantined if raw.ledger else 0
        return batch(predictor, rows, aside * rows.num_rows // max(raw.rows, 1), config), "", ""

    return _committed(config, raw.content, seen, (package, dataset), ctx)


def run_on_log(
    config: Watched, since: datetime, package: ModelPackage, dataset: Dataset, *, ctx: RunContext
) -> DriftReport:
    """Hold what a server was asked since then against the model's test rows."""
    parts = log_parts(ctx.store, config.name, package.fingerprint, since)

    def seen(predictor: Any) -> tuple[Seen, str, str]:
        found = log_rows(predictor, parts, config)
        if config.simulate:
            found = replace(found, columns=moved(found.columns, config.simulate, found.columns.column_names))
        times = [(str(meta["first"]), str(meta["last"])) for meta, _ in parts]
        return found, min((one for one, _ in times), default=""), max((one for _, one in times), default="")

    content = digest(sorted([meta["first"], meta["last"], meta["rows"]] for meta, _ in parts))
    return _committed(config, content, seen, (package, dataset), ctx)


def _committed(
    config: Watched,
    content: str,
    seen: Callable[[Any], tuple[Seen, str, str]],
    model: tuple[ModelPackage, Dataset],
    ctx: RunContext,
) -> DriftReport:
    package, dataset = model

    def build(folder: Path) -> DriftReport:
        predictor = open_package(folder_of(package, ctx.store))
        with own_errors("give the rows that the model was trained on"):
            new, first, last = seen(predictor)
            known = replace(
                reference(predictor, dataset, ctx.store, config), refused=config.refused[0], came=config.refused[1]
            )
        before, now = side_by_side(known, new)
        enough = now.rows >= config.least_rows
        found = compared(before, now, config) if enough else ()
        wrong = (
            false_alarms(
                before, now.rows, config, lambda done: ctx.progress.advanced("monitor", done, config.draws, "draws")
            )
            if enough
            else 0
        )
        made = DriftReport(
            name=config.name,
            version=config.version,
            package=package.content,
            rows=now.rows,
            reference_rows=before.rows,
            found=found,
            alarms=tuple(f"{one.kind}: {one.what}" for one in found if one.alarm),
            draws=config.draws if enough else 0,
            false_alarms=wrong,
            first=first,
            last=last,
            simulated=config.simulate,
        )
        (folder / REPORT).write_text(drift_page(made, before, now, config), encoding="utf-8")
        return made

    inputs = {"rows": content, "package": package.content, "dataset": dataset.content}
    return ctx.commit(DriftReport, __name__, config, inputs, build)


def said_of(report: DriftReport) -> str:
    """What was found, in one line."""
    if not report.found:
        return f"{report.rows:,} new rows are too few to say anything"
    if not report.alarms:
        return f"{report.rows:,} new rows are as the test rows were, in {len(report.found)} tests"
    return f"{report.rows:,} new rows have moved: {'; '.join(report.alarms)}"
