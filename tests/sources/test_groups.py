"""A tree of small files of which few changed: only these are read, and the result is that of reading all."""

import json
import random

import pytest

from components import ingest, validate
from components.adapters.compute import Compute
from components.adapters.snapshot_rows import read_rows
from components.context import open_context
from components.contracts.errors import MillraceError
from components.contracts.placement import Placement
from components.ingest import groups
from components.sources import annotated, class_folder
from components.sources.annotated import CocoSource, VocSource
from components.sources.image_folder import ImageFolderSource
from components.sources.text_folder import TextFolderSource
from components.statistics.samples import smallest
from components.validate import ValidateConfig
from tests.sources.conftest import OBJECT, XML, png


@pytest.fixture
def tree(tmp_path):
    for label in ("cat", "dog"):
        (tmp_path / "tree" / label).mkdir(parents=True)
        for number in range(40):
            (tmp_path / "tree" / label / f"{number}.txt").write_text(f"{label} {number}")
    return tmp_path / "tree"


def context(folder):
    made = open_context(Placement(home=folder), "test")
    made.compute = Compute(workers=1, synchronous=True)
    return made


def source(tree, **fields):
    return TextFolderSource(uri=str(tree), **fields)


def take(one, ctx):
    raw = ingest.run(ingest.IngestConfig(source=one), ctx=ctx)
    return raw, [row for part in raw.parts for row in read_rows(ctx.store, "ingest", part.key).to_pylist()]


@pytest.fixture
def files_read(monkeypatch):
    seen = []
    whole = class_folder._file
    monkeypatch.setattr(class_folder, "_file", lambda path: (seen.append(path), whole(path))[1])
    return seen


def test_only_files_that_changed_are_read_and_the_result_is_that_of_reading_all(tree, ctx, tmp_path, files_read):
    """Over more steps than a part may be deep, with files that change, come, go and come back."""
    drawn = random.Random(0)
    take(source(tree), ctx)
    for step in range(11):
        files_read.clear()
        files = sorted(tree.rglob("*.txt"))
        for path in drawn.sample(files, 3):
            path.write_text(f"changed in step {step}: {drawn.random()}")
        drawn.choice(files).unlink()
        label = drawn.choice(("cat", "dog"))
        (tree / label / f"{drawn.randrange(1000)}.txt").write_text("new")
        raw, rows = take(source(tree), ctx)
        assert len(files_read) <= 4, step
        whole, expected = take(source(tree), context(tmp_path / f"home-{step}"))
        assert rows == expected
        assert raw.content == whole.content
        assert raw.ledger == whole.ledger


def test_a_group_of_which_much_changed_is_read_whole(tree, ctx, files_read):
    take(source(tree), ctx)
    for number in range(30):
        (tree / "cat" / f"{number}.txt").write_text("new")
    files_read.clear()
    _, rows = take(source(tree), ctx)
    assert len(files_read) == 80
    assert sum(row["text"] == "new" for row in rows) == 30


def test_a_changed_file_that_is_no_text_is_set_aside_and_nothing_is_built_on_that(tree, ctx, tmp_path):
    take(source(tree), ctx)
    (tree / "cat" / "7.txt").write_bytes(b"\xff")
    raw, rows = take(source(tree), ctx)
    assert raw.ledger.quarantined == 1
    assert len(rows) == 79
    (tree / "cat" / "8.txt").write_text("new")
    raw, rows = take(source(tree), ctx)
    whole, expected = take(source(tree), context(tmp_path / "other"))
    assert (rows, raw.content, raw.ledger.quarantined) == (expected, whole.content, 1)


def test_other_settings_build_on_nothing_old(tree, ctx, files_read):
    take(source(tree), ctx)
    (tree / "cat" / "7.txt").write_bytes(b"new \xe4")
    files_read.clear()
    _, rows = take(source(tree, encoding="latin-1"), ctx)
    assert len(files_read) == 80
    assert rows[0]["text"] == "cat 0"


