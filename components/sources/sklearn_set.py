"""The small data sets that scikit-learn ships: iris, wine, breast cancer, diabetes, linnerud."""

from importlib.metadata import version as installed
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import DigestOf, Partition, Rows


class SklearnSource(StepConfig):
    """One of scikit-learn's tables: its columns by their names, and `target` (a class's name, or a number)."""

    kind: Literal["scikit-learn"] = "scikit-learn"
    name: Literal["iris", "wine", "breast_cancer", "diabetes", "linnerud"] = Field(description="which table")

    def version(self, digest_of: DigestOf) -> str:
        """The release that ships it."""
        return digest([self.name, installed("scikit-learn")])

    def columns(self) -> tuple[Column, ...]:
        """None: scikit-learn knows them, and importing it costs a second."""
        return ()

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """One piece: none has more than 600 rows."""
        return [Partition(place=self.name, version=self.version(digest_of), size_bytes=100_000)]

    def read(self, partition: Partition) -> Rows:
        """All rows."""
        from sklearn import datasets

        found = getattr(datasets, f"load_{self.name}")()
        cells = {_plain(name): pa.array(found.data[:, at]) for at, name in enumerate(found.feature_names)}
        names: list[str] = list(getattr(found, "target_names", ()))
        if found.target.ndim > 1:
            cells |= {f"target_{_plain(name)}": pa.array(found.target[:, at]) for at, name in enumerate(names)}
        elif names:
            cells["target"] = pa.array(np.asarray(names)[found.target].astype(str))
        else:
            cells["target"] = pa.array(found.target.astype(float))
        return Rows(table=pa.table(cells), numbers=pa.array(np.arange(1, len(found.data) + 1)))


def _plain(name: str) -> str:
    return name.lower().replace(" (cm)", "").replace(" ", "_").replace("/", "_")
