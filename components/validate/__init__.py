"""RawSnapshot → ValidSnapshot: every row checked against what the recipe declares, bad ones set aside with a reason.

Good rows are not written again: a part names ingest's part and the rows of it that are gone. Beside them stand the data
report and a sample of the rows, which the next snapshot is compared with.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from components.adapters.snapshot_rows import read_rows, write_sample, write_view
from components.adapters.store import Record, Store
from components.context import RunContext, summed
from components.contracts.artifacts import Ledger, Part, RawSnapshot, ValidSnapshot
from components.contracts.config import StepConfig, identity
from components.contracts.content import content_of
from components.contracts.errors import ConfigError, DataError, shorten
from components.contracts.fingerprint import digest
from components.contracts.registry import nearest
from components.contracts.spec import FILE, ROW, Column
from components.duplicates import complete_rows, find_later_rows
from components.validate.checks import ColumnCheck, Failure, asks, failures
from components.validate.data_report import (
    REPORT,
    SHOWN,
    drift_since,
    equal_rows,
    report_of_failure,
    report_page,
    sample_of,
    snapshot_before,
)
from components.validate.rules import Balance, Freshness, Rule
from components.validate.snapshot import (
    check_age,
    check_classes,
    check_drift,
    check_duplicates,
    check_rows,
    classes_of,
    counted,
    newest_of,
)


class ValidateConfig(StepConfig):
    """Declared columns, and how much may be bad."""

    columns: dict[str, ColumnCheck] = Field({}, description="column name to what its cells must be")
    max_bad_fraction: float = Field(0.01, ge=0, le=1, description="more bad rows than this share fail the run")
    max_bad_rows: int = Field(1000, ge=0, description="more bad rows than this fail the run")
    max_bad_files: int = Field(
        0, ge=0, description="how many files that cannot be read are set aside; each counts as a bad row too"
    )
    allow_empty: bool = Field(False, description="whether a source may have no rows")
    rules: tuple[Rule, ...] = Field((), description="how columns of a row belong together; rows that do not: set aside")
    min_rows: int = Field(0, ge=0, description="fewest good rows")
    max_rows: int = Field(0, ge=0, description="most good rows; 0: any number")
    freshness: Freshness | None = Field(None, description="how old the newest row may be")
    balance: Balance | None = Field(None, description="how rare a class may be")
    max_duplicates: float = Field(
        1.0, ge=0, le=1, description="largest share of rows that equal an earlier one; below 1 they are counted"
    )
    max_drift: float = Field(
        0.0, ge=0, description="how far a column may move from the snapshot before (population stability index); 0: any"
    )
    drift_columns: tuple[str, ...] = Field((), description="the columns that max_drift is about; none: all")

    def declared(self) -> tuple[Column, ...]:
        """The columns as ingest and serving read them, by name: their order says nothing."""
        return tuple(self.columns[name].read_as(name) for name in sorted(self.columns))

    def columns_together(self) -> set[str]:
        """The columns that are looked at beside what is asked of each by itself."""
        named = {one for rule in self.rules for one in (rule.column, rule.other)}
        return named | {one.column for one in (self.freshness, self.balance) if one is not None}


def run(config: ValidateConfig, raw: RawSnapshot, *, ctx: RunContext) -> ValidSnapshot:
    """Check every row; set aside those that fail.

    Raises:
        DataError: E_COLUMN_MISSING; E_QUARANTINE_LIMIT, naming the first bad row; E_ROW_COUNT, E_BALANCE, E_DRIFT,
            E_STALE, of all rows together.
    """
    columns = tuple(declared(config, raw.columns))
    before = snapshot_before(ctx, raw.content) if config.max_drift else None

    def build(folder: Path) -> ValidSnapshot:
        again = _standing_twice(config, raw, ctx)
        items = [
            (part.place, digest([part.digest, identity(columns), twice]), (part, columns, twice))
            for part, twice in zip(raw.parts, again, strict=True)
        ]
        size = sum(part.rows for part in raw.parts) * 100
        parts, records = ctx.parts(
            "validate", module=__name__, config=config, work=check_partition, items=items, size_bytes=size, native=True
        )
        ledger = summed(records, raw.rows)
        _judge(config, raw, ledger, records, ctx)
        classes = classes_of(records)
        twice = equal_rows(ctx.store, raw) if config.max_duplicates < 1 else None
        sample = sample_of(ctx.store, raw)
        drift = drift_since(ctx.store, before or snapshot_before(ctx, raw.content), sample, config.drift_columns)
        made = ValidSnapshot(columns=columns, parts=tuple(parts), ledger=ledger)
        # The report is no part of what the rows are: it says how they differ from others.
        made = made.model_copy(
            update={
                "content": digest(content_of(made)),
                "newest": newest_of(records),
                "classes": classes,
                "drift": drift,
            }
        )
        report = report_page(config, raw, made, sample=sample, records=records, store=ctx.store, twice=twice)
        with report_of_failure(ctx, report):
            check_rows(config, ledger.rows_out)
            check_duplicates(config, twice or 0, raw.rows)
            check_classes(config, classes)
            check_drift(config, drift)
        write_sample(sample, folder)
        (folder / REPORT).write_text(report)
        return made

    inputs = {"raw": raw.content} | ({"before": before.content} if before and config.max_drift else {})
    valid = ctx.commit(ValidSnapshot, __name__, config, inputs, build)
    check_age(config, valid.newest)
    return valid


def declared(config: ValidateConfig, found: Iterable[Column]) -> Iterable[Column]:
    """The columns of the result, in the source's order.

    Raises:
        DataError: E_COLUMN_MISSING, the recipe declares a column that the source does not have.
    """
    found = tuple(found)
    names = [column.name for column in found]
    wanted = dict.fromkeys([*config.columns, *sorted(config.columns_together()), *config.drift_columns])
    lacking = [
        DataError(
            "E_COLUMN_MISSING",
            f"the recipe names a column that the source does not have{nearest(name, names)}",
            place="source",
            value=name,
            allowed=", ".join(names),
            action="correct the name in features and checks, or the source",
        )
        for name in wanted
        if name not in names
    ]
    if lacking:
        lacking[0].others = tuple(lacking[1:])
        raise lacking[0]
    for place, name, kinds in (
        ("checks.freshness.column", config.freshness.column if config.freshness else "", ("date", "timestamp")),
        ("checks.balance.column", config.balance.column if config.balance else "", ("string", "int64", "bool")),
    ):
        kind = next((column.type for column in found if column.name == name), "")
        kind = config.columns[name].type if name in config.columns else kind
        if name and kind not in kinds:
            raise ConfigError(
                "E_CONFIG",
                f"{name} is {kind}",
                place=place,
                allowed=" or ".join(kinds),
                action=f"declare its type in checks.columns.{name}, or name another column",
            )
    for column in found:
        check = config.columns.get(column.name)
        yield check.read_as(column.name).model_copy(update={"nullable": check.nullable}) if check else column


def _standing_twice(config: ValidateConfig, raw: RawSnapshot, ctx: RunContext) -> list[dict[str, list[int]]]:
    """Of each part and each column whose values have to differ, the rows whose value an earlier row has."""
    found: list[dict[str, list[int]]] = [{} for _ in raw.parts]
    for name in sorted(name for name, check in config.columns.items() if check.unique):
        for part, rows in zip(found, find_later_rows(ctx, "ingest", raw.parts, [name], complete_rows), strict=True):
            if len(rows):
                part[name] = rows.tolist()
    return found


def check_partition(
    store: Store, config: ValidateConfig, argument: tuple[Part, tuple[Column, ...], dict[str, list[int]]], folder: Path
) -> dict[str, Any]:
    """Name one partition's bad rows; they go to `quarantine.jsonl`."""
    part, columns, again = argument
    looked = [one for one in columns if asks(one, config.columns.get(one.name))]
    needed = {one.name for one in looked} | config.columns_together()
    table = read_rows(store, "ingest", part.key, sorted(needed)) if needed else pa.table({})
    why = np.zeros(part.rows, np.int32)
    found: list[Failure] = []
    for column in looked:
        for failure in failures(table[column.name], column, config.columns.get(column.name)):
            found.append(failure)
            why[failure.rows & (why == 0)] = len(found)
    for rule in config.rules:
        broken = rule.failure(table)
        found.append(broken)
        why[broken.rows & (why == 0)] = len(found)
    for name, rows in again.items():
        twice = np.isin(np.arange(part.rows), rows)
        found.append(Failure(rows=twice, code="E_DUPLICATE", column=name, reason="stands in an earlier row too"))
        why[twice & (why == 0)] = len(found)
    gone = np.flatnonzero(why)
    bad: list[dict[str, str]] = []
    if len(gone):
        whole = read_rows(store, "ingest", part.key)
        bad = [_bad_line(whole, int(row), found[why[row] - 1]) for row in gone]
    if bad:
        (folder / "quarantine.jsonl").write_text("".join(json.dumps(line) + "\n" for line in bad))
    meta = write_view(folder, "ingest", store.part("ingest", part.key).standing(), gone)
    left = part.rows - len(gone)
    meta |= counted(config, table.filter(pa.array(why == 0)) if needed else table)
    ledger = Ledger(rows_in=part.rows, rows_out=left, quarantined=len(bad))
    return {"rows": left, "ledger": ledger.model_dump(), "bad": bad[:SHOWN], **meta}


