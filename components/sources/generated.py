"""Made-up rows of any number, for trials of scale: each partition has a seed of its own, so that any can be made alone.

The shapes are those of scikit-learn's generators of the same names (regression, classification, blobs), whose arrays
have to fit into memory whole; and sine sequences, whose next value is to be told.
"""

from pathlib import Path
from typing import Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import DigestOf, Partition, Rows

Floats = NDArray[np.float64]


class GeneratedSource(StepConfig):
    """Rows that follow from a seed: columns `x0` … and `y`, or of sine `series` and `y`."""

    kind: Literal["generated"] = "generated"
    shape: Literal["regression", "classification", "blobs", "sine"] = Field(
        description="regression: y is linear in x; classification: the side of a curved border; blobs: one cloud a "
        "class; sine: a noisy wave and its next value"
    )
    rows: int = Field(1000, ge=1, description="how many rows")
    columns_count: int = Field(10, ge=1, le=10_000, description="how many numbers x has; of sine the series' length")
    classes: int = Field(2, ge=2, le=1000, description="of classification and blobs")
    weights: tuple[float, ...] = Field((), description="regression: what each x counts; none: drawn")
    intercept: float = Field(0.0, allow_inf_nan=False, description="regression: y where every x is 0")
    noise: float = Field(0.1, ge=0, allow_inf_nan=False, description="standard deviation of what is added to y or x")
    missing: float = Field(0.0, ge=0, lt=1, description="share of the numbers of x that are left out")
    seed: int = Field(0, ge=0, description="the same seed gives the same rows, however many there are")
    rows_per_partition: int = Field(100_000, ge=1, description="rows that one task makes")

    @model_validator(mode="after")
    def _weighted(self) -> Self:
        if (self.weights or self.intercept) and self.shape != "regression":
            raise ValueError("weights and intercept belong to regression")
        if self.weights and len(self.weights) != self.columns_count:
            raise ValueError(f"there are {self.columns_count} columns and {len(self.weights)} weights")
        return self

    def version(self, digest_of: DigestOf) -> str:
        """All that there is to know stands in the config."""
        return digest(self.model_dump(mode="json"))

    def columns(self) -> tuple[Column, ...]:
        """Numbers, and of classes a label `class_0` … as text."""
        target = Column(name="y", type="string" if self._of_classes else "float64", nullable=False)
        if self.shape == "sine":
            return Column(name="series", type="floats", nullable=False), target
        numbers = tuple(Column(name=f"x{one}", type="float64") for one in range(self.columns_count))
        return (*numbers, target)

    @property
    def _of_classes(self) -> bool:
        return self.shape in {"classification", "blobs"}

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Runs of rows; more rows leave all but the last as they were."""
        fields = self.model_dump(mode="json", exclude={"rows"})
        return [
            Partition(
                place=f"{self.shape} from row {start + 1}",
                version=digest([fields, start, min(start + self.rows_per_partition, self.rows)]),
                size_bytes=8 * self.columns_count * min(self.rows_per_partition, self.rows - start),
                argument=[start, min(start + self.rows_per_partition, self.rows)],
            )
            for start in range(0, self.rows, self.rows_per_partition)
        ]

    def read(self, partition: Partition) -> Rows:
        """The rows of one run."""
        start, end = partition.argument
        # A whole partition is drawn and cut, so that a longer one begins with the same rows.
        random = np.random.default_rng([self.seed, start // self.rows_per_partition])
        values, target = self._drawn(random)
        values, target = values[: end - start], target[: end - start]
        numbers = pa.array(np.arange(start + 1, end + 1))
        if self.shape == "sine":
            offsets = pa.array(np.arange(0, len(values) * self.columns_count + 1, self.columns_count), pa.int32())
            series = pa.ListArray.from_arrays(offsets, pa.array(values.ravel()))
            return Rows(table=pa.table({"series": series, "y": target}), numbers=numbers)
        gone = (
            np.random.default_rng([self.seed, start // self.rows_per_partition, 1]).random(values.shape) < self.missing
        )
        cells = {f"x{one}": pa.array(values[:, one], mask=gone[:, one]) for one in range(self.columns_count)}
        text = pa.array(np.char.add("class_", target.astype(int).astype(str))) if self._of_classes else pa.array(target)
        return Rows(table=pa.table({**cells, "y": text}), numbers=numbers)

    def _drawn(self, random: np.random.Generator) -> tuple[Floats, Floats]:
        """x: float64[rows_per_partition, columns_count] and y of one partition."""
        rows, width = self.rows_per_partition, self.columns_count
        whole = np.random.default_rng(self.seed)
        if self.shape == "sine":
            phase, speed = random.uniform(0, 2 * np.pi, (rows, 1)), random.uniform(0.1, 0.5, (rows, 1))
            wave = np.sin(phase + speed * np.arange(width + 1)) + random.normal(0, self.noise, (rows, width + 1))
            return wave[:, :-1], wave[:, -1]
        if self.shape == "blobs":
            centres = whole.uniform(-10, 10, (self.classes, width))
            classes = random.integers(0, self.classes, rows)
            return centres[classes] + random.normal(0, max(self.noise, 1e-9), (rows, width)), classes.astype(float)
        values, weights = random.normal(size=(rows, width)), whole.normal(size=width)
        if self.shape == "regression":
            known = np.array(self.weights) if self.weights else weights
            return values, values @ known + self.intercept + random.normal(0, self.noise, rows)
        # The rank of a curved score among the classes' equal shares of a normal distribution.
        score = (values @ weights + 0.5 * (values[:, 0] ** 2 - 1)) / np.linalg.norm(weights)
        borders = np.quantile(whole.normal(size=100_000), np.arange(1, self.classes) / self.classes)
        return values, np.searchsorted(borders, score + random.normal(0, self.noise, rows)).astype(float)
