"""Windows of a long table: what happened in some steps, and what came after them, as lists in one row."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.registry import load_kind
from components.contracts.spec import Column
from components.sources import KINDS
from components.sources.partition import BadRow, DigestOf, Partition, Rows, Source

NEXT = "_next"
"""At the end of the name of a column that holds the steps after the window."""


class WindowsSource(StepConfig):
    """Rows of lists from another source's rows, which stand in the order of time, those of one series together."""

    kind: Literal["windows"] = "windows"
    of: Any = Field(description="the source of the steps, with its kind and fields")
    values: tuple[str, ...] = Field(min_length=1, description="number columns; each becomes a list of window steps")
    window: int = Field(ge=1, description="steps that are looked at")
    horizon: int = Field(0, ge=0, description="steps after the window, in columns whose names end in _next")
    stride: int = Field(1, ge=1, description="windows begin at steps whose row number is a multiple of it")
    series: str = Field("", description="a column that says which series a step is of; none: there is one")
    time: str = Field("", description="a column whose value at the window's last step is kept")

    @model_validator(mode="after")
    def _loaded(self) -> Self:
        if isinstance(self.of, dict):
            kind = load_kind(__package__, KINDS, self.of, "source.of")
            object.__setattr__(self, "of", kind.model_validate(self.of))
        if hasattr(self.of, "advanced"):
            raise ValueError("source.of is a stream: what comes behind a window is not known when it is read")
        return self

    @contextmanager
    def session(self) -> Iterator["WindowsSource"]:
        """The same windows of steps that are read in one session, where their source has such."""
        with self.of.session() if hasattr(self.of, "session") else nullcontext(self.of) as opened:
            yield self.model_copy(update={"of": opened})

    def version(self, digest_of: DigestOf) -> str:
        """That of the steps' source, and how windows are cut."""
        return digest([self._inner.version(digest_of), self.model_dump(mode="json", exclude={"of"})])

    def columns(self) -> tuple[Column, ...]:
        """Lists, and the columns that say which series and when."""
        kept = [Column(name=name, type="string") for name in (self.series, self.time) if name]
        ends = ("", NEXT) if self.horizon else ("",)
        lists = [f"{name}{end}" for name in self.values for end in ends]
        return (*kept, *(Column(name=name, type="floats", nullable=False) for name in lists))

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Those of the steps' source: each gives the windows that begin in it, and sees the partition behind it.

        What is given to another part of the split is not behind it: no window lies in two parts.
        """
        inner = self._inner.partitions(digest_of, scratch)
        fields = self.model_dump(mode="json", exclude={"of"})
        found = []
        for at, piece in enumerate(inner):
            behind = [one for one in inner[at + 1 : at + 2] if one.split == piece.split]
            seen = [piece, *behind]
            found.append(
                Partition(
                    place=piece.place,
                    version=digest([[one.version for one in seen], fields]),
                    size_bytes=max(1, piece.size_bytes * self.window // self.stride),
                    files=tuple(file for one in seen for file in one.files),
                    stamps=tuple(stamp for one in seen for stamp in one.stamps),
                    split=piece.split,
                    argument=[*seen, at + 2 < len(inner) and inner[at + 2].split == piece.split],
                )
            )
        return found

    def read(self, partition: Partition) -> Rows:
        """The windows that begin in one partition of steps; the number of each is that of its first step.

        A step that cannot be read is set aside, and no window holds its place.

        Raises:
            DataError: E_COLUMN_MISSING; E_TYPE, a value is no number; E_VALUE, one is missing.
        """
        own, *behind, there_is_more = partition.argument
        starts, bad = self._steps(own, 0)
        more = []
        for piece in behind:
            # What is wrong with it is said when its own turn comes.
            with suppress(DataError):
                more.append(self._steps(piece, len(bad))[0])
        need = self.window + self.horizon - 1
        if there_is_more and more and more[0].num_rows < need:
            raise DataError(
                "E_VALUE",
                f"a partition has {more[0].num_rows} steps, and a window goes on for {need}",
                place=behind[0].place,
                allowed=f"at least {need}",
                action="join the files, or raise the number of rows or bytes of a partition in source.of",
            )
        steps = pa.concat_tables([starts, *more]).combine_chunks()
        first = self._firsts(steps, starts.num_rows)
        at = first[:, None] + np.arange(self.window + self.horizon)
        found: dict[str, Any] = {}
        for name, place in ((self.series, first), (self.time, first + self.window - 1)):
            if name:
                found[name] = steps[name].take(pa.array(place))
        for name in self.values:
            cells = steps[name].to_numpy()[at]
            found[name] = _lists(cells[:, : self.window])
            if self.horizon:
                found[f"{name}{NEXT}"] = _lists(cells[:, self.window :])
        return Rows(table=pa.table(found), numbers=steps["number"].take(pa.array(first)), bad=bad)

    @property
    def _inner(self) -> Source:
        source: Source = self.of
        return source

    def _steps(self, piece: Partition, breaks: int) -> tuple[pa.Table, list[BadRow]]:
        """The steps of a partition, each with how many could not be read before it (`breaks` at its start), and these.

        A bad row breaks what is before it from what is behind: windows over both would skip a step.
        """
        rows = self._inner.read(piece)
        wanted = [name for name in (*self.values, self.series, self.time) if name]
        for name in wanted:
            if name not in rows.table.column_names:
                raise DataError(
                    "E_COLUMN_MISSING",
                    "the steps have no such column",
                    place=piece.place,
                    value=name,
                    allowed=", ".join(rows.table.column_names),
                    action="correct source.values, source.series or source.time",
                )
        numbers = pc.cast(rows.numbers, pa.int64())
        cells = {name: pa.array(self._numbers(rows.table[name], name)) for name in self.values}
        cells |= {name: rows.table[name].cast(pa.string()) for name in (self.series, self.time) if name}
        lost = np.full(rows.table.num_rows, breaks)
        for one in rows.bad:
            lost += np.asarray(numbers) > one.row
        return pa.table({**cells, "number": numbers, "lost": lost}), rows.bad

    def _firsts(self, steps: pa.Table, own: int) -> NDArray[np.int64]:
        """The rows at which windows begin: where enough steps of the same series follow."""
        rows = np.arange(steps.num_rows)
        last = rows + self.window + self.horizon - 1
        whole = last < len(rows)
        if len(rows):
            lost = np.asarray(steps["lost"])
            broken = lost[1:] != lost[:-1]
            if self.series:
                codes = np.asarray(steps[self.series].combine_chunks().dictionary_encode().indices.fill_null(-1))
                broken |= codes[1:] != codes[:-1]
            # How often it broke off up to each row: a window is whole where it has not within it.
            runs = np.cumsum(np.append(0, broken))
            whole &= runs[np.minimum(last, len(rows) - 1)] == runs
        numbers = np.asarray(steps["number"])
        return np.flatnonzero(whole & (rows < own) & (numbers % self.stride == 0))

    def _numbers(self, cells: pa.ChunkedArray, name: str) -> NDArray[np.float64]:
        try:
            found: NDArray[np.float64] = cells.cast(pa.float64()).to_numpy()
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                "E_TYPE", f"{name} is no number: {error}", place="source.values", value=name, action="correct the data"
            ) from error
        if np.isnan(found).any():
            raise DataError(
                "E_VALUE", f"{name} lacks a step", place="source.values", value=name, action="fill it in the data"
            )
        return found


def _lists(cells: NDArray[np.float64]) -> pa.Array:
    offsets = pa.array(np.arange(len(cells) + 1) * cells.shape[1], pa.int32())
    return pa.ListArray.from_arrays(offsets, pa.array(cells.reshape(-1)))