def test_later_steps_see_the_rows_of_a_changed_group(tmp_path, ctx):
    for label in ("a", "b"):
        (tmp_path / "t" / label).mkdir(parents=True)
        for number in range(10):
            (tmp_path / "t" / label / f"{number}.png").write_bytes(png(number))
    one = ImageFolderSource(uri=str(tmp_path / "t"))
    checks = ValidateConfig(max_bad_fraction=0.2)

    def good():
        raw = ingest.run(ingest.IngestConfig(source=one), ctx=ctx)
        return validate.run(checks, raw, ctx=ctx)

    assert good().rows == 20
    (tmp_path / "t" / "a" / "3.png").write_bytes(b"no image")
    valid = good()
    assert valid.ledger.quarantined == 1
    rows = read_rows(ctx.store, "validate", valid.parts[0].key, ["image", "label"]).to_pylist()
    expected = [png(number) for label in "ab" for number in range(10) if (label, number) != ("a", 3)]
    assert [row["image"] for row in rows] == expected


def test_a_file_that_changes_between_listing_and_reading_is_an_error(tree, ctx, monkeypatch):
    whole = class_folder._file
    monkeypatch.setattr(class_folder, "_file", lambda path: whole(path) + (b"!" if path.endswith("cat/5.txt") else b""))
    with pytest.raises(MillraceError, match=r"E_SOURCE_CHANGED source: the file changed .*cat/5\.txt"):
        take(source(tree), ctx)


def test_a_tree_that_grows_keeps_its_groups_and_then_halves_them(tree, ctx, files_read):
    small = source(tree, files_per_partition=40)
    raw, _ = take(small, ctx)
    assert len(raw.parts) == 2
    (tree / "cat" / "40.txt").write_text("one more")
    raw, rows = take(small, ctx)
    assert len(raw.parts) == 4
    files_read.clear()
    (tree / "cat" / "41.txt").write_text("and one")
    again, more = take(small, ctx)
    assert len(again.parts) == 4
    assert len(files_read) == 1
    assert len(more) == len(rows) + 1


def test_many_classes_of_few_files_are_few_groups(tmp_path, ctx):
    for number in range(300):
        (tmp_path / "tree" / f"{number:03}").mkdir(parents=True)
        (tmp_path / "tree" / f"{number:03}" / "a.txt").write_text(str(number))
    raw, rows = take(source(tmp_path / "tree", files_per_partition=100), ctx)
    assert len(raw.parts) == 4
    assert sorted((row["label"], row["text"]) for row in rows) == [(f"{one:03}", str(one)) for one in range(300)]


def test_the_sample_of_a_changed_group_is_that_of_reading_all(tmp_path, ctx, monkeypatch):
    """Whatever the machine has seen before; where too few of its rows are at hand, all is read."""
    from components.ingest import samples
    from components.validate.data_report import sample_of

    monkeypatch.setattr(samples, "RESERVE", 60)
    monkeypatch.setattr(samples, "MOST", 30)
    monkeypatch.setattr("components.validate.data_report.smallest", lambda lots: smallest(lots, 30))
    (tmp_path / "t" / "a").mkdir(parents=True)
    for number in range(200):
        (tmp_path / "t" / "a" / f"{number}.txt").write_text(f"text {number}")
    drawn = random.Random(0)
    raw, _ = take(source(tmp_path / "t"), ctx)
    for step in range(9):
        for path in drawn.sample(sorted((tmp_path / "t" / "a").iterdir()), 20):
            path.write_text(f"new {step} {drawn.random()}")
        raw, _ = take(source(tmp_path / "t"), ctx)
        fresh = context(tmp_path / f"fresh-{step}")
        whole, _ = take(source(tmp_path / "t"), fresh)
        assert raw.content == whole.content
        assert sample_of(ctx.store, raw).equals(sample_of(fresh.store, whole))


