"""Encoded images as normalised pixels."""

import io
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.contracts.config import StepConfig
from components.contracts.errors import DataError, EnvironmentFault
from components.contracts.spec import TensorSpec
from components.features.feature import NAME, OfNumbers, Prepared, State, check_bytes

MODES = {1: "L", 3: "RGB"}
PIXELS = 2**26
"""An image of more is not decoded: a file of some kilobytes can claim any number."""
BLOCK = 2**18
"""Pixels that are summed at a time, so that they stay in the cache."""
IMAGENET = {"mean": (0.485, 0.456, 0.406), "scale": (0.229, 0.224, 0.225)}
"""Of red, green and blue, in units of 0 to 1, as published with the usual weights."""


class Image(OfNumbers, StepConfig):
    """One image column as a float32 tensor of channels, height and width."""

    kind: Literal["image"] = "image"
    name: str = Field("image", pattern=NAME, description="the tensor's name; unique in the recipe")
    column: str = Field("image", description="column of encoded images")
    height: int = Field(ge=1, description="pixels; other sizes are resampled")
    width: int = Field(ge=1, description="pixels; other sizes are resampled")
    channels: Literal[1, 3] = Field(3, description="1 for grey, 3 for red, green, blue")
    fit_to: Literal["stretch", "pad", "crop"] = Field(
        "stretch", description="images of another shape: stretch them, add black margins, or cut off what is too much"
    )
    normalise: Literal["training", "unit", "imagenet"] = Field(
        "training",
        description="training: mean 0 and deviation 1 per channel over the training rows; unit: 0 to 1; imagenet: by "
        "the means and deviations of ImageNet, for weights that were trained on it",
    )
    decoder: Literal["pillow", "simplejpeg"] = Field(
        "pillow", description="simplejpeg decodes JPEG faster and needs the extra `vision`; both give equal sizes"
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The one column."""
        return (self.column,)

    def prepare(self, table: pa.Table) -> Prepared:
        """uint8[rows, channels, height, width].

        Raises:
            DataError: E_TYPE, the column holds no files; E_VALUE and others, what is wrong with one.
        """
        check_bytes(table[self.column], self.column, f"features.{self.name}")
        decode = _simplejpeg() if self.decoder == "simplejpeg" else None
        pixels = np.empty((table.num_rows, self.height, self.width, self.channels), np.uint8)
        for row, cell in enumerate(table[self.column]):
            try:
                self._decode(cell.as_py(), decode, pixels[row])
            except DataError:
                raise
            except Exception as error:
                # Pillow raises what its decoders do, of a dozen classes.
                raise self._wrong(f"an image cannot be decoded ({type(error).__name__})", "keep-rows") from error
        return Prepared(values=np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

    def _decode(self, data: bytes | None, decode: Any, into: NDArray[np.uint8]) -> None:
        from PIL import Image as Pillow

        if data is None:
            raise self._wrong("a row has no image", "require")
        if decode is not None and data[:2] == b"\xff\xd8":
            # Of a larger JPEG, at the least eighth of its size that is not too small.
            try:
                found = decode(data, colorspace="RGB", min_height=self.height, min_width=self.width)
            except ValueError:
                # Stricter than Pillow, which forgives a few bytes between markers.
                self._decode(data, None, into)
                return
            if found.shape == into.shape:
                into[:] = found
                return
            image = Pillow.fromarray(found)
        else:
            image = Pillow.open(io.BytesIO(data))
            if image.size[0] * image.size[1] > PIXELS:
                raise self._wrong(f"an image has {image.size[0]} x {image.size[1]} pixels", "keep-rows")
            # A JPEG can be decoded at a half, a quarter or an eighth of its size.
            image.draft(MODES[self.channels], (self.width, self.height))
        if image.mode.startswith("I;16"):
            # Pillow would clip the numbers and not scale them.
            image = Pillow.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
        elif image.mode in {"I", "F"}:
            raise self._wrong(f"an image has numbers of kind {image.mode}, whose range nobody says", "keep-rows")
        image = image.convert(MODES[self.channels])
        if image.size != (self.width, self.height):
            image = self._resized(image)
        into[:] = np.asarray(image).reshape(into.shape)

    def _wrong(self, what: str, operation: str) -> DataError:
        return DataError(
            "E_IMAGE",
            what,
            place=f"features.{self.name}",
            value=self.column,
            allowed="images of 8 or 16 bits a channel",
            action=f"drop such rows (cleaning: {operation}), or convert them",
        )

    def _resized(self, image: Any) -> Any:
        from PIL import Image as Pillow
        from PIL import ImageOps

        size, way = (self.width, self.height), Pillow.Resampling.BILINEAR
        if self.fit_to == "pad":
            return ImageOps.pad(image, size, way)
        return ImageOps.fit(image, size, way) if self.fit_to == "crop" else image.resize(size, way)

    def fit(self, prepared: Prepared) -> State:
        """Pixel count, sum and sum of squares per channel, as exact integers."""
        pixels = prepared.values.reshape(len(prepared.values), self.channels, self.height * self.width)
        sums, squares = np.zeros(self.channels), np.zeros(self.channels)
        for start in range(0, len(pixels), rows := max(1, BLOCK // (self.channels * self.height * self.width))):
            # Whole numbers, exact below 2**53.
            block = pixels[start : start + rows].astype(np.float64)
            sums += block.sum((0, 2))
            squares += np.einsum("ijk,ijk->j", block, block)
        count = pixels.size // self.channels
        return {"count": count, "sum": sums.astype(int).tolist(), "squares": squares.astype(int).tolist()}

    def merge(self, first: State, second: State) -> State:
        """Sums added up."""
        added = {name: np.add(first[name], second[name]).tolist() for name in ("sum", "squares")}
        return {"count": first["count"] + second["count"], **added}

    def finish(self, partial: State) -> State:
        """Mean and standard deviation per channel, in units of 0 to 255."""
        if self.normalise == "unit":
            return {"mean": [0.0] * self.channels, "scale": [255.0] * self.channels}
        if self.normalise == "imagenet":
            means = {name: values if self.channels == 3 else [sum(values) / 3] for name, values in IMAGENET.items()}
            return {name: [255 * one for one in values] for name, values in means.items()}
        mean = np.array(partial["sum"]) / max(partial["count"], 1)
        variance = np.array(partial["squares"]) / max(partial["count"], 1) - mean**2
        scale = np.where(variance > 0, np.sqrt(np.maximum(variance, 0)), 1.0)
        return {"mean": mean.tolist(), "scale": scale.tolist()}

    def spec(self, state: State) -> TensorSpec:
        """float32[channels, height, width]."""
        return TensorSpec(name=self.name, shape=(self.channels, self.height, self.width), dtype="float32")

    def apply(self, values: Any, state: State) -> Any:
        """(pixel - mean) / deviation per channel."""
        import torch

        shape = (1, self.channels, 1, 1)
        mean = torch.tensor(state["mean"], dtype=torch.float32, device=values.device).reshape(shape)
        scale = torch.tensor(state["scale"], dtype=torch.float32, device=values.device).reshape(shape)
        return (values.float() - mean) / scale


def _simplejpeg() -> Any:
    try:
        from simplejpeg import decode_jpeg
    except ImportError as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            "simplejpeg is not installed",
            place="features.image.decoder",
            value="simplejpeg",
            allowed="pillow without it",
            action="install it: pip install -e '.[vision]'",
        ) from error
    return decode_jpeg
