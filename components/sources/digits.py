"""The 1,797 handwritten digits that scikit-learn ships (Alpaydin and Kaynak, UCI 1998): 8×8 pixels of 0 to 16.

Read from the package's own file, since importing scikit-learn for it costs more than a second.
"""

import gzip
import io
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from components.contracts.config import StepConfig
from components.contracts.spec import Column
from components.sources.partition import DigestOf, Partition, Rows

SIDE = 8
LEVELS = 16


class DigitsSource(StepConfig):
    """Built-in images of handwritten digits; columns `image` (PNG) and `label` (0 to 9)."""

    kind: Literal["digits"] = "digits"

    def version(self, digest_of: DigestOf) -> str:
        """The digest of the shipped file."""
        return digest_of(_file())

    def columns(self) -> tuple[Column, ...]:
        """`image` and `label`."""
        return Column(name="image", type="image", nullable=False), Column(name="label", type="int64", nullable=False)

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """One piece: the whole set is 57 kB."""
        path = _file()
        known = digest_of(path)
        files = ((str(path), known),)
        return [Partition(place=path.name, version=known, size_bytes=path.stat().st_size, files=files)]

    def read(self, partition: Partition) -> Rows:
        """Each row's pixels, scaled to 8 bits, as a PNG."""
        from PIL import Image

        with gzip.open(_file(), "rt") as file:
            cells = np.loadtxt(file, delimiter=",", dtype=np.uint8)
        pixels = np.rint(cells[:, :-1] * (255 / LEVELS)).astype(np.uint8).reshape(-1, SIDE, SIDE)
        images = []
        for image in pixels:
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            images.append(buffer.getvalue())
        table = pa.table({"image": pa.array(images, pa.binary()), "label": pa.array(cells[:, -1], pa.int64())})
        return Rows(table=table, numbers=pa.array(np.arange(1, len(cells) + 1)))


def _file() -> Path:
    spec = find_spec("sklearn")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("sklearn")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"
