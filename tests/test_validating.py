"""What is asked of a snapshot as a whole, its report, and how far it moved from the one before."""

import datetime as dt
import io
import re

import numpy as np
import pytest
import soundfile

from components import ingest, validate
from components.adapters.audio import is_sound
from components.adapters.snapshot_rows import read_sample
from components.contracts.errors import MillraceError
from components.sources.files import FilesSource
from components.statistics.drift import number_drift, text_drift
from components.statistics.samples import EVERY, among, smallest
from components.validate import ValidateConfig
from components.validate.checks import ColumnCheck
from components.validate.rules import Balance, Freshness, Rule
from components.validate.snapshot import check_age


def take(folder, ctx, text, name="a.csv", **checks):
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / name).write_text(text)
    config = ValidateConfig(**{"max_bad_fraction": 1} | checks)
    source = FilesSource(uri=str(folder / "data"))
    raw = ingest.run(ingest.IngestConfig(source=source, columns=config.declared()), ctx=ctx)
    return validate.run(config, raw, ctx=ctx)


def report(valid, ctx):
    record = ctx.store.artifact("validate", valid.fingerprint).standing()
    return ctx.store.open(record, "data.html").read_text()


NUMBERS = {"a": ColumnCheck(type="int64"), "b": ColumnCheck(type="int64")}


@pytest.mark.parametrize(
    ("when", "left", "reason"),
    [
        ("at-most", [1, 3, 4], "a is more than b"),
        ("less", [1, 3, 4], "a is not less than b"),
        ("equal", [3, 4], "a is not that of b"),
        ("not-equal", [1, 2, 3, 4], ""),
        ("at-least", [2, 3, 4], "a is less than b"),
        ("needs", [1, 2, 4], "a stands without b"),
    ],
)
def test_rules_between_columns_set_rows_aside(tmp_path, ctx, when, left, reason):
    rule = Rule(column="a", when=when, other="b")
    valid = take(tmp_path, ctx, "n,a,b\n1,1,2\n2,2,1\n3,3,\n4,,4\n", columns=NUMBERS, rules=[rule])
    assert valid.rows == len(left)
    assert valid.ledger.quarantined == 4 - len(left)
    assert (not reason) or reason.split(" ", 1)[1] in report(valid, ctx)


def test_a_rule_between_columns_that_cannot_be_compared_is_one_line(tmp_path, ctx):
    rule = Rule(column="a", when="less", other="n")
    with pytest.raises(MillraceError, match=r"E_CONFIG checks.rules: a \(int64\) and n \(string\) cannot be compared"):
        take(tmp_path, ctx, "n,a,b\nx,1,2\n", columns=NUMBERS, rules=[rule])
    with pytest.raises(MillraceError, match="E_COLUMN_MISSING source: .*got 'c'"):
        take(tmp_path, ctx, "n,a,b\nx,1,2\n", rules=[Rule(column="c", when="less", other="a")])


def test_all_columns_that_are_not_there_are_told_with_the_nearest(tmp_path, ctx):
    wrong = {"wieght": ColumnCheck(type="float64"), "n": ColumnCheck(type="string"), "zzz": ColumnCheck(type="string")}
    with pytest.raises(MillraceError, match="E_COLUMN_MISSING source: .*; nearest: weight .got 'wieght'") as raised:
        take(tmp_path, ctx, "n,weight\nx,1\n", columns=wrong)
    assert [one.value for one in raised.value.others] == ["'zzz'"]


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        ({"min_rows": 4}, "E_ROW_COUNT checks.min_rows: 3 good rows; allowed: at least 4"),
        ({"max_rows": 2}, "E_ROW_COUNT checks.max_rows: 3 good rows; allowed: at most 2"),
        ({"min_rows": 3, "max_rows": 3}, ""),
        (
            {"balance": Balance(column="label", min_share=0.4)},
            "E_BALANCE checks.balance label: 1 of 2 classes are too rare; 'dog' has 1 of 3 rows; allowed: at least 1.2",
        ),
        ({"balance": Balance(column="label", min_rows=2)}, "E_BALANCE .* at least 2 rows of each"),
        ({"balance": Balance(column="label", min_rows=1)}, ""),
    ],
)
def test_rows_and_classes(tmp_path, ctx, checks, expected):
    text = "n,label\n1,cat\n2,cat\n3,dog\n"
    if expected:
        with pytest.raises(MillraceError, match=expected):
            take(tmp_path, ctx, text, **checks)
        return
    valid = take(tmp_path, ctx, text, **checks)
    assert valid.rows == 3
    assert valid.classes == ({"cat": 2, "dog": 1} if "balance" in checks else {})


def test_classes_are_those_of_good_rows_over_all_parts(tmp_path, ctx):
    columns = {"n": ColumnCheck(type="int64", minimum=0)}
    balance = Balance(column="label")
    take(tmp_path, ctx, "n,label\n1,cat\n-1,cat\n", columns=columns, balance=balance)
    valid = take(tmp_path, ctx, "n,label\n1,cat\n2,dog\n3,\n", "b.csv", columns=columns, balance=balance)
    assert valid.classes == {"cat": 2, "dog": 1}


