"""Images as the old benchmarks ship them, pixels without a format: MNIST's idx files, CIFAR-10 and CIFAR-100.

Each image becomes a PNG, which loses nothing. Of CIFAR's Python version the pickles are read without running anything:
all that they may name is numpy's array.
"""

import io
import pickle
import re
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pydantic import Field

from components.adapters.compressed import FREE_BYTES, LARGEST_RATIO
from components.contracts.config import StepConfig, placed
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import DigestOf, Partition, Rows
from components.sources.tree import PLACE, Tree, open_tree, read_files, tree_version

SIDE, CHANNELS = 32, 3
Pixels = NDArray[np.uint8]


class PixelSource(StepConfig):
    """What both have in common: columns `image` and `label`, a piece a file."""

    uri: str = placed(description="the archive, or a folder with its files")

    def version(self, digest_of: DigestOf) -> str:
        """The digest of every file."""
        return tree_version(self.uri, digest_of)

    def columns(self) -> tuple[Column, ...]:
        """`image` and `label`."""
        return Column(name="image", type="image", nullable=False), Column(name="label", type="string", nullable=False)

    def batches(self, tree: Tree) -> Iterator[tuple[str, list[str]]]:
        """The given part and the files of each piece."""
        raise NotImplementedError

    def decoded(self, names: list[str], files: list[bytes]) -> tuple[Pixels, list[str]]:
        """uint8[rows, height, width] or uint8[rows, height, width, 3], and the labels."""
        raise NotImplementedError

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """A piece a file."""
        tree = open_tree(self.uri, digest_of, scratch)
        found = [
            Partition(
                place=PurePosixPath(names[0]).name,
                version=digest([split, [[name, tree.members[name].digest] for name in names]]),
                size_bytes=sum(tree.members[name].size for name in names),
                files=tree.files(names),
                stamps=tree.stamps(),
                split=split,
                argument=[str(tree.root), str(tree.plain), names, tree.wanted(names)],
            )
            for split, names in self.batches(tree)
        ]
        if not found:
            action = "name the archive, or the folder that it unpacks to"
            raise DataError("E_SOURCE_EMPTY", "none of its files is there", place=PLACE, value=self.uri, action=action)
        return found

    def read(self, partition: Partition) -> Rows:
        """Each image as a PNG.

        Raises:
            DataError: E_FORMAT, the file is not what its name says.
        """
        from PIL import Image

        root, plain, names, wanted = partition.argument
        try:
            pixels, labels = self.decoded(names, read_files(Path(root), Path(plain), wanted))
            if len(pixels) != len(labels):
                raise ValueError(f"{len(pixels)} images and {len(labels)} labels")
        except (ValueError, KeyError, IndexError, EOFError, OSError, zlib.error, pickle.UnpicklingError) as error:
            what = f"the file is not what its name says ({error})"
            raise DataError("E_FORMAT", what[:200], place=partition.place, action="fetch it again") from error
        images = []
        for one in pixels:
            buffer = io.BytesIO()
            Image.fromarray(one).save(buffer, "PNG", compress_level=1)
            images.append(buffer.getvalue())
        table = pa.table({"image": pa.array(images, pa.binary()), "label": pa.array(labels, pa.string())})
        return Rows(table=table, numbers=pa.array(np.arange(1, len(labels) + 1)))


class MnistSource(PixelSource):
    """MNIST and its kin: four idx files, `train-images-idx3-ubyte`, `t10k-labels-idx1-ubyte` …, plain or gz."""

    kind: Literal["mnist"] = "mnist"

    def batches(self, tree: Tree) -> Iterator[tuple[str, list[str]]]:
        """The images with their labels."""
        for split, start in (("train", "train"), ("test", "t10k")):
            images, labels = (
                next((name for name in tree.members if re.search(rf"(^|/){start}-{what}[.-]idx", name)), None)
                for what in ("images", "labels")
            )
            if images and labels:
                yield split, [images, labels]

    def decoded(self, names: list[str], files: list[bytes]) -> tuple[Pixels, list[str]]:
        """The arrays of the two files."""
        images, labels = map(_idx, files)
        return images, [str(one) for one in labels.tolist()]


