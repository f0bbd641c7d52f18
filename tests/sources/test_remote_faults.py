"""F13, F14, F16, F17 and F21: a bucket that cuts, refuses, hangs, and changes while it is read."""

import time

import pytest

from components.adapters import blobs
from components.contracts.errors import MillraceError
from tests.sources.remote import LINES, ROWS, read

pytestmark = [pytest.mark.usefixtures("impatient"), pytest.mark.faults]


def gets(path):
    return path.endswith(".csv")


def test_fault_F13_a_download_is_cut(bucket, ctx, s3, tally):
    """F13-get-cut: the connection ends before, in the middle of and after a file's bytes; never short data."""
    _, _, place = bucket
    with tally("F13-get-cut") as count:
        for how in ("cut-before", "cut-after", "bytes 0", "bytes 1", "bytes mid", "bytes -1"):
            for at in range(1, 6):
                seen = 0

                def rule(_number, method, path, at=at, how=how):
                    nonlocal seen
                    if method != "GET" or not gets(path):
                        return "pass"
                    seen += 1
                    if seen != at:
                        return "pass"
                    count.hit += 1
                    return how

                ctx.rerun = {"ingest": count.injected}
                (ctx.placement.home / "memo" / "file_digests.jsonl").unlink(missing_ok=True)
                with s3.ruled(rule):
                    _, rows = read(f"{place}/a.csv", ctx)
                count.injected += seen >= at
                count.holds(lambda rows=rows: _same(rows))


def _same(rows):
    assert rows == ROWS


CANARY = "c4nary-5ecret-of-the-bucket"


@pytest.mark.parametrize(
    ("row", "what", "code"),
    [
        ("F14", "503", "E_SERVER_UNREACHABLE"),
        ("F14", "429", "E_SERVER_UNREACHABLE"),
        ("F14", "hang", "E_SERVER_UNREACHABLE"),
        ("F21", "403", "E_CREDENTIALS"),
        ("F21", "expired", "E_CREDENTIALS"),
    ],
)
def test_fault_F14_F21_a_server_that_refuses(bucket, ctx, s3, tally, caplog, monkeypatch, row, what, code):
    """F14-503, F14-429, F14-hang, F21-403 and F21-expired: for a while, and for ever; bounded tries, then one clear line.

    A token that expires in the middle of a run is refused at the third request and from then on. The credential is
    never shown.
    """
    _, _, place = bucket
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", CANARY)
    monkeypatch.setattr(blobs, "READ_SECONDS", 2)
    monkeypatch.setattr(s3.door, "hangs", 4.0)
    passing = row == "F14"
    caplog.set_level("DEBUG")
    with tally(f"{row}-{what}") as count:
        for first, times in ((1, 1), (1, 2), (1, 10_000), (3, 10_000)):
            seen = struck = 0

            def rule(_number, method, path, first=first, times=times):
                nonlocal seen, struck
                if method not in {"GET", "HEAD"} or not gets(path):
                    return "pass"
                seen += 1
                if not first <= seen < first + times:
                    return "pass"
                struck += 1
                return what

            count.injected += 1
            ctx.rerun = {"ingest": count.injected}
            (ctx.placement.home / "memo" / "file_digests.jsonl").unlink(missing_ok=True)
            began, error, rows = time.monotonic(), None, []
            with s3.ruled(rule):
                try:
                    _, rows = read(f"{place}/a.csv", ctx)
                except MillraceError as found:
                    error = found
            count.hit += bool(struck)
            if passing or times == 10_000:
                ends = passing and times < 10_000
                count.holds(lambda error=error, rows=rows, ends=ends: _ended(error, rows, code, ends))
            most = blobs.TRIES * (blobs.READ_SECONDS + 1) + 20
            count.holds(lambda began=began, most=most: _before(began + most))
        kept = b"".join(path.read_bytes() for path in ctx.placement.home.rglob("*") if path.is_file())
        assert CANARY not in caplog.text
        assert CANARY.encode() not in kept


def _ended(error, rows, code, passing):
    if passing:
        assert error is None, error.line()
        assert rows == ROWS
    else:
        assert error is not None
        assert error.code == code, error.line()
        assert CANARY not in error.line() + repr(error.__cause__) + repr(error.__context__)


def _before(end):
    assert time.monotonic() < end


@pytest.mark.parametrize("size", ["one range", "many ranges"])
def test_fault_F16_an_object_is_replaced_while_it_is_read(bucket, ctx, s3, tally, monkeypatch, size):
    """F16-replaced: after the first bytes came another version stands there; it is never taken for the first."""
    client, name, place = bucket
    lines = LINES * (60 if size == "many ranges" else 1)
    monkeypatch.setattr(blobs, "BLOCK", 2**20)
    with tally("F16-replaced") as count:
        for number in range(1, 6):
            client.put_object(Bucket=name, Key="store/data/a.csv", Body=f"n,c\n{lines}".encode())
            other = f"n,c\n{lines}".replace("x", "abcde"[number - 1]).encode()
            swapped = 0

            def swap(other=other):
                client.put_object(Bucket=name, Key="store/data/a.csv", Body=other)

            def rule(_number, method, path):
                nonlocal swapped
                if method == "GET" and gets(path) and not swapped:
                    swapped = 1
                    return "swap"
                return "pass"

            count.injected += 1
            ctx.rerun = {"ingest": number}
            (ctx.placement.home / "memo" / "file_digests.jsonl").unlink(missing_ok=True)
            s3.door.swap = swap
            with s3.ruled(rule), pytest.raises(MillraceError) as found:
                read(f"{place}/a.csv", ctx)
            count.hit += swapped
            count.holds(lambda found=found: _changed(found.value))


def _changed(error):
    assert error.code == "E_SOURCE_CHANGED", error.line()


def test_fault_F17_another_client_writes(bucket, ctx, tally):
    """F17-stale-listing: what another client wrote is seen by the next read, each time."""
    client, name, place = bucket
    with tally("F17-stale-listing") as count:
        for number in range(1, 11):
            client.put_object(Bucket=name, Key=f"store/data/new-{number}.csv", Body=b"n,c\n1,x\n")
            count.injected += 1
            count.hit += 1
            _, rows = read(place, ctx)
            count.holds(lambda rows=rows, number=number: _grown(rows, number))


def _grown(rows, number):
    assert len(rows) == 40_000 + number