def test_age_is_asked_for_in_every_run_also_where_nothing_is_new(tmp_path, ctx):
    columns = {"at": ColumnCheck(type="timestamp", timezone="UTC")}
    now = dt.datetime.now(dt.UTC)
    text = (
        f"at\n{(now - dt.timedelta(hours=30)):%Y-%m-%dT%H:%M:%S}\n{(now - dt.timedelta(hours=5)):%Y-%m-%dT%H:%M:%S}\n"
    )
    config = {"columns": columns, "freshness": Freshness(column="at", max_age_hours=6)}
    valid = take(tmp_path, ctx, text, **config)
    assert valid.newest[:13] == f"{now - dt.timedelta(hours=5):%Y-%m-%dT%H}"
    strict = ValidateConfig(**config)
    with pytest.raises(
        MillraceError, match=r"E_STALE checks.freshness at: the newest row is too old .*at most 6 hours"
    ):
        check_age(strict, valid.newest, now + dt.timedelta(hours=2))
    with pytest.raises(MillraceError, match="E_STALE .*no row has a time"):
        take(tmp_path, ctx, "at,n\n,1\n,2\n", **config)


def rows(mean, count=4000, seed=0, label="a"):
    drawn = np.random.default_rng(seed).normal(mean, 1, count)
    return "x,label\n" + "".join(f"{one:.6f},{label}\n" for one in drawn)


def test_drift_is_against_the_newest_snapshot_of_other_rows(tmp_path, ctx):
    columns = {"x": ColumnCheck(type="float64")}
    first = take(tmp_path, ctx, rows(0), columns=columns)
    assert first.drift == {}
    same = take(tmp_path, ctx, rows(0, seed=1), columns=columns)
    assert set(same.drift) == {"x", "label"}
    assert same.drift["x"] < 0.02
    moved = take(tmp_path, ctx, rows(1, seed=2, label="b"), columns=columns)
    assert moved.drift["x"] > 0.25
    assert moved.drift["label"] > 1
    assert 'class="moved"' in report(moved, ctx)
    ctx.outcomes.clear()
    again = take(tmp_path, ctx, rows(1, seed=2, label="b"), columns=columns)
    assert all(one.reused for one in ctx.outcomes)
    assert again.drift == moved.drift


def test_too_much_drift_ends_the_run_and_a_repeated_run_says_the_same(tmp_path, ctx):
    columns = {"x": ColumnCheck(type="float64")}
    config = {"columns": columns, "max_drift": 0.25, "drift_columns": ("x",)}
    take(tmp_path, ctx, rows(0), **config)
    for _ in range(2):
        with pytest.raises(
            MillraceError,
            match=r"E_DRIFT checks.max_drift: x differs from the snapshot before by 3.*; the data report is /",
        ):
            take(tmp_path, ctx, rows(2, seed=1), **config)
    assert "moved" in (ctx.placement.home / "reports" / "test-data.html").read_text()
    fine = take(tmp_path, ctx, rows(0, seed=3), **config)
    assert fine.drift["x"] < 0.02
    assert take(tmp_path, ctx, rows(0, seed=3), **config).fingerprint == fine.fingerprint


def test_what_moved_is_no_part_of_what_the_rows_are(tmp_path, ctx):
    columns = {"x": ColumnCheck(type="float64")}
    take(tmp_path, ctx, rows(3), columns=columns)
    after = take(tmp_path, ctx, rows(0), columns=columns)
    ctx.name = "another recipe"
    alone = take(tmp_path, ctx, rows(0), columns=columns, min_rows=1)
    assert after.drift
    assert alone.content == after.content


