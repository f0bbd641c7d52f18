"""Digests that nearly equal rows share.

Of text without case, marks and spaces, of numbers to three digits, of images by which of two neighbouring cells of a
small grey copy is lighter (dHash, Krawetz 2013).
"""

import io

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from components.statistics.keys import Words, row_keys

SIDE = 8
DIGITS = 3


def near_keys(table: pa.Table) -> Words:
    """One key per row, uint64[rows], that rows share which are nearly the same in every column."""
    columns = {}
    for name in table.column_names:
        cells = table[name]
        if pa.types.is_string(cells.type):
            cells = pc.replace_substring_regex(pc.utf8_lower(cells), r"[^\pL\pN]+", "")
        elif pa.types.is_floating(cells.type) or pa.types.is_integer(cells.type):
            cells = pa.chunked_array([_rounded(cells.cast(pa.float64(), safe=False))])
        elif pa.types.is_binary(cells.type):
            cells = pa.chunked_array([pa.array([outline(cell) for cell in cells.to_pylist()], pa.binary())])
        columns[name] = cells
    return row_keys(pa.table(columns))


def _rounded(cells: pa.ChunkedArray) -> pa.Array:
    values = np.asarray(cells.to_numpy())
    with np.errstate(divide="ignore", invalid="ignore"):
        power = 10.0 ** (DIGITS - 1 - np.floor(np.log10(np.abs(values))))
        rounded = np.where(values == 0, 0.0, np.round(values * power) / power)
    return pa.array(rounded, from_pandas=True)


def outline(body: bytes | None) -> bytes | None:
    """64 bits of an encoded image; other bytes as they are."""
    from PIL import Image

    if body is None:
        return None
    try:
        with Image.open(io.BytesIO(body)) as image:
            small = np.asarray(image.convert("L").resize((SIDE + 1, SIDE), Image.Resampling.BILINEAR), np.int16)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return body
    return np.packbits(small[:, 1:] > small[:, :-1]).tobytes()
