"""Rows that have moved, for trying what monitoring makes of them."""

import io
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SEED = 0
DARKER = 0.25
"""Of a picture's light, a degree of one takes away so much."""


def moved(rows: pa.Table, degree: float, columns: list[str]) -> pa.Table:
    """`rows` with these columns moved: numbers by `degree` deviations, of categories and words a part is replaced.

    The commonest takes their place. Pictures grow darker, numbers in lists move as numbers do. Other columns stay.
    """
    draw = np.random.Generator(np.random.PCG64(SEED))
    for name in columns:
        if name in rows.column_names:
            cells = _moved(rows[name].combine_chunks(), degree, draw)
            rows = rows.set_column(rows.column_names.index(name), name, cells)
    return rows


def _moved(cells: pa.Array, degree: float, draw: np.random.Generator) -> pa.Array:
    kind = cells.type
    if pa.types.is_floating(kind) or pa.types.is_integer(kind):
        values = cells.cast(pa.float64(), safe=False)
        step = degree * (pc.stddev(values).as_py() or 1.0)
        found = pc.add(values, step)
        return found if pa.types.is_floating(kind) else pc.round(found).cast(kind)
    if pa.types.is_list(kind) and pa.types.is_floating(kind.value_type):
        lists = [None if one is None else np.asarray(one, np.float64) for one in cells.to_pylist()]
        return pa.array([one if one is None else one + degree * (one.std() or 1.0) for one in lists], kind)
    if pa.types.is_string(kind):
        return _commoner(cells, 1 - 0.5**degree, draw)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return pa.array([_darker(one, degree) for one in cells.to_pylist()], kind)
    return cells


def _commoner(cells: pa.Array, share: float, draw: np.random.Generator) -> pa.Array:
    """This share of the cells, or of the words of long ones, becomes the commonest of them."""
    texts = cells.to_pylist()
    words = [word for one in texts if one for word in one.split(" ")]
    if not words:
        return cells
    several = len(words) > 2 * len(texts)
    values, counts = np.unique(
        np.array(words if several else [one for one in texts if one is not None]), return_counts=True
    )
    commonest = str(values[counts.argmax()])

    def one_of(text: str) -> str:
        if not several:
            return commonest if draw.random() < share else text
        return " ".join(commonest if draw.random() < share else word for word in text.split(" "))

    return pa.array([None if one is None else one_of(one) for one in texts], pa.string())


def _darker(cell: Any, degree: float) -> Any:
    from PIL import Image, UnidentifiedImageError

    try:
        picture: Any = Image.open(io.BytesIO(cell or b""))
    except (UnidentifiedImageError, OSError):
        return cell
    picture = picture if picture.mode in {"L", "RGB"} else picture.convert("RGB")
    left = max(0.0, 1 - DARKER * degree)
    buffer = io.BytesIO()
    picture.point(lambda light: round(light * left)).save(buffer, "PNG")
    return buffer.getvalue()
