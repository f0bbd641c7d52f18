"""Which rows of a table a part holds: a range of its key, or a page of those whose key is the same or missing."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

NUMBER = "millrace_row_number"
"""The column by which pages are told apart; it is no column of the rows."""


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Rows of the `kind`: all, those from `low` up to `high` (not with it), or those without a key.

    With `size` only so many of them, `first` being how many come before in the order of all columns.
    """

    kind: Literal["", "range", "null"]
    low: Any = None
    high: Any = None
    first: int = 0
    size: int = 0

    @property
    def identity(self) -> list[str]:
        """What tells it apart, as text."""
        return [str(self.low), str(self.high), self.kind, *([str(self.first), str(self.size)] if self.size else [])]

    @property
    def said(self) -> str:
        """Behind the key's name, for a person."""
        what = {"": "", "null": "missing", "range": f"from {self.low}"}[self.kind]
        return f"{what}, row {self.first + 1} on" if self.size else what

    def pages(self, count: int, most: int) -> Iterator["tuple[Bounds, int]"]:
        """Itself with its `count`, or pages of at most `most` rows where it is twice as many."""
        if not self.kind or count <= 2 * most:
            yield self, count
            return
        for first in range(0, count, most):
            yield replace(self, first=first, size=most), min(most, count - first)

    def where(self, key: str) -> tuple[str, dict[str, Any]]:
        """The condition, with the quoted key, and its parameters."""
        if not self.kind:
            return "", {}
        if self.kind == "null":
            return f" WHERE {key} IS NULL", {}
        terms = [f"{key} IS NOT NULL"]
        terms += [f"{key} >= :low"] if self.low is not None else []
        terms += [f"{key} < :high"] if self.high is not None else []
        values = {name: value for name, value in (("low", self.low), ("high", self.high)) if value is not None}
        return f" WHERE {' AND '.join(terms)}", values

    def select(self, base: str, key: str, order: str) -> tuple[str, dict[str, Any]]:
        """The statement that reads these rows of `base`, in that order, and its parameters."""
        where, values = self.where(key)
        if not self.size:
            return f"SELECT * FROM {base}{where}" + (f" ORDER BY {order}" if order else ""), values
        numbered = f"SELECT *, row_number() OVER (ORDER BY {order}) AS {NUMBER} FROM {base}{where}"
        bounds = {"after": self.first, "upto": self.first + self.size}
        return (
            f"SELECT * FROM ({numbered}) AS numbered WHERE {NUMBER} > :after AND {NUMBER} <= :upto ORDER BY {NUMBER}",
            values | bounds,
        )