def _bad_line(table: pa.Table, row: int, failure: Failure) -> dict[str, str]:
    return {
        "place": f"{table[FILE][row].as_py()}:{table[ROW][row].as_py()}",
        "code": failure.code,
        "column": failure.column,
        "reason": failure.reason,
        "value": shorten(table[failure.column][row].as_py()),
    }


def _judge(
    config: ValidateConfig, raw: RawSnapshot, ledger: Ledger, records: Sequence[Record], ctx: RunContext
) -> None:
    unread = [ctx.store.part("ingest", part.key).standing() for part in (*raw.aside, *raw.parts)]
    files = sum(record.meta.get("files", 0) for record in unread)
    bad = ledger.quarantined + (raw.ledger.quarantined if raw.ledger else 0)
    rows = ledger.rows_in + (raw.ledger.quarantined if raw.ledger else 0)
    if not bad:
        return
    shown = [line for record in (*unread, *records) for line in record.meta["bad"]]
    first = shown[0]
    what = f"{first['column']} {first['reason']}" if first["column"] else first["reason"]
    text = f"{first['code']} {first['place']}: {what} (got {first['value']})"
    most = min(config.max_bad_rows, int(config.max_bad_fraction * rows))
    where = _quarantine([*unread, *records], ctx.store)
    if files > config.max_bad_files:
        raise DataError(
            "E_QUARANTINE_LIMIT",
            f"{files} files cannot be read; the first is {text}",
            place="checks.max_bad_files",
            allowed=str(config.max_bad_files),
            action=f"correct the files, or raise it; they are named in {where}",
        )
    if bad > config.max_bad_rows or bad > config.max_bad_fraction * rows:
        # What its features need decides the type of a column for which the recipe declares none.
        kind = (
            f"; perhaps {first['column']} is for a feature of another kind" if bad == rows and first["column"] else ""
        )
        raise DataError(
            "E_QUARANTINE_LIMIT",
            f"{bad} of {rows} rows are bad; the first is {text}",
            place="checks",
            allowed=f"{most} of {rows}, by checks.max_bad_fraction ({config.max_bad_fraction:.2%}) and "
            f"checks.max_bad_rows ({config.max_bad_rows})",
            action=f"correct the data, or raise these; the bad rows stand in {where}{kind}",
        )
    ctx.progress.warned(f"{bad} of {rows} rows quarantined; the first is {text}; they stand in {where}")


def _quarantine(records: Sequence[Record], store: Store) -> str:
    """Where the bad rows can be read: the first file of them, and how many more there are."""
    files = [one for one in records if one.meta["bad"]]
    place = store.files.place(f"{files[0].entry}/{files[0].attempt}/quarantine.jsonl")
    return place + (f" and {len(files) - 1} more" if len(files) > 1 else "")
