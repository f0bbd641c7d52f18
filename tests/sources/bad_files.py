"""The cases of test_bad_files.py: rows B1 to B32 and B34 of the bad-input matrix, as files and what becomes of them."""

import bz2
import gzip
import io
import lzma
from dataclasses import dataclass, field

import pyarrow as pa
import pyarrow.parquet as pq

from components.validate.checks import ColumnCheck
from tests.sources.bad_archives import zipped

INT = {"n": ColumnCheck(type="int64")}
ROWS = "".join(f"{number},{'xyz'[number % 3]}\n" for number in range(200))
CSV = "n,c\n" + ROWS


def parquet(columns, **options):
    sink = io.BytesIO()
    pq.write_table(pa.table(columns), sink, **options)
    return sink.getvalue()


def flipped(data, at):
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


NUMBERS = {"n": list(range(500)), "x": [number / 7 for number in range(500)]}
GOOD = parquet(NUMBERS, write_page_checksum=True, compression="none", use_dictionary=False)


@dataclass(kw_only=True)
class Case:
    """`files` and the `error` that they end in, or the rows that are `bad` (place, code) while the others are kept."""

    files: dict
    fixed: dict = field(default_factory=dict)
    error: str = ""
    bad: tuple = ()
    rows: int = -1
    source: dict = field(default_factory=dict)
    checks: dict = field(default_factory=dict)
    columns: dict = field(default_factory=dict)


def text(*lines):
    return "\n".join(lines) + "\n"


