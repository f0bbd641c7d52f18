"""Cells of a device's rows as the arrays that the graph takes: what features store, in numpy."""

import io
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import gcd
from typing import Any
from unicodedata import category

import numpy as np
from numpy.typing import NDArray

from components.exports.device_cells import lowered
from components.features.sound import formed

Config = Mapping[str, Any]
Cells = Mapping[str, Sequence[Any]]
Array = NDArray[Any]
LARGEST = float(np.finfo(np.float32).max)
PADDING, UNKNOWN, CUT, EDGE = 0, 1, "\x1e", "\x1f"
MODES = {1: "L", 3: "RGB"}
SPACES = frozenset("\t\n\f\r ")


def _numbers(config: Config, _: Config, cells: Cells) -> Array:
    found = _floats(config["columns"], cells)
    if np.nanmax(np.abs(found), initial=0) > LARGEST:
        raise ValueError(f"a number that 32 bits cannot hold: {np.nanmax(np.abs(found)):g}")
    return found.astype(np.float32)


def _bins(config: Config, _: Config, cells: Cells) -> Array:
    return _floats(config["columns"], cells)


def _truths(config: Config, _: Config, cells: Cells) -> Array:
    return np.nan_to_num(_floats(config["columns"], cells), nan=-1).astype(np.int8)


def _floats(columns: Sequence[str], cells: Cells) -> Array:
    return np.array([[np.nan if one is None else float(one) for one in cells[name]] for name in columns]).T


def _categories(config: Config, state: Config, cells: Cells) -> Array:
    found = []
    for name, vocabulary in zip(config["columns"], state["vocabularies"], strict=True):
        index = {value: at for at, value in enumerate(vocabulary, 1)}
        lost = 1 if config["missing"] == "mode" and vocabulary else 0
        found.append([lost if one is None else index.get(_told(one), 0) for one in cells[name]])
    return np.array(found, np.int32).T


def _told(cell: Any) -> str:
    return str(cell).lower() if isinstance(cell, bool) else str(cell)


def _vectors(config: Config, _: Config, cells: Cells) -> Array:
    found = np.zeros((len(cells[config["column"]]), config["length"]), np.float32)
    for row, cell in enumerate(cells[config["column"]]):
        if cell is not None:
            found[row] = _list(cell, config["column"], row, config["length"])
    return found


def _series(config: Config, _: Config, cells: Cells) -> Array:
    width = config["window"]
    found = np.zeros((len(cells[config["columns"][0]]), len(config["columns"]), width))
    for channel, name in enumerate(config["columns"]):
        for row, cell in enumerate(cells[name]):
            if cell is not None and len(cell):
                steps = _list(cell, name, row, len(cell))[-width:]
                found[row, channel] = np.concatenate([np.full(width - len(steps), steps[0]), steps])
    if config["differences"]:
        found = np.diff(found, axis=2, prepend=found[:, :, :1])
    if config["scale"] == "row":
        mean, deviation = found.mean(2, keepdims=True), found.std(2, keepdims=True)
        found = (found - mean) / np.where(np.ptp(found, axis=2, keepdims=True) > 0, deviation, 1)
    return found.astype(np.float32)


def _list(cell: Any, name: str, row: int, length: int) -> Array:
    found = np.asarray(cell, np.float64)
    if found.shape != (length,) or not np.isfinite(found).all():
        raise ValueError(f"row {row + 1}: {name} has to be a list of {length} numbers")
    return found


def _images(config: Config, _: Config, cells: Cells) -> Array:
    shape = (config["height"], config["width"], config["channels"])
    found = np.empty((len(cells[config["column"]]), *shape), np.uint8)
    for row, cell in enumerate(cells[config["column"]]):
        if cell is None:
            raise ValueError(f"row {row + 1}: there is no image")
        pixels = np.asarray(cell) if not isinstance(cell, bytes) else None
        if pixels is not None and pixels.dtype == np.uint8 and pixels.size == np.prod(shape):
            found[row] = pixels.reshape(shape)
        else:
            found[row] = _decoded(cell, pixels, config).reshape(shape)
    return np.ascontiguousarray(found.transpose(0, 3, 1, 2))


def _decoded(cell: Any, pixels: Array | None, config: Config) -> Array:
    """An image of another size or shape, or an encoded one, by Pillow."""
    size, mode = (config["width"], config["height"]), MODES[config["channels"]]
    try:
        from PIL import Image, ImageOps
    except ImportError as error:
        said = f"images are uint8 arrays of {size[1]} x {size[0]} x {config['channels']}; others need Pillow"
        raise ValueError(said) from error
    image = Image.open(io.BytesIO(cell)) if pixels is None else Image.fromarray(pixels)
    if pixels is None:
        image.draft(mode, size)
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    image = image.convert(mode)
    if image.size != size:
        way = Image.Resampling.BILINEAR
        fits = {"pad": ImageOps.pad, "crop": ImageOps.fit}
        image = fits[config["fit_to"]](image, size, way) if config["fit_to"] in fits else image.resize(size, way)
    return np.asarray(image)


