"""Images with boxes: Pascal VOC (an XML file an image) and COCO (one JSON file for all).

Columns: `image`, `labels` (strings), `boxes` (floats: left, top, right, bottom of each object in pixels, one after
another), `width`, `height`, `name`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isfinite
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from xml.etree import ElementTree as ET

import pyarrow as pa
from pydantic import Field

from components.contracts.config import StepConfig, placed
from components.contracts.errors import DataError
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.partition import NO_SPLIT, BadRow, DigestOf, Partition, Rows, few
from components.sources.tree import PLACE, Tree, open_tree, read_files, tree_version

COLUMNS = (
    Column(name="image", type="image", nullable=False),
    Column(name="labels", type="strings", nullable=False),
    Column(name="boxes", type="floats", nullable=False),
    Column(name="width", type="int64", nullable=False),
    Column(name="height", type="int64", nullable=False),
    Column(name="name", type="string", nullable=False),
)


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """What stands in one image."""

    labels: list[str]
    boxes: list[float]
    width: int
    height: int


class VocSource(StepConfig):
    """Pascal VOC: `JPEGImages`, `Annotations`, `ImageSets/Main`."""

    kind: Literal["pascal-voc"] = "pascal-voc"
    uri: str = placed(description="folder, tar or zip with JPEGImages, Annotations and ImageSets/Main")
    train: str = Field(
        "trainval", description="the image set that is given for training; none: all images, no part given"
    )
    test: str = Field("test", description="the image set that is given for the test")
    files_per_partition: int = Field(500, ge=1, description="images that one task reads")

    def version(self, digest_of: DigestOf) -> str:
        """The digest of every file."""
        return tree_version(self.uri, digest_of)

    def columns(self) -> tuple[Column, ...]:
        """COLUMNS."""
        return COLUMNS

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Runs of images with their annotations, in the order of the image sets."""
        tree = open_tree(self.uri, digest_of, scratch)
        top = tree.folder_of(f"ImageSets/Main/{self.train}.txt") if self.train else ""
        pictures = [name for name in tree.members if f"/{name}".startswith(f"/{top}JPEGImages/")]
        images = {PurePosixPath(name).stem: name for name in pictures}
        if not self.train:
            sets = [(NO_SPLIT, sorted(images))]
        else:
            wanted = (("train", self.train), ("test", self.test))
            sets = [
                (split, tree.read(f"{top}ImageSets/Main/{one}.txt").decode().split()) for split, one in wanted if one
            ]
        found = []
        for split, names in sets:
            for start in range(0, len(names), self.files_per_partition):
                chunk = names[start : start + self.files_per_partition]
                lost = next(
                    (one for one in chunk if one not in images or f"{top}Annotations/{one}.xml" not in tree.members),
                    None,
                )
                if lost is not None:
                    raise _lost(lost)
                files = [name for one in chunk for name in (images[one], f"{top}Annotations/{one}.xml")]
                found.append(_partition(tree, f"{split} {start}", chunk, files, None))
        return found

    def some(self, partition: Partition, chosen: Sequence[int]) -> Partition:
        """The same partition with only these of its members."""
        return _some(partition, chosen)

    def read(self, partition: Partition) -> Rows:
        """Images with what stands in them; an annotation that cannot be read sets its image aside."""
        root, plain, names, wanted, _ = partition.argument
        files = read_files(Path(root), Path(plain), wanted)
        annotations: list[Annotation | None] = []
        bad = []
        for name, text in zip(names, files[1::2], strict=True):
            try:
                annotations.append(_from_xml(text))
            except (ValueError, ET.ParseError, AttributeError, TypeError) as error:
                annotations.append(None)
                reason = f"the annotation cannot be read ({error})"
                bad.append(BadRow(row=1, code="E_FORMAT", reason=reason, text=name, file=f"Annotations/{name}.xml"))
        return _rows(names, files[::2], annotations, [one for one, _, _ in wanted[::2]], bad)


