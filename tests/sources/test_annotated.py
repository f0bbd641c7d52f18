"""Pictures with boxes, Pascal VOC and COCO, read beside what was written."""

import json

import pytest

from components.adapters.store import digest_file
from components.contracts.errors import DataError
from components.sources.annotated import CocoSource, VocSource
from tests.sources.conftest import OBJECT, XML, png
from tests.sources.media import FORMS, packed, read


@pytest.mark.parametrize("form", FORMS)
def test_pascal_voc(tmp_path, form):
    root = tmp_path / "BCCD"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for number in range(5):
        (root / "JPEGImages" / f"{number}.jpg").write_bytes(png(number))
        objects = "".join(OBJECT.format("cell", one, 2, 3 + one, 4) for one in range(number))
        (root / "Annotations" / f"{number}.xml").write_text(XML.format(objects))
    (root / "Annotations" / "3.xml").write_text('<!DOCTYPE x [<!ENTITY e "e">]><annotation>&e;</annotation>')
    (root / "ImageSets" / "Main" / "trainval.txt").write_text("2\n0\n3\n")
    (root / "ImageSets" / "Main" / "test.txt").write_text("1\n4\n")
    rows, bad = read(VocSource(uri=str(packed(root, form)), files_per_partition=2), tmp_path)
    assert [(one["split"], one["name"], one["labels"]) for one in rows] == [
        ("train", "2", ["cell"] * 2), ("train", "0", []), ("test", "1", ["cell"]), ("test", "4", ["cell"] * 4),
    ]  # fmt: skip
    assert rows[0]["boxes"] == [0, 2, 3, 4, 1, 2, 4, 4]
    assert (rows[0]["width"], rows[0]["height"], rows[0]["image"]) == (64, 48, png(2))
    assert [(one.file, one.code) for one in bad] == [("Annotations/3.xml", "E_FORMAT")]


@pytest.mark.parametrize(
    ("what", "after"), [("ImageSets/Main/trainval.txt", "JPEGImages/0.jpg"), ("JPEGImages/0.jpg", "Annotations/0.xml")]
)
def test_what_changes_after_it_was_looked_at_is_an_error(tmp_path, what, after):
    """The image set that is read is the one that the source's version covers; a picture that vanishes is one line."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "JPEGImages" / "0.jpg").write_bytes(png(0))
    (tmp_path / "Annotations" / "0.xml").write_text(XML.format(""))
    (tmp_path / "ImageSets" / "Main" / "trainval.txt").write_text("0\n")

    def digests(path):
        found = digest_file(path)
        if path == tmp_path / after:
            (tmp_path / what).unlink() if what.endswith("jpg") else (tmp_path / what).write_text("0\n0\n")
        return found

    with pytest.raises(DataError, match=f"E_SOURCE_CHANGED .*{what}"):
        list(VocSource(uri=str(tmp_path), test="").partitions(digests, tmp_path / "scratch"))


@pytest.mark.parametrize("form", FORMS)
def test_coco(tmp_path, form):
    root = tmp_path / "coco"
    (root / "train2017").mkdir(parents=True)
    (root / "annotations").mkdir()
    for number in range(3):
        (root / "train2017" / f"{number}.jpg").write_bytes(png(number))
    data = {
        "images": [{"id": one, "file_name": f"{one}.jpg", "width": 4, "height": 4} for one in (2, 0, 1)],
        "categories": [{"id": 7, "name": "dog"}],
        "annotations": [
            {"image_id": 0, "category_id": 7, "bbox": [1, 1, 2, 2]},
            {"image_id": 0, "category_id": 7, "bbox": [0, 0, 1, 1]},
        ],
    }
    (root / "annotations" / "instances_train2017.json").write_text(json.dumps(data))
    rows, _ = read(CocoSource(uri=str(packed(root, form)), test="", files_per_partition=2), tmp_path)
    assert [(one["name"], one["labels"], one["boxes"]) for one in rows] == [
        ("2.jpg", [], []), ("0.jpg", ["dog", "dog"], [1, 1, 3, 3, 0, 0, 1, 1]), ("1.jpg", [], []),
    ]  # fmt: skip
    (root / "annotations" / "instances_train2017.json").write_text('{"images": []}')
    with pytest.raises(DataError, match="E_FORMAT annotations/instances_train2017.json: these are no COCO annotations"):
        read(CocoSource(uri=str(root), test=""), tmp_path)


@pytest.mark.parametrize(
    ("image", "box"),
    [({"width": "x"}, [0, 0, 1, 1]), ({}, [0, 0, float("nan"), 1]), ({}, [0, 0, float("inf"), 1]), ({}, [0, 0, 1])],
)
def test_annotations_that_hold_no_numbers_are_one_line(tmp_path, image, box):
    (tmp_path / "a.jpg").write_bytes(png(0))
    data = {
        "images": [{"id": 1, "file_name": "a.jpg", "width": 4, "height": 4} | image],
        "categories": [{"id": 7, "name": "dog"}],
        "annotations": [{"image_id": 1, "category_id": 7, "bbox": box}],
    }
    (tmp_path / "c.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="E_FORMAT c.json: these are no COCO annotations"):
        read(CocoSource(uri=str(tmp_path), train="c.json", test=""), tmp_path)


def test_coco_never_pairs_boxes_with_another_picture_of_the_same_name(tmp_path):
    data = {"images": [{"id": 1, "file_name": "1.jpg", "width": 4, "height": 4}], "categories": [], "annotations": []}
    for part, value in (("train", 1), ("valid", 2)):
        (tmp_path / "set" / part).mkdir(parents=True)
        (tmp_path / "set" / part / "1.jpg").write_bytes(png(value))
        (tmp_path / "set" / part / "_coco.json").write_text(json.dumps(data))
    source = CocoSource(uri=str(tmp_path / "set"), train="train/_coco.json", test="valid/_coco.json")
    rows, _ = read(source, tmp_path)
    assert [(one["split"], one["image"]) for one in rows] == [("train", png(1)), ("test", png(2))]
    (tmp_path / "set" / "coco.json").write_text(json.dumps(data))
    with pytest.raises(DataError, match="E_FORMAT coco.json: several images have this name"):
        read(CocoSource(uri=str(tmp_path / "set"), train="coco.json", test=""), tmp_path)
