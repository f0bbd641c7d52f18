"""k-means: so many centres, each the mean of the rows that lie nearest to it (Lloyd 1982)."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import TensorSpec
from components.models.passing import State, Sums, Tensors, check_real, side_by_side

STILL = 1e-4
"""Centres that move less than this share of the rows' deviation stand."""


class KMeans(StepConfig):
    """Centres of the inputs side by side; several beginnings are followed at once, and the best is kept."""

    passes: ClassVar[bool] = True
    serves: ClassVar[tuple[str, ...]] = ("clustering",)

    kind: Literal["k-means"] = "k-means"
    starts: int = Field(10, ge=1, description="beginnings, each drawn as k-means++ (Arthur and Vassilvitskii 2007)")
    rows_a_pass: int = Field(
        0, ge=0, description="mini-batches (Sculley 2010): rows of each pass, drawn anew; 0: every pass sees all rows"
    )

    def begin(self, sample: Tensors, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec], seed: int) -> State:
        """Centres float64[starts, clusters, numbers] among the sample's rows."""
        rows = side_by_side(sample).double().numpy()
        clusters = outputs[0].shape[0]
        drawn = np.random.Generator(np.random.PCG64(seed))
        centres = np.stack([_spread(rows, clusters, drawn) for _ in range(self.starts)])
        deviation = np.sqrt(rows.var(axis=0).sum())
        return {
            "centres": centres,
            "counts": np.zeros(centres.shape[:2]),
            "loss": np.full(self.starts, np.inf),
            "mean": rows.mean(axis=0),
            "deviation": np.array(deviation),
        }

    def look(self, state: State, inputs: Tensors, targets: Tensors) -> Sums:
        """Of each beginning: the sums and numbers of the rows nearest to each centre, and their squared distances."""
        import torch

        rows = side_by_side(inputs)
        found = []
        for centres in torch.from_numpy(state["centres"]).float():
            squares = _squares(rows, centres)
            least, nearest = squares.min(1)
            sums = torch.zeros(centres.shape, dtype=torch.float64).index_add_(0, nearest, rows.double())
            counts = torch.bincount(nearest, minlength=len(centres)).double()
            found.append((sums.numpy(), counts.numpy(), float(least.double().sum())))
        sums_of, counts_of, losses = zip(*found, strict=True)
        return {
            "sums": np.stack(sums_of),
            "counts": np.stack(counts_of),
            "loss": np.array(losses),
            "rows": np.array(float(len(rows))),
        }

    def step(self, state: State, sums: Sums) -> tuple[State, bool]:
        """Each centre where its rows have their mean; of mini-batches, the mean of all rows that it ever had."""
        seen = sums["counts"] + (state["counts"] if self.rows_a_pass else 0)
        new = sums["counts"][..., None] * state["centres"]
        moves = np.where(seen[..., None] > 0, (sums["sums"] - new) / np.maximum(seen, 1)[..., None], 0.0)
        losses = sums["loss"] / max(float(sums["rows"]), 1.0)
        made = {**state, "centres": state["centres"] + moves, "loss": losses}
        if self.rows_a_pass:
            # One draw of rows says little about which beginning is the best.
            known = np.where(np.isfinite(state["loss"]), state["loss"], losses)
            made |= {"counts": seen, "loss": 0.9 * known + 0.1 * losses}
        return made, bool(np.abs(moves).max() <= STILL * state["deviation"])

    def weights(self, state: State) -> dict[str, NDArray[Any]]:
        """The centres of the beginning whose rows lie nearest to them, and the mean of the sample."""
        best = int(np.argmin(state["loss"]))
        return {"centres": state["centres"][best].astype(np.float32), "mean": state["mean"].astype(np.float32)}

    def build(self, inputs: Sequence[TensorSpec], outputs: Sequence[TensorSpec]) -> Any:
        """An nn.Module from named inputs to squared distances to the centres, and last to the mean of all rows.

        Raises:
            ConfigError: E_CONFIG, an input is none of numbers.
        """
        import torch
        from torch import Tensor, nn

        width = check_real(inputs, self.kind)
        (clusters,), name = outputs[0].shape, outputs[0].name

        class Network(nn.Module):
            centres: Tensor
            mean: Tensor

            def __init__(self) -> None:
                super().__init__()
                self.register_buffer("centres", torch.zeros(clusters, width))
                self.register_buffer("mean", torch.zeros(width))

            def forward(self, values: Mapping[str, Tensor]) -> dict[str, Tensor]:
                rows = side_by_side(values)
                return {name: _squares(rows, self.centres), "to mean": _squares(rows, self.mean[None])[:, 0]}

        return Network()


def _squares(rows: Any, centres: Any) -> Any:
    """Squared distances, float32[rows, centres]."""
    import torch

    return torch.cdist(rows, centres, compute_mode="donot_use_mm_for_euclid_dist").square()


def _spread(rows: NDArray[np.float64], clusters: int, drawn: np.random.Generator) -> NDArray[np.float64]:
    """k-means++: each further centre is a row drawn by its squared distance to the nearest one so far."""
    chosen = [rows[drawn.integers(len(rows))]]
    least = np.full(len(rows), np.inf)
    for _ in range(clusters - 1):
        least = np.minimum(least, ((rows - chosen[-1]) ** 2).sum(axis=1))
        total = least.sum()
        at = drawn.choice(len(rows), p=least / total) if total > 0 else drawn.integers(len(rows))
        chosen.append(rows[at])
    return np.stack(chosen)