def test_only_replaced_columns_of_a_changed_group(tree, ctx):
    from components import clean
    from components.cleaning.map_values import MapValues

    one = source(tree, name_pattern="(?P<number>.*)")

    def column():
        raw = ingest.run(ingest.IngestConfig(source=one), ctx=ctx)
        valid = validate.run(ValidateConfig(), raw, ctx=ctx)
        operation = MapValues(columns=("number",), to={"3": "three"})
        cleaned = clean.run(clean.CleanConfig(operations=(operation,)), valid, ctx=ctx)
        return [
            cell
            for part in cleaned.parts
            for cell in read_rows(ctx.store, "clean", part.key, ["number"])["number"].to_pylist()
        ]

    column()
    (tree / "cat" / "7.txt").write_text("new")
    assert column().count("three") == 2
    assert len(column()) == 80


def annotated_set(folder, kind):
    """Twelve pictures with boxes; returns the source, and what writes picture and annotation of a number anew."""
    numbers = range(12)
    if kind == "pascal-voc":
        for inner in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (folder / inner).mkdir(parents=True)
        (folder / "ImageSets" / "Main" / "trainval.txt").write_text("\n".join(map(str, numbers)))
        one = VocSource(uri=str(folder), test="")
    else:
        (folder / "train2017").mkdir(parents=True)
        (folder / "annotations").mkdir()
        one = CocoSource(uri=str(folder), test="")
    boxes = dict.fromkeys(numbers, 1)

    def write(number, picture, box):
        boxes[number] = box
        if kind == "pascal-voc":
            (folder / "JPEGImages" / f"{number}.jpg").write_bytes(png(picture))
            text = XML.format(OBJECT.format("cell", box, 2, 3, 4))
            (folder / "Annotations" / f"{number}.xml").write_text(text)
            return
        (folder / "train2017" / f"{number}.jpg").write_bytes(png(picture))
        data = {
            "images": [{"id": at, "file_name": f"{at}.jpg", "width": 4, "height": 4} for at in numbers],
            "categories": [{"id": 7, "name": "dog"}],
            "annotations": [{"image_id": at, "category_id": 7, "bbox": [box, 0, 1, 1]} for at, box in boxes.items()],
        }
        (folder / "annotations" / "instances_train2017.json").write_text(json.dumps(data))

    for number in numbers:
        write(number, number, 1)
    return one, write


@pytest.mark.parametrize("kind", ["pascal-voc", "coco"])
def test_of_annotated_pictures_only_those_that_changed_are_read(tmp_path, ctx, monkeypatch, kind):
    one, write = annotated_set(tmp_path / "set", kind)
    take(one, ctx)
    seen, whole = [], annotated.read_files
    monkeypatch.setattr(annotated, "read_files", lambda *given: (seen.extend(given[2]), whole(*given))[1])
    for number, picture, box in ((3, 50, 1), (7, 7, 2), (0, 60, 3)):
        write(number, picture, box)
        seen.clear()
        raw, rows = take(one, ctx)
        assert {name.rpartition("/")[2].partition(".")[0] for name, _, _ in seen} == {str(number)}
        fresh, expected = take(one, context(tmp_path / f"home-{number}"))
        assert rows == expected
        assert raw.content == fresh.content
        assert rows[number]["boxes"][0] == box


def test_patches_stay_few_and_small_while_the_group_changes_its_size(tree, ctx, tmp_path, monkeypatch):
    """One file grows and shrinks between nothing and most of the group."""
    monkeypatch.setattr(groups, "STEP_BYTES", 500)
    drawn, seen = random.Random(1), []
    for step in range(25):
        (tree / "cat" / "7.txt").write_text("x" * drawn.randrange(1, 12_000))
        raw, rows = take(source(tree), ctx)
        assert rows == take(source(tree), context(tmp_path / f"home-{step}"))[1]
        meta = ctx.store.part("ingest", raw.parts[0].key).record().meta
        size = sum(path.stat().st_size for path in (tree / "cat").iterdir())
        assert meta["patched"] < max(size, 500)
        seen.append(meta["depth"])
    assert max(seen) < groups.MOST
    assert {0, 1, 2} <= set(seen)