def _sounds(config: Config, _: Config, cells: Cells) -> Array:
    found = []
    for row, cell in enumerate(cells[config["column"]], 1):
        wave, length = np.zeros(round(config["seconds"] * config["rate"])), 0
        if cell is not None:
            samples = _samples(cell, config, row)
            length = min(len(samples), len(wave))
            wave[:length] = samples[:length]
        found.append(formed(wave, config))
    return np.array(found, np.float32)


def _samples(cell: Any, config: Config, row: int) -> Array:
    if isinstance(cell, bytes):
        try:
            import soundfile
        except ImportError as error:
            raise ValueError("sounds are pairs of samples and their rate; encoded ones need soundfile") from error
        with soundfile.SoundFile(io.BytesIO(cell)) as sound:
            samples = sound.read(int(config["seconds"] * sound.samplerate) + sound.samplerate, always_2d=True)
            rate = sound.samplerate
    else:
        samples, rate = np.asarray(cell[0], np.float64), cell[1]
    samples = samples.mean(axis=1) if samples.ndim == 2 else samples
    if rate == config["rate"]:
        return np.asarray(samples)
    try:
        from scipy.signal import resample_poly
    except ImportError as error:
        raise ValueError(f"row {row}: the sound has {rate} samples a second, {config['rate']} are asked for") from error
    shared = gcd(rate, config["rate"])
    return np.asarray(resample_poly(samples, config["rate"] // shared, rate // shared))


def _texts(config: Config, state: Config, cells: Cells) -> Array:
    rows = [_tokens(config, state["tokenizer"], cell or "") for cell in cells[config["column"]]]
    width = config["length"] or max(1, *map(len, rows))
    found = np.full((len(rows), width), PADDING, np.int64)
    for row, tokens in enumerate(rows):
        kept = tokens[-width:] if config["keep"] == "end" else tokens[:width]
        found[row, : len(kept)] = kept
    return found


def _tokens(config: Config, tokenizer: Config, text: str) -> list[int]:
    text = text.replace(CUT, " ")
    text = (lowered(text) if config["lowercase"] else text).replace(EDGE, " ")
    known = tokenizer["vocab"]
    if config["tokens"] == "word":
        return [known.get(word, UNKNOWN) for word in _words(text)]
    if config["tokens"] == "character":
        return [known.get(sign, UNKNOWN) for sign in text]
    ranks = {tuple(pair): at for at, pair in enumerate(tokenizer["merges"])}
    return [one for piece in _pieces(text) for one in _pairs(piece, known, ranks)]


def _kind(sign: str) -> str:
    """l: a letter or its mark, n: a number, s: a space, o: another sign."""
    if sign in SPACES:
        return "s"
    return {"L": "l", "M": "l", "N": "n", "Z": "z"}.get(category(sign)[0], "o")


def _words(text: str) -> list[str]:
    """What features/pieces.py takes for words: letters, numbers and _, with apostrophes inside; other signs alone."""
    found, kinds, at = [], [_kind(sign) for sign in text], 0
    inside = [one in "ln" or sign == "_" for sign, one in zip(text, kinds, strict=True)]
    while at < len(text):
        start = at
        while at < len(text) and inside[at]:
            at += 1
        if at == start:
            if kinds[at] == "o":
                found.append(text[at])
            at += 1
            continue
        while at + 1 < len(text) and text[at] in "'’" and kinds[at + 1] == "l":
            at += 1
            while at < len(text) and kinds[at] == "l":
                at += 1
        found.append(text[start:at])
    return found


def _pieces(text: str) -> list[str]:
    """Words, numbers and signs, each with the one space before it; runs of other spaces."""
    kinds = ["o" if (one := _kind(sign)) == "z" else one for sign in text]
    found, at = [], 0
    while at < len(text):
        start = at
        spaced = text[at] == " " and at + 1 < len(text) and kinds[at + 1] != "s"
        kind = kinds[at + spaced]
        at += spaced
        while at < len(text) and kinds[at] == kind:
            at += 1
        found.append(text[start:at])
    return found


def _pairs(piece: str, known: Mapping[str, int], ranks: Mapping[tuple[str, str], int]) -> list[int]:
    """Byte-pair encoding (Sennrich 2016): the pair that was joined first in training is joined first."""
    parts: list[str | None] = [sign if sign in known else None for sign in piece]
    while True:
        pairs = [
            (ranks[left, right], at)
            for at, (left, right) in enumerate(pairwise(parts))
            if left is not None and right is not None and (left, right) in ranks
        ]
        if not pairs:
            return [UNKNOWN if one is None else known[one] for one in parts]
        _, at = min(pairs)
        left, right = parts[at : at + 2]
        parts[at : at + 2] = [f"{left}{right}"]


INPUTS: dict[str, Callable[[Config, Config, Cells], Array]] = {
    "number": _numbers,
    "bins": _bins,
    "boolean": _truths,
    "category": _categories,
    "vector": _vectors,
    "series": _series,
    "image": _images,
    "audio": _sounds,
    "text": _texts,
}
"""By the kind of a feature."""
DECODERS = {"image": "pillow", "audio": "soundfile"}
"""What encoded files need beside."""
