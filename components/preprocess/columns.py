"""Whether the cleaned rows have the columns that a recipe names."""

from typing import Any

from components.contracts.artifacts import CleanSnapshot
from components.contracts.errors import DataError


def check_columns(config: Any, clean: CleanSnapshot) -> None:
    """Raise E_COLUMN_MISSING where one is not there."""
    names = [column.name for column in clean.columns]
    for place, column in (
        ("split.column", config.split.column),
        ("leaks.group", config.leaks.group),
        ("leaks.time", config.leaks.time),
        *(("reweigh", column) for column in config.reweigh),
    ):
        if column and column not in names:
            raise _no_column(place, column, names)
    for number, one in enumerate(config.outliers):
        for column in one.columns:
            if column not in names:
                raise _no_column(f"outliers.{number}.columns", column, names)
    places = [f"features.{number}" for number in range(len(config.features))]
    for place, feature in zip([*places, "target"], (*config.features, config.target), strict=True):
        for column in feature.columns:
            if column not in names:
                key = "columns" if "columns" in type(feature).model_fields else "column"
                raise _no_column(f"{place}.{key}", column, names)


def _no_column(place: str, column: str, names: list[str]) -> DataError:
    return DataError(
        "E_COLUMN_MISSING",
        "the cleaned rows have no such column",
        place=place,
        value=column,
        allowed=", ".join(names),
        action="correct the name",
    )
