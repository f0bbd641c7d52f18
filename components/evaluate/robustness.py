"""How the package does on raw test rows that were harmed: noise, blur, missing cells, typing errors."""

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from components.statistics.slices import LONG
from components.tally import Whole

ROWS = 1000
"""Test rows that are harmed."""
Harm = Callable[[pa.ChunkedArray, float, np.random.Generator], pa.Array]
WHOLE = "as they are"


def robustness_of(predictor: Any, rows: pa.Table, truth: NDArray[Any]) -> Iterator[tuple[str, dict[str, float]]]:
    """What was done to the rows, and the metrics then; none where the package refuses such rows."""
    needed = [name for one in predictor.features for name in one.columns]
    columns = {name: rows[name] for name in dict.fromkeys(needed) if name in rows.column_names}
    nullable = {one.name for one in predictor.raw if one.nullable}
    harms = [
        (f"{what}, {said}", share, harm, chosen)
        for what, harm, degrees, applies in HARMS
        if (chosen := [name for name, cells in columns.items() if applies(cells)])
        for share, said in degrees
    ]
    gaps = [name for name in columns if name in nullable] if len(columns) > 1 else []
    harms += [(f"cells missing, {100 * share:.0f} %", share, _missing, gaps) for share in (0.1, 0.3) if gaps]
    if not harms:
        return
    yield WHOLE, _measured(predictor, rows, truth)
    for what, share, harm, chosen in harms:
        random = np.random.Generator(np.random.PCG64(0))
        harmed = rows
        for name in chosen:
            cells = harm(columns[name], share, random).cast(columns[name].type)
            harmed = harmed.set_column(harmed.column_names.index(name), name, cells)
        yield what, _measured(predictor, harmed, truth)


def _measured(predictor: Any, rows: pa.Table, truth: NDArray[Any]) -> dict[str, float]:
    try:
        answers = predictor.predict(rows).answers
    except ValueError as error:
        # Of the package's own classes; what else goes wrong is a defect.
        if getattr(error, "code", ""):
            return {}
        raise
    objective = predictor.objective
    return Whole(objective.row_metrics(answers, truth), objective.facts(answers, truth), objective.pooled).values()


def _numbers_noise(cells: pa.ChunkedArray, share: float, random: np.random.Generator) -> pa.Array:
    """Normal noise of a share of the column's own deviation, within its range; whole numbers stay whole."""
    values = cells.cast(pa.float64()).to_numpy(zero_copy_only=False)
    known = values[np.isfinite(values)]
    if not len(known):
        return cells.combine_chunks()
    values = np.clip(values + random.normal(0, share * known.std(), len(values)), known.min(), known.max())
    values = np.round(values) if pa.types.is_integer(cells.type) else values
    return pa.array(values, from_pandas=True)


def _lists_noise(cells: pa.ChunkedArray, share: float, random: np.random.Generator) -> pa.Array:
    """The same in every number of each list."""
    lists = [None if one is None else np.asarray(one, np.float64) for one in cells.to_pylist()]
    return pa.array([one if one is None else one + random.normal(0, share * (one.std() if len(one) else 0), len(one))
                     for one in lists], pa.list_(pa.float64()))  # fmt: skip


def _missing(cells: pa.ChunkedArray, share: float, random: np.random.Generator) -> pa.Array:
    return pc.if_else(pa.array(random.random(len(cells)) < share), pa.scalar(None, cells.type), cells).combine_chunks()


def _typos(cells: pa.ChunkedArray, share: float, random: np.random.Generator) -> pa.Array:
    """In this share of the words two neighbouring letters change places, or one is lost."""

    def harmed(word: str) -> str:
        if len(word) < 3 or random.random() >= share:
            return word
        at = int(random.integers(0, len(word) - 1))
        return word[:at] + (word[at + 1] + word[at] if random.random() < 0.5 else "") + word[at + 2 :]

    found = [None if text is None else " ".join(map(harmed, text.split(" "))) for text in cells.to_pylist()]
    return pa.array(found, pa.string())


def _picture(change: Callable[[Any, float, np.random.Generator], Any]) -> Harm:
    def harm(cells: pa.ChunkedArray, degree: float, random: np.random.Generator) -> pa.Array:
        from PIL import Image

        found = []
        for cell in cells.to_pylist():
            buffer = io.BytesIO()
            image: Any = Image.open(io.BytesIO(cell))
            image = image if image.mode in {"L", "RGB"} else image.convert("RGB")
            change(image, degree, random).save(buffer, "PNG")
            found.append(buffer.getvalue())
        return pa.array(found, cells.type)

    return harm


def _pixel_noise(image: Any, degree: float, random: np.random.Generator) -> Any:
    from PIL import Image

    pixels = np.asarray(image, np.float32)
    return Image.fromarray(np.clip(pixels + random.normal(0, 255 * degree, pixels.shape), 0, 255).astype(np.uint8))


def _blur(image: Any, degree: float, _: np.random.Generator) -> Any:
    from PIL import ImageFilter

    return image.filter(ImageFilter.GaussianBlur(degree))


def _are_pictures(cells: pa.ChunkedArray) -> bool:
    from PIL import Image, UnidentifiedImageError

    if not (pa.types.is_binary(cells.type) or pa.types.is_large_binary(cells.type)) or cells.null_count:
        return False
    try:
        Image.open(io.BytesIO(cells[0].as_py()))
    except (UnidentifiedImageError, OSError):
        return False
    return True


def _are_numbers(cells: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_floating(cells.type) or pa.types.is_integer(cells.type))


def _are_lists(cells: pa.ChunkedArray) -> bool:
    return bool(pa.types.is_list(cells.type) and pa.types.is_floating(cells.type.value_type))


def _are_texts(cells: pa.ChunkedArray) -> bool:
    return pa.types.is_string(cells.type) and (pc.mean(pc.utf8_length(cells)).as_py() or 0) > LONG


SHARES = ((0.1, "10 % of the deviation"), (0.5, "50 % of the deviation"))
HARMS = (
    ("noise in numbers", _numbers_noise, SHARES, _are_numbers),
    ("noise in lists", _lists_noise, SHARES, _are_lists),
    ("typing errors", _typos, ((0.05, "5 % of the words"), (0.2, "20 % of the words")), _are_texts),
    ("noise in pictures", _picture(_pixel_noise), ((0.05, "5 % of white"), (0.2, "20 % of white")), _are_pictures),
    ("blur", _picture(_blur), ((0.5, "half a pixel"), (1.0, "one pixel")), _are_pictures),
)
"""What is done, how, to which degrees, and to columns of which kind."""
