"""Numbers on one scale; what is missing is filled, what lies far off clipped or flagged, as training rows say."""

from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import ColumnType, TensorSpec
from components.features import forest, missing, scales
from components.features.feature import NAME, OfNumbers, Prepared, State, numbers_of
from components.features.scales import Scale
from components.statistics.moments import Moments
from components.statistics.quantiles import joined, quantile, summary
from components.statistics.tails import joined_tails, tails_of

BLOCK = 2**13
"""Rows that are counted at a time, so that they stay in the cache."""
FAR = 1e30
"""Further than any bound: JSON knows no infinity."""


class Number(OfNumbers, StepConfig):
    """Number columns as one float32 tensor."""

    needs: ClassVar[ColumnType] = "float64"
    kind: Literal["number"] = "number"
    name: str = Field("numbers", pattern=NAME, description="the tensor's name; unique in the recipe")
    columns: tuple[str, ...] = Field(min_length=1, description="number columns")
    scale: Scale = Field(
        "standard",
        description="standard: mean 0 and deviation 1; min-max: 0 to 1 over the training rows; quantile: the share of "
        "training rows that lie below; none: as they are",
    )
    log: bool = Field(False, description="take log(1 + |x|) with x's sign first; for long tails")
    missing_flags: bool = Field(False, description="add one 0/1 number per column: was the cell missing")

    missing: Literal["mean", "median", "mode", "model"] = Field(
        "mean", description="what stands for a missing cell; model: a regression on the feature's other columns"
    )
    outliers: Literal["keep", "clip", "flag"] = Field(
        "keep", description="what happens to cells that lie far off; flag adds one 0/1 number per column"
    )
    outlier_rule: Literal["iqr", "z-score", "isolation-forest"] = Field(
        "iqr",
        description="far off: outlier_factor times the middle half's width beyond it, or so many deviations; or, of "
        "rows, what a forest sets apart early: one flag for all columns, or clipped to where the other rows lie",
    )
    outlier_factor: float = Field(3.0, gt=0, description="how far is far off")
    outlier_share: float = Field(0.01, gt=0, lt=0.5, description="isolation-forest: share of training rows set apart")

    def prepare(self, table: pa.Table) -> Prepared:
        """float32[rows, columns], NaN where missing."""
        cells = [numbers_of(table[name], name, f"features.{self.name}", pa.float64()) for name in self.columns]
        return Prepared(values=self.of_matrix(np.stack(cells, axis=1)))

    def of_matrix(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """The same of float64[rows, columns]."""
        if np.nanmax(np.abs(values), initial=0) > np.finfo(np.float32).max:
            raise DataError(
                "E_VALUE",
                "a number that 32 bits cannot hold",
                place=f"features.{self.name}",
                value=float(np.nanmax(np.abs(values))),
                allowed=f"up to {np.finfo(np.float32).max:.4g}",
                action="set a maximum for the column in checks.columns",
            )
        return values.astype(np.float32)

    def fit(self, prepared: Prepared) -> State:
        """Count, mean and sum of squared deviations per column, and what `missing` and `outliers` need."""
        values = self._scaled(prepared.values.astype(np.float64))
        moments = Moments.of(values)
        return {
            "rows": len(values),
            **moments.state,
            "missing": missing.partial_of(self.missing, values),
            "quantiles": [summary(column) for column in values.T] if self._with_summary() else [],
            "sample": forest.partial_of(values) if self._by_forest() else {},
            "tails": tails_of(prepared.values) if self._with_bounds() else [],
        }

    def merge(self, first: State, second: State) -> State:
        """Those of two disjoint sets of rows together."""
        moments = Moments.of_state(first).joined(Moments.of_state(second))
        pairs = zip(first["quantiles"], second["quantiles"], strict=True)
        return {
            "rows": first["rows"] + second["rows"],
            **moments.state,
            "missing": missing.merged(first["missing"], second["missing"]),
            "quantiles": [joined(one, other) for one, other in pairs],
            "sample": forest.merged(first["sample"], second["sample"]) if self._by_forest() else {},
            "tails": joined_tails(first["tails"], second["tails"]),
        }

    def finish(self, partial: State) -> State:
        """Mean and deviation (a constant column is divided by one), fillings, bounds, and how many cells lacked."""
        moments = Moments.of_state(partial)
        scale = moments.scale
        state = {"mean": partial["mean"], "scale": scale.tolist()}
        state["missing"] = [int(partial["rows"] - count) for count in partial["count"]]
        known, rows = moments.count, partial["rows"]
        says = (moments.deviation > 0) | (self.missing_flags & (known > 0) & (known < rows))
        state["dead"] = [name for name, alive in zip(self.columns, says, strict=True) if not alive]
        medians = np.array([quantile(one, 0.5) for one in partial["quantiles"]]) if self.missing == "median" else None
        state |= missing.fill_of(partial["missing"], medians, moments.mean, scale)
        state |= scales.fitted(self.scale, partial["quantiles"], moments.mean, scale)
        if self.outliers == "keep":
            return state
        if self._by_forest():
            return state | forest.grown(partial["sample"], moments.mean, scale, self.outlier_share)
        if self._by_quartiles():
            first, last = (np.array([quantile(one, share) for one in partial["quantiles"]]) for share in (0.25, 0.75))
            # Where more than half of the rows have one value there is no middle half to measure by.
            reach = np.where(last > first, self.outlier_factor * (last - first), FAR)
            low, high = first - reach, last + reach
        else:
            reach = np.where(moments.deviation > 0, self.outlier_factor * moments.deviation, FAR)
            low, high = moments.mean - reach, moments.mean + reach
        bounds = ((bound - moments.mean) / scale for bound in (low, high))
        return state | dict(zip(("low", "high"), (np.nan_to_num(one).tolist() for one in bounds), strict=True))

    def spec(self, state: State) -> TensorSpec:
        """float32[columns], and as many more for each kind of flag; a forest's is one."""
        flags = {"flag": 1 if self._by_forest() else len(self.columns)}.get(self.outliers, 0)
        width = len(self.columns) * (1 + self.missing_flags) + flags
        return TensorSpec(name=self.name, shape=(width,), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """The numbers on their scale, filled where missing, clipped or flagged where far off."""
        import torch

        lost = torch.isnan(values)
        standard = unclipped = self._standard(values, state)
        flags = [lost.float()] if self.missing_flags else []
        if self.outliers == "clip":
            standard = self._clipped(standard, state)
        elif self.outliers == "flag":
            flags.append(self._far(standard, state).float())
        found = scales.scaled(self.scale, missing.filled(standard, lost, state), state)
        if self.scale == "none":
            # What is neither filled nor clipped is not rounded on the way.
            bare = self._scaled_tensor(values)
            found = torch.where(lost | (standard != unclipped), found, bare)
        return torch.cat([found, *flags], 1) if flags else found

    def total(self, partial: State, state: State) -> dict[str, int] | None:
        """What `counted` would find in all training rows; None where the partial state does not say."""
        found = {"filled": sum(state["missing"])} if any(state["missing"]) else {}
        if self.outliers == "keep":
            return found
        if self._by_forest():
            return None
        width, far = len(self.columns), 0
        for at, values in enumerate(partial["tails"]):
            column = at % width
            standard = self._standardised(values, state, column)
            beyond = standard < _bound(state, "low", column) if at < width else standard > _bound(state, "high", column)
            if beyond.all() and len(values) < partial["count"][column]:
                return None
            far += int(beyond.sum())
        return found | {"clipped" if self.outliers == "clip" else "flagged": far}

    def _standardised(self, values: NDArray[Any], state: State, column: Any = slice(None)) -> NDArray[np.float32]:
        """What `apply` does to stored cells first, without importing torch for it."""
        found: NDArray[np.float32] = (self._scaled(values) - _bound(state, "mean", column)) / _bound(
            state, "scale", column
        )
        return found

    def counted(self, values: NDArray[np.float32], state: State) -> dict[str, int]:
        """How many of the stored cells are filled, and clipped or flagged (by a forest, how many rows)."""
        found = {"filled": int(np.isnan(values).sum())} if any(state["missing"]) else {}
        if self.outliers == "keep":
            return found
        if self._by_forest():
            import torch

            standard = self._standard(torch.from_numpy(np.array(values)), state)
            if self.outliers == "flag":
                return found | {"flagged": int(self._far(standard, state).sum())}
            clipped = self._clipped(standard, state)
            return found | {"clipped": int(((clipped != standard) & ~standard.isnan()).sum())}
        blocks = range(0, len(values), BLOCK)
        far = 0
        for start in blocks:
            standard = self._standardised(values[start : start + BLOCK], state)
            far += int(((standard < _bound(state, "low")) | (standard > _bound(state, "high"))).sum())
        return found | {"clipped" if self.outliers == "clip" else "flagged": far}

    def _standard(self, values: Any, state: State) -> Any:
        import torch

        scaled = self._scaled_tensor(values)
        mean, scale = (
            torch.tensor(state[name], dtype=torch.float32, device=values.device) for name in ("mean", "scale")
        )
        return (scaled - mean) / scale

    def _scaled_tensor(self, values: Any) -> Any:
        return values.sign() * values.abs().log1p() if self.log else values

    def _far(self, standard: Any, state: State) -> Any:
        """bool[rows, columns]: the cells that lie far off; bool[rows, 1] by a forest."""
        if self._by_forest():
            return forest.is_far(standard.nan_to_num(), state)
        low, high = _bounds(state, standard)
        return (standard < low) | (standard > high)

    def _clipped(self, standard: Any, state: State) -> Any:
        """The cells brought within the bounds; by a forest, those of the rows that it sets apart."""
        if "low" not in state:
            return standard
        inside = standard.clamp(*_bounds(state, standard))
        return inside.where(self._far(standard, state), standard) if self._by_forest() else inside

    def _with_bounds(self) -> bool:
        return self.outliers != "keep" and not self._by_forest()

    def _with_summary(self) -> bool:
        return self._by_quartiles() or self.missing == "median" or self.scale in {"min-max", "quantile"}

    def _by_quartiles(self) -> bool:
        return self.outliers != "keep" and self.outlier_rule == "iqr"

    def _by_forest(self) -> bool:
        return self.outliers != "keep" and self.outlier_rule == "isolation-forest"

    def _scaled(self, values: NDArray[Any]) -> NDArray[Any]:
        return np.sign(values) * np.log1p(np.abs(values)) if self.log else values


def _bound(state: State, name: str, column: Any = slice(None)) -> Any:
    return np.array(state[name], np.float32)[column]


def _bounds(state: State, like: Any) -> tuple[Any, Any]:
    import torch

    low, high = (torch.tensor(state[name], dtype=torch.float32, device=like.device) for name in ("low", "high"))
    return low, high
