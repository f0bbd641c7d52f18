"""Numbers as the bin that each lies in."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import ColumnType, TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State, numbers_of, one_hot
from components.statistics.quantiles import joined, quantile, summary


class Bins(OfNumbers, StepConfig):
    """Number columns as one tensor of bins; bin 0 is for missing numbers."""

    needs: ClassVar[ColumnType] = "float64"
    kind: Literal["bins"] = "bins"
    name: str = Field("bins", pattern=NAME, description="the tensor's name; unique in the recipe")
    columns: tuple[str, ...] = Field(min_length=1, description="number columns")
    count: int = Field(10, ge=2, le=1000, description="bins at most; where many rows have one value there are fewer")
    edges: Literal["quantiles", "equal"] = Field(
        "quantiles", description="quantiles: as many training rows in each; equal: as wide, from the least to the most"
    )
    encoding: Literal["index", "one-hot"] = Field("index", description="one whole number a column, or one 0/1 a bin")

    def prepare(self, table: pa.Table) -> Prepared:
        """float64[rows, columns], NaN where missing."""
        cells = [numbers_of(table[name], name, f"features.{self.name}", pa.float64()) for name in self.columns]
        return Prepared(values=np.stack(cells, axis=1))

    def fit(self, prepared: Prepared) -> State:
        """What quantiles are read from, per column; the first and the last are the least and the most."""
        values = prepared.values
        return {"rows": len(values), "quantiles": [summary(column) for column in values.T]}

    def merge(self, first: State, second: State) -> State:
        """Those of two disjoint sets of rows together."""
        pairs = zip(first["quantiles"], second["quantiles"], strict=True)
        return {"rows": first["rows"] + second["rows"], "quantiles": [joined(one, other) for one, other in pairs]}

    def finish(self, partial: State) -> State:
        """The edges between the bins of each column, rising; a column with one value and none missing is dead."""
        shares = np.linspace(0, 1, self.count + 1)[1:-1]
        edges, dead = [], []
        for name, one in zip(self.columns, partial["quantiles"], strict=True):
            points, weights = one
            low, high = quantile(one, 0), quantile(one, 1)
            equal = low + shares * (high - low)
            cuts = [quantile(one, share) for share in shares] if self.edges == "quantiles" else equal.tolist()
            found = sorted({cut for cut in cuts if low < cut <= high})
            if low < high and not found:
                # Nearly all rows have the least value: the others are a bin of their own.
                found = [float(points[points > low][0])]
            edges.append(found)
            if not found and weights.sum() in {0, partial["rows"]}:
                dead.append(name)
        return {"edges": edges, "dead": dead}

    def spec(self, state: State) -> TensorSpec:
        """int64[columns] with the number of bins of each, or float32 with a place for each."""
        sizes = tuple(len(edges) + 2 for edges in state["edges"])
        if self.encoding == "one-hot":
            return TensorSpec(name=self.name, shape=(sum(sizes),), dtype="float32")
        return TensorSpec(name=self.name, shape=(len(sizes),), dtype="int64", classes=sizes)

    def apply(self, values: Any, state: State) -> Any:
        """The bins: 1 below the first edge, one more from each edge on."""
        import torch

        columns = []
        for column, edges in zip(values.T, state["edges"], strict=True):
            cuts = torch.tensor(edges, dtype=values.dtype, device=values.device)
            found = torch.searchsorted(cuts, column.contiguous(), right=True) + 1
            columns.append(torch.where(column.isnan(), 0, found))
        bins = torch.stack(columns, 1)
        return one_hot(bins, [len(edges) + 2 for edges in state["edges"]]) if self.encoding == "one-hot" else bins