CASES = {
    "B1-empty-parquet": Case(
        files={"a.parquet": GOOD, "b.parquet": b""}, fixed={"b.parquet": GOOD}, error=r"E_FILE_EMPTY b\.parquet: .*leave it out"
    ),
    "B1-empty-parquet-set-aside": Case(
        files={"a.parquet": GOOD, "b.parquet": b""}, fixed={"b.parquet": GOOD},
        checks={"max_bad_files": 1}, bad=(("b.parquet", "E_FILE_EMPTY"),), rows=500,
    ),
    "B2-cut-parquet": Case(
        files={"a.parquet": GOOD, "b.parquet": GOOD[:3000]}, fixed={"b.parquet": GOOD},
        error=r"E_FILE_TRUNCATED b\.parquet: the end of the file is missing, it has 3000 bytes; fetch",
    ),
    "B2-cut-parquet-set-aside": Case(
        files={"a.parquet": GOOD, "b.parquet": GOOD[:3000]}, fixed={"b.parquet": GOOD},
        checks={"max_bad_files": 1}, bad=(("b.parquet", "E_FILE_TRUNCATED"),), rows=500,
    ),
    "B3-flipped-byte": Case(
        files={"a.parquet": flipped(GOOD, 1000)}, fixed={"a.parquet": GOOD}, error=r"E_CHECKSUM a\.parquet: a page's bytes"
    ),
    "B3-flipped-byte-without-checksums": Case(
        files={"a.parquet": parquet({"n": [*range(500), 2**40]})}, checks={"max_bad_fraction": 0.01},
        columns={"n": ColumnCheck(type="int64", maximum=1000)}, bad=(("a.parquet:501", "E_VALUE"),), rows=500,
    ),
    "B4-type-drift": Case(
        files={"a.parquet": parquet({"n": [1, 2]}), "b.parquet": parquet({"n": ["x", "y"]})},
        fixed={"b.parquet": parquet({"n": [3, 4]})},
        error=r"E_SCHEMA_DRIFT b\.parquet: n is string here and int64 in a\.parquet .*declare its type \(checks.columns.n\)",
    ),
    "B5-parquet-lacks-column": Case(
        files={"a.parquet": parquet({"n": [1], "c": ["x"]}), "b.parquet": parquet({"n": [1]})},
        fixed={"b.parquet": parquet({"n": [1], "c": ["y"]})},
        error=r"E_COLUMN_MISSING b\.parquet: the file lacks a column that a\.parquet has \(got 'c'\)",
    ),
    "B6-csv-lacks-column": Case(
        files={"a.csv": CSV, "b.csv": "n\n1\n"}, fixed={"b.csv": "n,c\n1,x\n"},
        error=r"E_COLUMN_MISSING b\.csv: .*\(got 'c'\); allowed: n, c; correct the file",
    ),
    "B7-csv-has-more-columns": Case(
        files={"a.csv": CSV, "b.csv": "n,c,d\n1,x,2\n"}, fixed={"b.csv": "n,c\n1,x\n"},
        error=r"E_COLUMN_EXTRA b\.csv: .*a\.csv lacks \(got 'd'\).*set source.extra_columns: drop",
    ),
    "B7-csv-more-columns-dropped": Case(
        files={"a.csv": CSV, "b.csv": "n,c,d\n1,x,2\n"}, source={"extra_columns": "drop"}, rows=201
    ),
    "B8-second-csv-empty": Case(
        files={"a.csv": CSV, "b.csv": ""}, fixed={"b.csv": "n,c\n7,x\n"}, error=r"E_FILE_EMPTY b\.csv: the file has no bytes"
    ),
    "B8-second-csv-empty-set-aside": Case(
        files={"a.csv": CSV, "b.csv": ""}, fixed={"b.csv": "n,c\n7,x\n"},
        checks={"max_bad_files": 1}, bad=(("b.csv", "E_FILE_EMPTY"),), rows=200,
    ),
    "B9-header-only": Case(
        files={"a.csv": "n,c\n"}, fixed={"a.csv": CSV}, error="E_NO_ROWS source: .*allow it by checks.allow_empty"
    ),
    "B9-header-only-allowed": Case(files={"a.csv": "n,c\n"}, checks={"allow_empty": True}, rows=0),
    "B10-wholly-empty": Case(files={"a.csv": ""}, fixed={"a.csv": CSV}, error=r"E_FILE_EMPTY a\.csv"),
    "B11-row-too-short": Case(
        files={"a.csv": CSV + "7\n"}, fixed={"a.csv": CSV + "7,x\n"}, bad=(("a.csv:202", "E_ROW_FIELDS"),), rows=200
    ),
    "B12-first-row-too-long": Case(
        files={"a.csv": "n,c\n1,2,3\n" + ROWS}, fixed={"a.csv": CSV}, bad=(("a.csv:2", "E_ROW_FIELDS"),), rows=200
    ),
    "B12-every-row-too-long": Case(
        files={"a.csv": "n,c\n" + ROWS.replace("\n", ",9\n")}, fixed={"a.csv": CSV},
        error=r"E_QUARANTINE_LIMIT checks: 200 of 200 rows are bad; the first is E_ROW_FIELDS a\.csv:2: 3 fields where 2",
    ),
    "B13-later-row-too-long": Case(
        files={"a.csv": CSV + "7,x,9\n"}, fixed={"a.csv": CSV + "7,x\n"}, bad=(("a.csv:202", "E_ROW_FIELDS"),), rows=200
    ),
    "B14-two-columns-of-one-name": Case(
        files={"a.csv": "n,n\n1,2\n"}, fixed={"a.csv": CSV}, error=r"E_DUP_COLUMN a\.csv:1: two columns .*\(got 'n'\)"
    ),
    "B15-unclosed-quote": Case(
        files={"a.csv": text("n,c", '1,"one"', '2,"two', "3,three")}, fixed={"a.csv": CSV},
        error=r"E_QUOTE a\.csv:3: a quote is never closed \(got '\"two",
    ),
    "B15-quote-out-of-place": Case(
        files={"a.csv": CSV + text('1,"a"b', '2,"c"')}, bad=(("a.csv:202", "E_QUOTE"),), rows=201
    ),
    "B15-a-cell-that-swallows-its-neighbour": Case(
        files={"a.csv": CSV + text('1,"ab', '2,"cd"', '3,"ef"', '4,"g"')}, bad=(("a.csv:202", "E_QUOTE"),), rows=202
    ),
    "B16-nul-byte": Case(
        files={"a.csv": CSV + "7,a\0b\n"}, fixed={"a.csv": CSV + "7,ab\n"}, bad=(("a.csv:202", "E_BINARY_IN_TEXT"),), rows=200
    ),
    "B13-lines-that-end-in-cr-alone": Case(
        files={"a.csv": CSV + "3,4\r5,6\n"}, error=r"E_FORMAT a\.csv: .*not in CR alone"
    ),
    "B13-a-header-that-ends-in-cr-alone": Case(files={"a.csv": "n,c\r1,2\r"}, error="E_FORMAT source: the header cannot be read"),
    "B17-latin-1": Case(
        files={"a.csv": (CSV + "7,é\n").encode("latin-1")}, fixed={"a.csv": CSV + "7,é\n"},
        error=r"E_ENCODING a\.csv:202: byte \d+ .*allowed: UTF-8; if the text is cp1252, set source.encoding: cp1252",
    ),
    "B17-latin-1-set-aside": Case(
        files={"a.csv": CSV, "b.csv": (CSV + "7,é\n").encode("latin-1")}, fixed={"b.csv": CSV + "7,é\n"},
        checks={"max_bad_files": 1}, bad=(("b.csv", "E_ENCODING"),), rows=200,
    ),
    "B17-latin-1-declared": Case(files={"a.csv": (CSV + "7,é\n").encode("latin-1")}, source={"encoding": "latin-1"}, rows=201),
    "B17-utf-16": Case(
        files={"a.csv": CSV.encode("utf-16")}, fixed={"a.csv": CSV}, error=r"E_ENCODING a\.csv:1: .*set source.encoding: utf-16"
    ),
    "B17-utf-16-declared": Case(files={"a.csv": CSV.encode("utf-16")}, source={"encoding": "utf-16"}, rows=200),
    "B17-byte-order-mark": Case(files={"a.csv": b"\xef\xbb\xbf" + CSV.encode()}, columns=INT, rows=200),
    "B19-whole-number-beyond-64-bits": Case(
        files={"a.csv": CSV + "9223372036854775808,x\n"}, fixed={"a.csv": CSV + "9223372036854775807,x\n"},
        columns=INT, bad=(("a.csv:202", "E_OUT_OF_RANGE"),), rows=200,
    ),
    "B21-text-in-a-number-column": Case(
        files={"a.csv": CSV, "b.csv": "n,c\n1,x\nmany,y\n"}, fixed={"b.csv": "n,c\n1,x\n2,y\n"},
        columns=INT, bad=(("b.csv:3", "E_TYPE"),), rows=201,
    ),
    "B22-cut-gz": Case(
        files={"a.csv.gz": gzip.compress(CSV.encode())[:-20]}, fixed={"a.csv.gz": gzip.compress(CSV.encode())},
        error=r"E_FILE_TRUNCATED .*a\.csv\.gz: the compressed file ends too early, at \d+ bytes; fetch it again",
    ),
    "B22-cut-xz": Case(
        files={"a.csv.xz": lzma.compress(CSV.encode())[:-20]}, fixed={"a.csv.xz": lzma.compress(CSV.encode())},
        error=r"E_FILE_TRUNCATED .*a\.csv\.xz",
    ),
    "B22-cut-zst": Case(
        files={"a.csv.zst": pa.compress(CSV.encode(), "zstd", asbytes=True)[:-20]},
        fixed={"a.csv.zst": pa.compress(CSV.encode(), "zstd", asbytes=True)}, error=r"E_FILE_TRUNCATED .*a\.csv\.zst",
    ),
    "B22-cut-bz2": Case(
        files={"a.csv.bz2": bz2.compress(CSV.encode())[:-20]}, fixed={"a.csv.bz2": bz2.compress(CSV.encode())},
        error=r"E_FILE_TRUNCATED .*a\.csv\.bz2",
    ),
    "B23-gz-bomb": Case(
        files={"a.csv.gz": gzip.compress(bytes(80 * 2**20))}, fixed={"a.csv.gz": gzip.compress(CSV.encode())},
        error=r"E_ARCHIVE_BOMB .*a\.csv\.gz: it unpacks to more than 100 times its size .*unpack it yourself",
    ),
    "B25-half-a-line": Case(
        files={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": '}, fixed={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": 2}'},
        bad=(("a.jsonl:201", "E_NOT_JSON"),), rows=200,
    ),
    "B26-key-twice": Case(
        files={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": 1, "n": 2}\n'}, fixed={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": 2}\n'},
        bad=(("a.jsonl:201", "E_DUP_KEY"),), rows=200,
    ),
    "B26-key-twice-once-flattened": Case(
        files={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": {"a": 1}, "n.a": 2}\n'}, bad=(("a.jsonl:201", "E_DUP_KEY"),), rows=200,
    ),
    "B27-half-a-character": Case(
        files={"a.jsonl": '{"n": "x"}\n' * 200 + '{"n": "\\ud800"}\n'}, bad=(("a.jsonl:201", "E_NOT_JSON"),), rows=200,
    ),
    "B27-not-a-json-number": Case(
        files={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": NaN}\n{"n": -Infinity}\n'},
        fixed={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": null}\n'}, checks={"max_bad_fraction": 0.01},
        bad=(("a.jsonl:201", "E_NOT_JSON"), ("a.jsonl:202", "E_NOT_JSON")), rows=200,
    ),
    "B28-mixed-types": Case(
        files={"a.jsonl": '{"n": 1}\n{"n": "x"}\n'}, fixed={"a.jsonl": '{"n": 1}\n{"n": 2}\n'},
        error=r"E_TYPE a\.jsonl:2: n holds values of several types.*\(got 'x'\); declare it: checks.columns.n: {type: string}",
    ),
    "B28-mixed-types-declared": Case(
        files={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": "x"}\n'}, fixed={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": 3}\n'},
        columns=INT, bad=(("a.jsonl:201", "E_TYPE"),), rows=200,
    ),
    "B28-large-whole-numbers-are-not-rounded": Case(
        files={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": 9223372036854775808}\n'}, columns=INT,
        bad=(("a.jsonl:201", "E_OUT_OF_RANGE"),), rows=200,
    ),
    "B28-whole-numbers-beside-others-are-not-rounded": Case(
        files={"a.jsonl": '{"n": 9007199254740993}\n' * 200 + '{"n": 1.5}\n'}, columns=INT,
        bad=(("a.jsonl:201", "E_TYPE"),), rows=200,
    ),
    "B29-depth": Case(
        files={"a.jsonl": '{"n": 1}\n' * 200 + '{"n": ' + '{"n": ' * 10_000 + "1" + "}" * 10_001 + "\n"},
        fixed={"a.jsonl": '{"n": 1}\n' * 200}, bad=(("a.jsonl:201", "E_DEPTH"),), rows=200,
    ),
    "B30-a-date-that-is-none": Case(
        files={"a.csv": "d\n" + "2024-02-29\n" * 200 + "9999-99-99\n2023-02-29\n"}, fixed={"a.csv": "d\n" + "2024-02-29\n" * 200},
        columns={"d": ColumnCheck(type="date")}, bad=(("a.csv:202", "E_TYPE"), ("a.csv:203", "E_TYPE")), rows=200,
    ),
    "B30-a-date-that-is-none-with-a-format": Case(
        files={"a.csv": "d\n" + "29.02.2024\n" * 200 + "31.02.2024\n29.2.2024\n"},
        columns={"d": ColumnCheck(type="date", format="%d.%m.%Y")}, bad=(("a.csv:202", "E_TYPE"),), rows=201,
    ),
    "B31-ambiguous-dates": Case(
        files={"a.csv": "d\n" + "03/04/2024\n" * 100}, columns={"d": ColumnCheck(type="date")},
        error="E_QUARANTINE_LIMIT .*E_TYPE a.csv:2: d not a date written as ISO 8601 .`format` says how it is written. .got '03/04/2024'",
    ),
    "B31-ambiguous-dates-with-a-format": Case(
        files={"a.csv": "d\n03/04/2024\n"}, columns={"d": ColumnCheck(type="date", format="%m/%d/%Y", earliest="2024-03-01", latest="2024-03-31")}, rows=1
    ),
    "B32-times-without-a-zone": Case(
        files={"a.csv": "t\n" + "2024-01-01 10:00\n" * 100}, columns={"t": ColumnCheck(type="timestamp")},
        error="E_QUARANTINE_LIMIT .*E_TZ a.csv:2: t a clock time without a zone: declare `timezone`",
    ),
    "B32-mixed-zones": Case(
        files={"a.csv": "t\n" + "2024-01-01T10:00:00Z\n" * 200 + "2024-01-01T12:00:00+02:00\n2024-01-01T10:00:00\n"},
        columns={"t": ColumnCheck(type="timestamp")}, bad=(("a.csv:203", "E_TZ"),), rows=201,
    ),
    "B32-clock-changes": Case(
        files={"a.csv": "t\n" + "2024-01-01 10:00:00\n" * 300 + "2024-03-31 02:30:00\n2024-10-27 02:30:00\n"},
        columns={"t": ColumnCheck(type="timestamp", timezone="Europe/Berlin")},
        bad=(("a.csv:302", "E_TZ"), ("a.csv:303", "E_TZ")), rows=300,
    ),
    "B32-parquet-without-a-zone": Case(
        files={"a.parquet": parquet({"t": pa.array([0], pa.timestamp("us"))})},
        error=r"E_TZ a\.parquet: the column holds clock times without a zone \(got 't'\); declare it: .*timezone: UTC",
    ),
    "B34-text-that-begins-as-orc-does": Case(files={"a.csv": CSV.replace("n,c", "ORCID,c")}, rows=200),
    "B34-an-archive-among-files": Case(
        files={"a.csv": CSV, "b.csv": zipped(("b.csv", CSV))}, error=r"E_FORMAT b\.csv: an archive is read by itself"
    ),
    "B34-csv-named-parquet": Case(
        files={"a.parquet": CSV}, fixed={"a.parquet": parquet({"n": [1]})},
        error=r"E_FORMAT_MISMATCH a\.parquet: the file is named as parquet, and its bytes are those of text",
    ),
    "B34-parquet-named-csv": Case(
        files={"a.csv": GOOD}, fixed={"a.csv": CSV}, error=r"E_FORMAT_MISMATCH a\.csv: .*named as csv, and its bytes are those of parquet"
    ),
}  # fmt: skip
