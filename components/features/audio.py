"""Encoded sound as a wave, a log-mel spectrogram or MFCCs."""

import io
from math import gcd
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field, model_validator

from components.contracts.config import StepConfig
from components.contracts.errors import DataError, EnvironmentFault
from components.contracts.spec import ColumnType, TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State, check_bytes
from components.features.sound import formed
from components.statistics.moments import Moments

Wave = NDArray[np.float64]
BLOCK = 256
"""Sounds whose numbers are summed at a time."""


class Audio(OfNumbers, StepConfig):
    """One column of encoded sounds as a float32 tensor, standardised by the training rows."""

    needs: ClassVar[ColumnType] = "audio"
    kind: Literal["audio"] = "audio"
    name: str = Field("audio", pattern=NAME, description="the tensor's name; unique in the recipe")
    column: str = Field("audio", description="column of encoded sounds")
    form: Literal["wave", "log-mel", "mfcc"] = Field(
        "log-mel", description="samples; power in mel bands; or their cosine transform's first coefficients"
    )
    rate: int = Field(16_000, ge=1000, le=192_000, description="samples a second; other rates are resampled")
    seconds: float = Field(1.0, gt=0, le=600, description="longer sounds are cut, shorter ones followed by quiet")
    bands: int = Field(40, ge=1, le=512, description="mel bands (HTK's scale) from 0 to half of the rate")
    coefficients: int = Field(13, ge=1, le=512, description="of mfcc")
    window: float = Field(0.025, gt=0, le=1, description="seconds that a spectrum is taken of, under a Hann window")
    hop: float = Field(0.01, gt=0, le=1, description="seconds from one spectrum to the next")

    @model_validator(mode="after")
    def _of_samples(self) -> Self:
        samples, size, hop = (round(one * self.rate) for one in (self.seconds, self.window, self.hop))
        if samples < 1:
            raise ValueError("seconds are less than one sample at this rate")
        if self.form != "wave" and not (size > 1 and hop > 0 and samples >= size):
            raise ValueError("window and hop have to be some samples at this rate, and no longer than seconds")
        return self

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.form == "mfcc" and self.coefficients > self.bands:
            raise ValueError("mfcc has at most as many coefficients as bands")
        if self.form != "wave" and self.window > self.seconds:
            raise ValueError("the window is longer than the sounds")
        return self

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def prepare(self, table: pa.Table) -> Prepared:
        """float32[rows, samples], or float32[rows, bands or coefficients, frames]; a missing sound is quiet.

        Raises:
            DataError: E_TYPE, the column holds no files; E_FORMAT, what cannot be decoded.
            EnvironmentFault: E_EXTRA_MISSING.
        """
        check_bytes(table[self.column], self.column, f"features.{self.name}")
        values = np.empty((table.num_rows, *self._shape()), np.float32)
        for row, cell in enumerate(table[self.column]):
            values[row] = formed(self._wave(cell.as_py()), self.model_dump())
        return Prepared(values=values)

    def fit(self, prepared: Prepared) -> State:
        """Count, mean and sum of squared deviations, per band or coefficient; of waves, of all samples."""
        values = prepared.values[:, None] if self.form == "wave" else prepared.values
        found = Moments.of(np.zeros((0, values.shape[1])))
        for start in range(0, len(values), BLOCK):
            block = values[start : start + BLOCK].astype(np.float64)
            found = found.joined(Moments.of(block.transpose(0, 2, 1).reshape(-1, values.shape[1])))
        return found.state

    def merge(self, first: State, second: State) -> State:
        """Those of two disjoint sets of rows together."""
        return Moments.of_state(first).joined(Moments.of_state(second)).state

    def finish(self, partial: State) -> State:
        """Mean and deviation."""
        return {"mean": partial["mean"], "scale": Moments.of_state(partial).scale.tolist()}

    def spec(self, state: State) -> TensorSpec:
        """float32[1, samples], or float32[1, bands or coefficients, frames]: one channel, as an image has."""
        return TensorSpec(name=self.name, shape=(1, *self._shape()), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """(x - mean) / deviation."""
        import torch

        mean, scale = (
            torch.tensor(state[name], dtype=torch.float32, device=values.device) for name in ("mean", "scale")
        )
        if self.form != "wave":
            mean, scale = mean[:, None], scale[:, None]
        return ((values - mean) / scale)[:, None]

    def _shape(self) -> tuple[int, ...]:
        samples = self._samples()
        if self.form == "wave":
            return (samples,)
        frames = 1 + (samples - round(self.window * self.rate)) // round(self.hop * self.rate)
        return (self.bands if self.form == "log-mel" else self.coefficients, frames)

    def _samples(self) -> int:
        return round(self.seconds * self.rate)

    def _wave(self, body: bytes | None) -> Wave:
        """All channels in one, at the rate and length of the feature."""
        soundfile = _soundfile()
        found = np.zeros(self._samples())
        if body is None:
            return found
        try:
            with soundfile.SoundFile(io.BytesIO(body)) as sound:
                # What lies behind the end is not decoded.
                wave = sound.read(int(self.seconds * sound.samplerate) + sound.samplerate, always_2d=True).mean(axis=1)
                rate = sound.samplerate
            if not np.isfinite(wave).all():
                raise RuntimeError("samples that are no numbers")
        except (soundfile.LibsndfileError, RuntimeError) as error:
            raise DataError(
                "E_FORMAT",
                "a sound cannot be decoded",
                place=f"features.{self.name}",
                value=self.column,
                action="set such rows aside: checks of audio_folder do, or clean them",
            ) from error
        if rate != self.rate:
            from scipy.signal import resample_poly

            shared = gcd(rate, self.rate)
            wave = resample_poly(wave, self.rate // shared, rate // shared)
        found[: len(wave)] = wave[: len(found)]
        return found


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            "soundfile is not installed",
            place="features",
            action="install it: pip install -e '.[audio]'",
        ) from error
    return soundfile
