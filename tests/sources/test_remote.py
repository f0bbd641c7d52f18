"""Files in a bucket and behind an address, by a real S3 server and a real HTTP server, also when these misbehave."""

import functools
import gzip
import http.server
import io
import tarfile
import threading
import time
import zipfile

import fsspec
import pytest

from components import ingest
from components.adapters import blobs
from components.adapters.snapshot_rows import read_rows
from components.contracts.errors import MillraceError
from components.contracts.spec import OWN_COLUMNS
from components.sources.files import FilesSource

LINES = "".join(f"{number},{'xyz'[number % 3]}\n" for number in range(20_000))
CSV = "n,c\n" + LINES
ROWS = [{"n": str(number), "c": "xyz"[number % 3]} for number in range(20_000)]


@pytest.fixture
def bucket(s3):
    """A bucket with two files, and its address."""
    place = s3.bucket()
    name = place.split("/")[2]
    client = s3.client()
    client.put_object(Bucket=name, Key="store/data/a.csv", Body=CSV.encode())
    client.put_object(Bucket=name, Key="store/data/deep/b.csv.gz", Body=gzip.compress(CSV.encode()))
    return client, name, f"{place}/data"


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(blobs.time, "sleep", lambda _: None)
    fsspec.config.conf.pop("s3", None)


def read(uri, ctx, **fields):
    raw = ingest.run(ingest.IngestConfig(source=FilesSource(uri=uri, **fields)), ctx=ctx)
    rows = []
    for part in raw.parts:
        rows += read_rows(ctx.store, "ingest", part.key).drop(list(OWN_COLUMNS)).to_pylist()
    return raw, rows


@pytest.mark.parametrize(("below", "times"), [("", 2), ("/a.csv", 1), ("/*.csv", 1), ("/deep/*", 1)])
def test_a_bucket_is_read_as_a_folder_is(bucket, ctx, below, times):
    _, _, place = bucket
    raw, rows = read(place + below, ctx, partition_mb=0.05)
    assert rows == ROWS * times
    assert len(raw.parts) > times


def test_what_did_not_change_is_not_fetched_again(bucket, ctx, s3):
    client, name, place = bucket
    first, _ = read(place, ctx)
    ctx.outcomes.clear()
    with s3.ruled(None) as door:
        read(place, ctx)
        assert [one for one in door.log if one[0] == "GET" and one[1].endswith(("csv", "gz"))] == []
    assert [one.reused for one in ctx.outcomes] == [True]
    client.put_object(Bucket=name, Key="store/data/a.csv", Body=(CSV + "20000,x\n").encode())
    second, rows = read(place, ctx)
    assert len(rows) == 40_001
    assert len({part.key for part in second.parts} - {part.key for part in first.parts}) == 1


def test_a_bucket_and_a_folder_give_the_same_result(bucket, ctx, tmp_path):
    (tmp_path / "data" / "deep").mkdir(parents=True)
    (tmp_path / "data" / "a.csv").write_text(CSV)
    (tmp_path / "data" / "deep" / "b.csv.gz").write_bytes(gzip.compress(CSV.encode()))
    there, _ = read(bucket[2], ctx)
    here, _ = read(str(tmp_path / "data"), ctx)
    assert here.content == there.content


@pytest.fixture
def web(tmp_path):
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "a.csv").write_text(CSV)
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = functools.partial(quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_an_address_is_read(web, ctx):
    assert read(f"{web}/a.csv", ctx)[1] == ROWS


def packed(form):
    """An archive with two tables and a note, as bytes."""
    body = io.BytesIO()
    if form == "zip":
        with zipfile.ZipFile(body, "w") as archive:
            for name in ("t/a.csv", "t/b.csv", "note.txt"):
                archive.writestr(name, CSV)
    else:
        with tarfile.open(fileobj=body, mode="w:gz") as archive:
            for name in ("t/a.csv", "t/b.csv", "note.txt"):
                info = tarfile.TarInfo(name)
                info.size = len(CSV)
                archive.addfile(info, io.BytesIO(CSV.encode()))
    return body.getvalue()


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_an_archive_elsewhere_is_read_as_one_here(bucket, web, ctx, tmp_path, form):
    client, name, place = bucket
    client.put_object(Bucket=name, Key=f"store/data/all.{form}", Body=packed(form))
    (tmp_path / "web" / f"all.{form}").write_bytes(packed(form))
    here, rows = read(str(tmp_path / "web" / f"all.{form}"), ctx, train="a.csv", test="b.csv", partition_mb=0.05)
    assert rows == ROWS * 2
    for uri in (f"{place}/all.{form}", f"{web}/all.{form}"):
        there, _ = read(uri, ctx, train="a.csv", test="b.csv", partition_mb=0.05)
        assert [part.digest for part in there.parts] == [part.digest for part in here.parts]
        assert len(there.parts) > 2
        with pytest.raises(MillraceError, match=f"E_SOURCE_EMPTY source.files: no file in all.{form} matches"):
            read(uri, ctx, files="*.parquet")
        assert read(uri, ctx, files="t/*")[1] == rows


@pytest.mark.bad_input
def test_bad_input_B22_a_short_packed_file_that_is_cut_off(web, ctx, tmp_path):
    cut = gzip.compress(b"n,c\n1,x\n")[:20]
    (tmp_path / "web" / "a.csv.gz").write_bytes(cut)
    for uri in (f"{web}/a.csv.gz", str(tmp_path / "web" / "a.csv.gz")):
        with pytest.raises(
            MillraceError, match=r"E_FILE_TRUNCATED .*: the compressed file ends too early, at 20 bytes"
        ):
            read(uri, ctx)


@pytest.mark.bad_input
def test_bad_input_addresses(web, bucket, ctx):
    for uri, expected in (
        (f"{web}/b.csv", "E_SOURCE_EMPTY source.uri: nothing is there"),
        ("http://127.0.0.1:9/a.csv", "E_SERVER_UNREACHABLE source.uri: the server does not give it"),
        (bucket[2] + "/nothing", "E_SOURCE_EMPTY source.uri: nothing is there"),
        (
            "gs://bucket/a.csv",
            "E_EXTRA_MISSING source.uri: gs:// needs gcsfs, which is not installed; install it: pip install -e '.[gs]'",
        ),
        ("abfs://c@a/a.csv", "E_EXTRA_MISSING source.uri: abfs:// needs adlfs"),
        ("nosuch://x/y", "E_FORMAT source.uri: addresses of this kind are not known"),
    ):
        with pytest.raises(MillraceError) as caught:
            read(uri, ctx)
        assert caught.value.line().startswith(expected), caught.value.line()


def gets(path):
    return path.endswith(".csv")


@pytest.mark.faults
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


@pytest.mark.faults
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


@pytest.mark.faults
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


@pytest.mark.faults
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