class CocoSource(StepConfig):
    """COCO: images and a JSON file of `images`, `annotations` and `categories`."""

    kind: Literal["coco"] = "coco"
    uri: str = placed(description="folder, tar or zip with the images and the annotations")
    train: str = Field("annotations/instances_train2017.json", description="annotations of the training part")
    test: str = Field("annotations/instances_val2017.json", description="annotations of the test part; may be none")
    files_per_partition: int = Field(500, ge=1, description="images that one task reads")

    def version(self, digest_of: DigestOf) -> str:
        """The digest of every file."""
        return tree_version(self.uri, digest_of)

    def columns(self) -> tuple[Column, ...]:
        """COLUMNS."""
        return COLUMNS

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Runs of images with their annotations, in the order of the file."""
        tree = open_tree(self.uri, digest_of, scratch)
        images: dict[str, list[str]] = {}
        for name in tree.members:
            images.setdefault(PurePosixPath(name).name, []).append(name)
        found = []
        for split, file in (("train", self.train), ("test", self.test)):
            entries = _from_json(tree.read(tree.folder_of(file) + file), file) if file else []
            for start in range(0, len(entries), self.files_per_partition):
                chunk = entries[start : start + self.files_per_partition]
                files = [_named(images, str(name), tree.folder_of(file) + file) for name, _ in chunk]
                names, annotations = [name for name, _ in chunk], [one for _, one in chunk]
                found.append(_partition(tree, f"{split} {start}", names, files, annotations))
        return found

    def some(self, partition: Partition, chosen: Sequence[int]) -> Partition:
        """The same partition with only these of its members."""
        return _some(partition, chosen)

    def read(self, partition: Partition) -> Rows:
        """Images with what stands in them."""
        root, plain, names, wanted, annotations = partition.argument
        files = read_files(Path(root), Path(plain), wanted)
        return _rows(names, files, [Annotation(**one) for one in annotations], [one for one, _, _ in wanted], [])


def _partition(tree: Tree, group: str, names: list[str], files: list[str], annotations: list[Any] | None) -> Partition:
    """A run of images: `files` has as many of each, one after the other. `group` begins with the given part."""
    digests = [[tree.members[name].name, tree.members[name].digest] for name in files]
    rows = zip(*[iter(digests)] * (len(files) // len(names)), annotations or [None] * len(names), strict=True)
    members = pa.table({"name": pa.array(names, pa.string()), "digest": pa.array(map(digest, rows), pa.string())})
    split = group.rpartition(" ")[0]
    return Partition(
        place=f"{names[0]} and {len(names) - 1} more",
        version=digest([split, digests, annotations]),
        size_bytes=max(sum(tree.members[name].size for name in files), 1),
        files=tree.files(files),
        stamps=tree.stamps(),
        split=split,
        group=group if len(set(names)) == len(names) else "",
        members=members,
        argument=[str(tree.root), str(tree.plain), names, tree.wanted(files), annotations],
    )


def _some(partition: Partition, chosen: Sequence[int]) -> Partition:
    root, plain, names, wanted, annotations = partition.argument
    each = len(wanted) // len(names)
    spots = [at * each + more for at in chosen for more in range(each)]
    kept = [annotations[at] for at in chosen] if annotations else None
    return replace(
        partition,
        members=few(partition, chosen),
        files=tuple(partition.files[at] for at in spots) if partition.files else (),
        argument=[root, plain, [names[at] for at in chosen], [wanted[at] for at in spots], kept],
    )


def _rows(
    names: Sequence[str], images: list[bytes], found: Sequence[Annotation | None], files: list[str], bad: list[BadRow]
) -> Rows:
    kept = [at for at, one in enumerate(found) if one is not None]
    known = [one for one in found if one is not None]
    table = pa.table({
        "image": pa.array([images[at] for at in kept], pa.binary()),
        "labels": pa.array([one.labels for one in known], pa.list_(pa.string())),
        "boxes": pa.array([one.boxes for one in known], pa.list_(pa.float64())),
        "width": pa.array([one.width for one in known], pa.int64()),
        "height": pa.array([one.height for one in known], pa.int64()),
        "name": pa.array([names[at] for at in kept], pa.string()),
    })
    numbers, places = pa.array([1] * len(kept), pa.int64()), pa.array([files[at] for at in kept], pa.string())
    return Rows(table=table, numbers=numbers, files=places, bad=bad)


def _from_xml(text: bytes) -> Annotation:
    if b"<!" in text:
        raise ValueError("it declares a document type, which annotations do not need")
    root = ET.fromstring(text)  # noqa: S314 - without a document type there are no entities
    labels, boxes = [], []
    for one in root.iter("object"):
        labels.append(str(one.findtext("name")).strip())
        boxes += [float(str(one.findtext(f"bndbox/{side}"))) for side in ("xmin", "ymin", "xmax", "ymax")]
    width, height = (int(float(str(root.findtext(f"size/{side}")))) for side in ("width", "height"))
    return Annotation(labels=labels, boxes=boxes, width=width, height=height)


def _from_json(text: bytes, file: str) -> list[tuple[str, dict[str, Any]]]:
    """The images in their order, each with its annotation's fields."""
    try:
        data = json.loads(text)
        names = {one["id"]: one["name"] for one in data["categories"]}
        found: dict[Any, tuple[str, dict[str, Any]]] = {
            one["id"]: (
                str(one["file_name"]),
                {"labels": [], "boxes": [], "width": int(one["width"]), "height": int(one["height"])},
            )
            for one in data["images"]
        }
        for one in data["annotations"]:
            left, top, width, height = one["bbox"]
            fields = found[one["image_id"]][1]
            fields["labels"].append(str(names[one["category_id"]]))
            box = [float(left), float(top), float(left + width), float(top + height)]
            if not all(map(isfinite, box)):
                raise ValueError(f"a box without bounds in image {one['image_id']}")
            fields["boxes"] += box
    except (ValueError, KeyError, TypeError) as error:
        what = f"these are no COCO annotations ({type(error).__name__}: {error})"
        raise DataError("E_FORMAT", what[:200], place=file, action="correct source.train and source.test") from error
    return list(found.values())


def _named(images: dict[str, list[str]], name: str, annotations: str) -> str:
    """The image of that name: the only one, or of several the one that lies where its annotations point."""
    found = images.get(PurePosixPath(name).name, [])
    near = [one for one in found if one == name or one.endswith(f"/{name}")] or found
    if not near:
        raise _lost(name)
    if len(near) > 1:
        file = PurePosixPath(annotations)
        beside = [one for one in near if PurePosixPath(one).parent == file.parent]
        near = beside or [one for one in near if PurePosixPath(one).parent.name in file.stem]
    if len(near) != 1:
        raise DataError(
            "E_FORMAT",
            "several images have this name, and nothing says which is meant",
            place=annotations,
            value=name,
            action="put each part's images beside its annotations, or into a folder that these are named after",
        )
    return near[0]


def _lost(name: str) -> DataError:
    return DataError(
        "E_SOURCE_EMPTY",
        "an image that the sets name is not there, or has no annotation",
        place=PLACE,
        value=name,
        action="fetch the data set again",
    )
