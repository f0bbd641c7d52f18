"""The objects in an image: a box and a class each."""

from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from components.adapters.shard_files import Ragged
from components.contracts.config import StepConfig
from components.contracts.errors import DataError
from components.contracts.spec import TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State

NUMBERS = 5
"""Of each object: its class, and left, top, right and bottom."""
NONE = -1


class Boxes(OfNumbers, StepConfig):
    """Lists of boxes and of their classes as one float32 tensor."""

    kind: Literal["boxes"] = "boxes"
    name: str = Field("boxes", pattern=NAME, description="the tensor's name; unique in the recipe")
    boxes: str = Field("boxes", description="column of lists: left, top, right, bottom of each object, in pixels")
    labels: str = Field("labels", description="column of lists: the class of each object")
    width: str = Field("width", description="column with the image's width in pixels")
    height: str = Field("height", description="column with the image's height in pixels")
    classes: tuple[str, ...] = Field(min_length=1, description="the classes, in the order of their numbers")
    most: int = Field(0, ge=0, description="objects of each row, cut or filled up; 0: of the fullest row of a batch")

    @property
    def columns(self) -> tuple[str, ...]:
        """Boxes and labels, and the image's size."""
        return (self.boxes, self.labels, self.width, self.height)

    def prepare(self, table: pa.Table) -> Prepared:
        """Ragged float32, five numbers for each object: its class, and its sides as shares of the image.

        Raises:
            DataError: E_LABEL, a class that the recipe does not name; E_VALUE, not four sides for each label, or a box
                that is empty or lies outside of the image.
        """
        labels = self._lists(table, self.labels, pa.string())
        boxes = self._lists(table, self.boxes, pa.float64())
        counts = np.asarray(pc.fill_null(pc.list_value_length(labels), 0)).astype(np.int64)
        sides = np.asarray(pc.fill_null(pc.list_value_length(boxes), 0)).astype(np.int64)
        if (sides != 4 * counts).any():
            row = int(np.flatnonzero(sides != 4 * counts)[0])
            raise self._wrong(f"{sides[row]} sides for {counts[row]} labels", self.boxes, "four sides for each label")
        names = labels.flatten()
        kinds = np.asarray(pc.fill_null(pc.index_in(names, pa.array(self.classes)), NONE)).astype(np.int64)
        if (kinds == NONE).any():
            raise DataError(
                "E_LABEL",
                "a class that the recipe does not name",
                place=f"features.{self.name}.classes",
                value=names[int(np.flatnonzero(kinds == NONE)[0])].as_py(),
                allowed=", ".join(self.classes),
                action="add it, or clean the labels",
            )
        size = np.stack([np.asarray(table[name].cast(pa.float64())) for name in (self.width, self.height)], axis=1)
        shares = np.asarray(boxes.flatten(), np.float64).reshape(-1, 4) / np.tile(np.repeat(size, counts, axis=0), 2)
        empty = (shares[:, 2:] <= shares[:, :2]).any(axis=1)
        if empty.any() or not ((shares >= 0) & (shares <= 1)).all():
            raise self._wrong("a box is empty, or lies outside of its image", self.boxes, "left < right, top < bottom")
        flat = np.concatenate([kinds[:, None], shares], axis=1).astype(np.float32)
        offsets = np.concatenate([[0], np.cumsum(counts)]) * NUMBERS
        return Prepared(values=Ragged(flat=flat.reshape(-1), offsets=offsets))

    def fit(self, prepared: Prepared) -> State:
        """How many objects of each class there are."""
        kinds = prepared.values.flat[::NUMBERS].astype(np.int64)
        return {"counts": np.bincount(kinds, minlength=len(self.classes)).tolist()}

    def merge(self, first: State, second: State) -> State:
        """Counts added up."""
        return {"counts": np.add(first["counts"], second["counts"]).tolist()}

    def finish(self, partial: State) -> State:
        """The classes, and how many objects each has."""
        return {"classes": list(self.classes), "counts": partial["counts"]}

    def spec(self, state: State) -> TensorSpec:
        """float32[5, objects]: class, left, top, right, bottom; the class is -1 where there is no object."""
        return TensorSpec(name=self.name, shape=(NUMBERS, self.most or -1), dtype="float32", sequence=True)

    def apply(self, values: Any, state: State) -> Any:
        """The objects of each row side by side."""
        import torch

        flat, offsets = values
        counts = offsets.diff() // NUMBERS
        width = self.most or max(int(counts.max()) if len(counts) else 0, 1)
        place = torch.arange(width, device=flat.device)
        inside = place < counts.clamp(max=width)[:, None]
        found = torch.full((len(counts), width, NUMBERS), float(NONE), device=flat.device)
        at = (offsets[:-1, None] // NUMBERS + place)[inside]
        found[inside] = flat.reshape(-1, NUMBERS)[at]
        return found.transpose(1, 2).contiguous()

    def _lists(self, table: pa.Table, column: str, kind: pa.DataType) -> pa.ListArray:
        cells = table[column].combine_chunks()
        try:
            return cells.cast(pa.list_(kind))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise DataError(
                "E_TYPE",
                f"{column} is {cells.type}, no list of {kind}",
                place=f"features.{self.name}",
                value=column,
                action="name a column of lists",
            ) from error

    def _wrong(self, what: str, column: str, allowed: str) -> DataError:
        return DataError(
            "E_VALUE", what, place=f"features.{self.name}", value=column, allowed=allowed, action="correct the data"
        )
