"""What is asked of all rows together, judged when every partition has been looked at."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from components.adapters.store import Record
from components.contracts.errors import DataError

if TYPE_CHECKING:
    from components.validate import ValidateConfig

MOST_CLASSES = 10_000


def counted(config: "ValidateConfig", table: pa.Table) -> dict[str, Any]:
    """Of one partition's good rows: the newest time and the rows of each class, where they are asked for."""
    found: dict[str, Any] = {}
    if config.freshness is not None:
        newest = pc.max(table[config.freshness.column]).as_py()
        found["newest"] = newest.isoformat() if newest is not None else ""
    if config.balance is not None:
        cells = table[config.balance.column].cast(pa.string())
        classes = {str(one["values"]): one["counts"] for one in cells.drop_null().value_counts().to_pylist()}
        if len(classes) > MOST_CLASSES:
            raise DataError(
                "E_BALANCE",
                f"this column has more than {MOST_CLASSES} values in one part: it holds no classes",
                place="checks.balance.column",
                value=config.balance.column,
                action="name the column of the classes",
            )
        found["classes"] = classes
    return found


def classes_of(records: Sequence[Record]) -> dict[str, int]:
    """The rows of each class, over all partitions."""
    total: Counter[str] = Counter()
    for record in records:
        total.update(record.meta.get("classes", {}))
    return dict(total.most_common())


def check_rows(config: "ValidateConfig", rows: int) -> None:
    """Raise E_ROW_COUNT where there are fewer or more good rows than the recipe says."""
    for limit, name, wrong in (
        (config.min_rows, "min_rows", rows < config.min_rows),
        (config.max_rows, "max_rows", rows > config.max_rows > 0),
    ):
        if wrong:
            raise DataError(
                "E_ROW_COUNT",
                f"{rows} good rows",
                place=f"checks.{name}",
                allowed=f"{'at least' if name == 'min_rows' else 'at most'} {limit}",
                action="look at what the source gives, or change the limit",
            )


def check_duplicates(config: "ValidateConfig", twice: int, rows: int) -> None:
    """Raise E_DUPLICATE where more rows equal an earlier one than the recipe says."""
    if twice > config.max_duplicates * rows:
        raise DataError(
            "E_DUPLICATE",
            f"{twice} of {rows} rows equal an earlier row",
            place="checks.max_duplicates",
            allowed=f"at most {config.max_duplicates:.2%}",
            action="drop them (cleaning: [{kind: drop-duplicates}]) and raise it, or look where they come from",
        )


def check_classes(config: "ValidateConfig", classes: dict[str, int]) -> None:
    """Raise E_BALANCE where a class is rarer than the recipe says."""
    if config.balance is None:
        return
    total = sum(classes.values())
    least = max(config.balance.min_rows, config.balance.min_share * total)
    rare = {name: rows for name, rows in classes.items() if rows < least}
    if rare:
        name = min(rare, key=lambda one: rare[one])
        raise DataError(
            "E_BALANCE",
            f"{len(rare)} of {len(classes)} classes are too rare; {name!r} has {rare[name]} of {total} rows",
            place=f"checks.balance {config.balance.column}",
            allowed=f"at least {least:g} rows of each",
            action="bring more rows of it, drop the class, or lower the limit",
        )


def newest_of(records: Sequence[Record]) -> str:
    """The newest time of all partitions, ISO 8601; "" where there is none."""
    return max((record.meta.get("newest", "") for record in records), default="")


def check_age(config: "ValidateConfig", newest: str, now: datetime | None = None) -> None:
    """Raise E_STALE where the newest row is older than the recipe says. Asked in every run: age comes by itself."""
    if config.freshness is None:
        return
    when = datetime.fromisoformat(newest or "0001-01-01")
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    if (now or datetime.now(UTC)) - when > timedelta(hours=config.freshness.max_age_hours):
        raise DataError(
            "E_STALE",
            "the newest row is too old" if newest else "no row has a time",
            place=f"checks.freshness {config.freshness.column}",
            value=newest or None,
            allowed=f"at most {config.freshness.max_age_hours:g} hours old",
            action="look why the source has stopped, or raise max_age_hours",
        )


def check_drift(config: "ValidateConfig", drift: dict[str, float]) -> None:
    """Raise E_DRIFT where a column differs more from the snapshot before than the recipe says."""
    worst = max(drift, key=lambda one: drift[one], default="")
    if config.max_drift and worst and drift[worst] > config.max_drift:
        raise DataError(
            "E_DRIFT",
            f"{worst} differs from the snapshot before by {drift[worst]:.3f} (population stability index)",
            place="checks.max_drift",
            allowed=f"at most {config.max_drift:g}",
            action="look at the data report; if the change is right, raise it until the next data come, or name the "
            "other columns in checks.drift_columns",
        )
