"""The 1,797 handwritten digits that scikit-learn ships (Alpaydin and Kaynak, UCI 1998): 8×8 pixels of 0 to 16.

Read from the package's own file, since importing scikit-learn for it costs more than a second.
"""

import gzip
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.spec import Column
from components.sources.partition import DigestOf, Partition, Rows

SIDE = 8
LEVELS = 16


class DigitsSource(StepConfig):
    """Built-in images of handwritten digits; columns `image` (PNG) and `label` (0 to 9)."""

    kind: Literal["digits"] = "digits"
    form: Literal["image", "pieces"] = Field(
        "image",
        description="pieces: `image` is the upper half, `sums` the sums of rows and columns of the lower left quarter, "
        "`runs` the lower right quarter as words, one for each run of equally dark pixels: 3x0 says three white ones",
    )

    def version(self, digest_of: DigestOf) -> str:
        """The digest of the shipped file."""
        return digest_of(_file())

    def columns(self) -> tuple[Column, ...]:
        """`image` and `label`, of pieces `sums` and `runs` too."""
        more = {"sums": "floats", "runs": "string"} if self.form == "pieces" else {}
        types: dict[str, Any] = {"image": "image", **more, "label": "int64"}
        return tuple(Column(name=name, type=kind, nullable=False) for name, kind in types.items())

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """One piece: the whole set is 57 kB."""
        path = _file()
        known = digest_of(path)
        files = ((str(path), known),)
        return [Partition(place=path.name, version=known, size_bytes=path.stat().st_size, files=files)]

    def read(self, partition: Partition) -> Rows:
        """Each row's pixels, scaled to 8 bits, as a PNG, or what is made of them."""
        from PIL import Image

        with gzip.open(_file(), "rt") as file:
            cells = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        pixels = np.rint(cells[:, :-1] * (255 / LEVELS)).astype(np.uint8).reshape(-1, SIDE, SIDE)
        images, half = [], SIDE // 2
        for image in pixels if self.form == "image" else pixels[:, :half]:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            images.append(buffer.getvalue())
        columns = {"image": pa.array(images, pa.binary())}
        if self.form == "pieces":
            levels = cells[:, :-1].reshape(-1, SIDE, SIDE)[:, half:].astype(np.int64)
            left = levels[:, :, :half]
            sums = np.concatenate([left.sum(2), left.sum(1)], axis=1).astype(np.float64)
            columns |= {
                "sums": pa.array(list(sums), pa.list_(pa.float64())),
                "runs": pa.array([_runs(one.ravel() * 4 // (LEVELS + 1)) for one in levels[:, :, half:]]),
            }
        table = pa.table({**columns, "label": pa.array(cells[:, -1], pa.int64())})
        return Rows(table=table, numbers=pa.array(np.arange(1, len(cells) + 1)))


def _runs(shades: NDArray[np.int64]) -> str:
    """Lengths and shades (0 to 3) of runs of equal ones: 3x0 1x2."""
    starts = np.flatnonzero(np.diff(shades, prepend=-1))
    lengths = np.diff(starts, append=len(shades))
    return " ".join(f"{length}x{shades[start]}" for start, length in zip(starts, lengths, strict=True))


def _file() -> Path:
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("sklearn")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
