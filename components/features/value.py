"""The target of a regression: columns of numbers or of lists, learnt on one scale and told in their own units."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import ColumnType, TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State, check_lists, numbers_of
from components.statistics.moments import Moments


class Value(OfNumbers, StepConfig):
    """Number columns as what is to be predicted."""

    kind: Literal["value"] = "value"
    name: str = Field("value", pattern=NAME, description="the tensor's name; unique in the recipe")
    columns: tuple[str, ...] = Field(min_length=1, description="the number columns to predict")
    scale: Literal["standard", "none"] = Field(
        "standard", description="standard: learnt with mean 0 and deviation 1; none: as they are"
    )
    steps: int = Field(
        0, ge=0, description="of columns of lists, as of a source of windows: numbers in each; 0: columns of numbers"
    )
    log: bool = Field(False, description="learn log(1 + |x|) with x's sign; for long tails")

    @property
    def needs(self) -> ColumnType:
        """What the columns have to be."""
        return "floats" if self.steps else "float64"

    @property
    def places(self) -> list[str]:
        """What each of the numbers is called."""
        if not self.steps:
            return list(self.columns)
        return [f"{name}[{step}]" for name in self.columns for step in range(self.steps)]

    def prepare(self, table: pa.Table) -> Prepared:
        """float64[rows, columns], of lists float64[rows, columns * steps].

        Raises:
            DataError: E_VALUE, a cell is missing or no number, or a list has another length.
        """
        place = f"target.{self.name}"
        if self.steps:
            values = np.concatenate([self._lists(table[name], name, place) for name in self.columns], axis=1)
        else:
            values = np.stack([numbers_of(table[name], name, place, pa.float64()) for name in self.columns], axis=1)
        wrong = np.argwhere(~np.isfinite(values))
        if len(wrong):
            row, column = wrong[0]
            raise DataError(
                "E_VALUE",
                "a target is missing or no number",
                place=place,
                value=f"{self.places[column]}: {values[row, column]}",
                action=f"drop such rows: cleaning: [{{kind: require, columns: [{self.places[column]}]}}]",
            )
        return Prepared(values=values)

    def _lists(self, cells: pa.ChunkedArray, name: str, place: str) -> NDArray[np.float64]:
        check_lists(cells, name, place)
        lists = cells.combine_chunks()
        lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
        wrong = lengths[lengths != self.steps]
        if len(wrong):
            raise DataError(
                "E_VALUE",
                f"a list of {name} has {wrong[0]} numbers" if wrong[0] >= 0 else f"a row has no list of {name}",
                place=place,
                value=name,
                allowed=f"{self.steps} numbers",
                action="correct target.steps, or set such rows aside (checks.columns: min_length, max_length)",
            )
        flat = lists.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
        return np.asarray(flat.reshape(-1, self.steps), np.float64)

    def fit(self, prepared: Prepared) -> State:
        """Count, mean and sum of squared deviations per column, and the same of what is learnt."""
        return {"own": Moments.of(prepared.values).state, "learnt": Moments.of(self._learnt(prepared.values)).state}

    def merge(self, first: State, second: State) -> State:
        """Those of two disjoint sets of rows together."""
        return {
            name: Moments.of_state(first[name]).joined(Moments.of_state(second[name])).state
            for name in ("own", "learnt")
        }

    def finish(self, partial: State) -> State:
        """The mean in the column's own units, and the centre and scale of what is learnt.

        Raises:
            DataError: E_LABEL, a column is the same in all training rows.
        """
        own, learnt = (Moments.of_state(partial[name]) for name in ("own", "learnt"))
        for name, deviation, mean in zip(self.places, own.deviation, own.mean, strict=True):
            if not deviation > 0:
                raise DataError(
                    "E_LABEL",
                    "the target is the same in every training row",
                    place=f"target.columns {name}",
                    value=float(mean),
                    action="name another target, or bring more data",
                )
        plain = self.scale == "none"
        return {
            "mean": own.mean.tolist(),
            "centre": [0.0] * len(self.places) if plain else learnt.mean.tolist(),
            "scale": [1.0] * len(self.places) if plain else learnt.scale.tolist(),
        }

    def spec(self, state: State) -> TensorSpec:
        """float32[columns]."""
        return TensorSpec(name=self.name, shape=(len(self.places),), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """float32[rows, columns] on the scale that is learnt."""
        import torch

        if self.log:
            values = values.sign() * values.abs().log1p()
        centre, scale = (
            torch.tensor(state[name], dtype=torch.float64, device=values.device) for name in ("centre", "scale")
        )
        return ((values - centre) / scale).float()

    def restored(self, values: NDArray[np.float64], state: State) -> NDArray[np.float64]:
        """What was learnt, float64[rows, columns], in the columns' own units."""
        found = values * np.array(state["scale"]) + np.array(state["centre"])
        return found if not self.log else np.asarray(np.sign(found) * np.expm1(np.abs(found)))

    def truth(self, prepared: Prepared, state: State) -> NDArray[np.float64]:
        """float64[rows, columns] in their own units."""
        values: NDArray[np.float64] = prepared.values
        return values

    def _learnt(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.sign(values) * np.log1p(np.abs(values)) if self.log else values