def _idx(data: bytes) -> Pixels:
    """A file of the idx format (LeCun): two zeros, a type, the number of axes, each axis as four bytes, the values."""
    if data[:2] == b"\x1f\x8b":
        packed = zlib.decompressobj(wbits=31)
        data = packed.decompress(data, max(FREE_BYTES, LARGEST_RATIO * len(data)))
        if packed.unconsumed_tail:
            raise ValueError(f"it unpacks to more than {LARGEST_RATIO} times its size")
    if data[:3] != b"\x00\x00\x08":
        raise ValueError("no idx file of bytes")
    shape = np.frombuffer(data, ">u4", data[3], 4).astype(int)
    values = np.frombuffer(data, np.uint8, offset=4 + 4 * data[3])
    if len(values) != np.prod(shape):
        raise ValueError(f"{len(values)} values where {np.prod(shape)} are announced")
    return values.reshape(shape)


class CifarSource(PixelSource):
    """CIFAR-10 and CIFAR-100, in the Python or the binary version."""

    kind: Literal["cifar"] = "cifar"
    labels: Literal["fine", "coarse"] = Field("fine", description="of CIFAR-100: the hundred classes or the twenty")

    def batches(self, tree: Tree) -> Iterator[tuple[str, list[str]]]:
        """The batches, each with the file of class names."""
        names = [name for name in tree.members if re.search(r"(meta|label_names)(\.txt)?$|batches\.meta", name)]
        wanted = "fine_label" if self.labels == "fine" else "coarse_label"
        text = sorted(names, key=lambda name: (wanted not in name, name))[:1]
        for name in sorted(tree.members):
            stem = PurePosixPath(name).name
            if re.fullmatch(r"data_batch_\d(\.bin)?|train(\.bin)?", stem):
                yield "train", [name, *text]
            elif re.fullmatch(r"test_batch(\.bin)?|test(\.bin)?", stem):
                yield "test", [name, *text]

    def decoded(self, names: list[str], files: list[bytes]) -> tuple[Pixels, list[str]]:
        """The images and the names of their classes."""
        if names[0].endswith(".bin"):
            hundred = PurePosixPath(names[0]).name in {"train.bin", "test.bin"}
            rows = np.frombuffer(files[0], np.uint8).reshape(-1, (2 if hundred else 1) + SIDE * SIDE * CHANNELS)
            classes = rows[:, 1 if hundred and self.labels == "fine" else 0].tolist()
            pixels = rows[:, -SIDE * SIDE * CHANNELS :]
            known = files[1].decode().split() if len(files) > 1 else []
        else:
            data = _unpickled(files[0])
            key = "labels" if "labels" in data else f"{self.labels}_labels"
            pixels, classes = np.asarray(data["data"], np.uint8), list(data[key])
            meta = _unpickled(files[1]) if len(files) > 1 else {}
            known = meta.get("label_names" if "label_names" in meta else f"{self.labels[:6]}_label_names", [])
        images = pixels.reshape(-1, CHANNELS, SIDE, SIDE).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(images), [_text(known[one]) if known else str(one) for one in classes]


ALLOWED = {
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
}


class _Plain(pickle.Unpickler):
    """Reads dicts, lists, numbers, texts and numpy arrays; anything else is an error."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which pixels do not need")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def _unpickled(data: bytes) -> dict[str, Any]:
    found = _Plain(io.BytesIO(data), encoding="latin1").load()
    if not isinstance(found, dict):
        raise ValueError("no batch")  # noqa: TRY004 - one kind of error for all that is not a batch
    return {_text(key): value for key, value in found.items()}


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
