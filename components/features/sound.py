"""A wave as what audio features store: samples, power in mel bands, or MFCCs. Needs nothing but numpy."""

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float64]
FLOOR = 1e-6
"""Added to a power before its logarithm: 60 dB below a full-scale sine's, where quiet is quiet enough."""


def formed(wave: Wave, config: Mapping[str, Any]) -> NDArray[Any]:
    """float64[samples], or float64[bands or coefficients, frames], as `config` (features/audio.py) says."""
    if config["form"] == "wave":
        return wave
    rate, bands = config["rate"], config["bands"]
    size, hop = round(config["window"] * rate), round(config["hop"] * rate)
    frames = np.lib.stride_tricks.sliding_window_view(wave, size)[::hop]
    length = 1 << (size - 1).bit_length()
    # The periodic Hann window.
    shaped = frames * (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(size) / size))
    power = np.abs(np.fft.rfft(shaped, length)) ** 2 / size
    found: NDArray[Any] = np.log(_filters(bands, length, rate) @ power.T + FLOOR)
    return found if config["form"] == "log-mel" else np.asarray(_cosines(config["coefficients"], bands) @ found)


@cache
def _filters(bands: int, length: int, rate: int) -> Wave:
    """Triangles over the bins of a spectrum, evenly spaced on HTK's mel scale: float64[bands, length // 2 + 1]."""
    mels = np.linspace(0, 2595 * np.log10(1 + rate / 2 / 700), bands + 2)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(length // 2 + 1) * rate / length
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling))


@cache
def _cosines(count: int, bands: int) -> Wave:
    """The first rows of the orthonormal cosine transform (type 2): float64[count, bands]."""
    table = np.cos(np.pi / bands * np.outer(np.arange(count), np.arange(bands) + 0.5)) * np.sqrt(2 / bands)
    table[0] /= np.sqrt(2)
    return np.asarray(table, np.float64)