def test_a_report_escapes_what_it_shows_and_needs_no_network(tmp_path, ctx):
    valid = take(
        tmp_path, ctx, "<b>x</b>,n\n<script>alert(1)</script>,1\ny,x\n", columns={"n": ColumnCheck(type="int64")}
    )
    html = report(valid, ctx)
    assert "<script>" not in html
    assert "&lt;b&gt;x&lt;/b&gt;" in html
    assert not re.search(r"(src|href)=.?http", html)
    assert "E_TYPE" in html
    assert "a.csv:3" in html


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "OGG"])
def test_sound_that_is_cut_off_or_none_is_set_aside(kind):
    buffer = io.BytesIO()
    soundfile.write(buffer, np.sin(np.arange(20_000) / 9), 8000, format=kind)
    whole = buffer.getvalue()
    assert is_sound(whole)
    assert is_sound(None)
    assert not is_sound(b"RIFF nonsense")
    assert not is_sound(whole[:20])
    assert not is_sound(whole[: len(whole) // 2])


def test_a_sample_of_parts_is_a_sample_of_all():
    keys = np.random.default_rng(0).integers(0, 2**64, 50_000, np.uint64)
    parts = np.split(keys, [100, 30_000])
    drawn = [smallest(one, 2000) for one in parts]
    kept = [one[rows] for one, (rows, _) in zip(parts, drawn, strict=True)]
    chosen = among(kept, [cut for _, cut in drawn], 3000)
    together = np.concatenate([one[rows] for one, rows in zip(kept, chosen, strict=True)])
    assert 2500 < len(together) <= 3000
    assert set(together.tolist()) == set(np.sort(keys)[: len(together)].tolist())
    rows, cut = smallest(keys[:10], 10)
    assert (len(rows), cut) == (10, EVERY)


def test_drift_of_equal_samples_is_about_nothing_and_of_moved_ones_is_not():
    rng = np.random.default_rng(0)
    for _ in range(20):
        first, second = rng.normal(size=2000), rng.normal(size=2000)
        assert number_drift(first, second) < 0.03
        assert number_drift(first, second + 1) > 0.25
        assert text_drift(rng.choice(list("abc"), 2000).tolist(), rng.choice(list("abc"), 2000).tolist()) < 0.02
    missing = np.where(rng.random(2000) < 0.3, np.nan, rng.normal(size=2000))
    assert number_drift(rng.normal(size=2000), missing) > 0.25
    assert text_drift(["a"] * 100, ["b"] * 100) > 1
    assert number_drift(np.full(10, np.nan), np.ones(10)) > 0.25
    assert text_drift([], []) == 0


def test_rows_that_repeat_are_sampled_like_others(tmp_path, ctx):
    """A sample by the rows' cells would take all copies of a row or none."""
    text = "c,d\n" + "a,x\n" * 8000 + "b,x\n" * 4000
    valid = take(tmp_path, ctx, text)
    sample = read_sample(ctx.store, ctx.store.artifact("validate", valid.fingerprint).standing())
    assert sample.num_rows > 1900
    assert abs(sample["c"].to_pylist().count("a") / sample.num_rows - 2 / 3) < 0.05
    for rows in (3000, 20_000):
        again = take(tmp_path, ctx, "c,d\n" + ("a,x\n" * 2 + "b,x\n") * rows)
        assert max(again.drift.values()) < 0.02


def test_a_report_of_files_with_columns_in_another_order(tmp_path, ctx):
    take(tmp_path, ctx, "a,b\n1,2\n")
    valid = take(tmp_path, ctx, "b,a\n2,1\n", "b.csv")
    assert valid.rows == 2


def test_a_snapshot_of_an_older_release_has_no_sample_and_gives_no_drift(tmp_path, ctx, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(validate, "write_sample", lambda *_: None)
        take(tmp_path, ctx, rows(0))
    assert take(tmp_path, ctx, rows(3)).drift == {}


@pytest.mark.parametrize(
    ("checks", "expected"),
    [
        (
            {"freshness": Freshness(column="label", max_age_hours=1)},
            "E_CONFIG checks.freshness.column: label is string",
        ),
        (
            {"balance": Balance(column="x")},
            "E_CONFIG checks.balance.column: x is float64; allowed: string or int64 or bool",
        ),
    ],
)
def test_checks_on_columns_of_another_type_are_one_line(tmp_path, ctx, checks, expected):
    with pytest.raises(MillraceError, match=expected):
        take(tmp_path, ctx, rows(0), columns={"x": ColumnCheck(type="float64")}, **checks)


def test_rows_that_equal_an_earlier_one_are_counted_where_asked(tmp_path, ctx):
    text = "c,d\na,1\nb,2\na,1\n"
    valid = take(tmp_path, ctx, text, max_duplicates=0.5)
    assert "equal an earlier row" in report(valid, ctx)
    with pytest.raises(
        MillraceError, match=r"E_DUPLICATE checks.max_duplicates: 1 of 3 rows equal an earlier row; .*10.00%"
    ):
        take(tmp_path, ctx, text, max_duplicates=0.1)
    with pytest.raises(MillraceError, match="E_DUPLICATE .* 4 of 6 rows"):
        take(tmp_path, ctx, text, "b.csv", max_duplicates=0.5)


@pytest.mark.bad_input
def test_a_feature_of_another_kind_than_the_column_is_hinted_at(tmp_path, ctx):
    """Every row fails where a feature asks for a type that the column never had."""
    (tmp_path / "0.csv").write_text("c,label\n" + "red,yes\nblue,no\n" * 20)
    checks = ValidateConfig(columns={"c": ColumnCheck(type="float64")})
    raw = ingest.run(ingest.IngestConfig(source=FilesSource(uri=str(tmp_path)), columns=checks.declared()), ctx=ctx)
    with pytest.raises(MillraceError, match="40 of 40 rows are bad; .*perhaps c is for a feature of another kind"):
        validate.run(checks, raw, ctx=ctx)
