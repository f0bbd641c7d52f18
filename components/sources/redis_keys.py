"""Keys of a Redis database that match a pattern: hashes as rows, or texts that hold JSON objects.

Redis has no snapshot and no watermark: every run asks again, and rows that are the same change nothing further on. All
keys are listed once, into one file for each part by the key's hash, so that parts are read by themselves and memory
holds the keys of one. A key that is gone when its part is read had expired, and is no row.
"""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import pyarrow as pa
from pydantic import Field

from components.adapters.redis import client
from components.adapters.secrets import REFERENCE
from components.contracts.config import placed
from components.contracts.errors import DataError, shorten
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.declared import DeclaredSource
from components.sources.json_lines import read_json_lines
from components.sources.messages import unreadable
from components.sources.partition import BadRow, DigestOf, Partition, Rows

PAGE = 1000
HELD_BYTES = 2**16
OF = {"hash": b"hash", "json": b"string"}


class RedisSource(DeclaredSource):
    """The keys of one database that match."""

    kind: Literal["redis"] = "redis"
    url: str = placed(
        pattern=r"^rediss?://[^@\s/?#:]+(:[0-9]{1,5})?(/[0-9]+)?$",
        description="redis://host:port/database, without a login",
    )
    user: str = placed("", description="the user's name; one that may only read is enough")
    password: str = placed("", pattern=REFERENCE, description="secret://name")
    pattern: str = Field("*", min_length=1, description="which keys, as Redis's SCAN has it: user:*")
    type: Literal["hash", "json"] = Field("hash", description="hash: its fields are columns; json: a text that is JSON")
    key_column: str = Field("key", description="name of the column of the key itself; none: it is left out")
    fields: dict[str, str] = Field(
        {}, description="column to field, or to the dotted name in JSON; none: all there are"
    )
    keys_per_partition: int = Field(50_000, ge=1, description="keys that one task reads")

    def columns(self) -> tuple[Column, ...]:
        """None: the keys say what they hold."""
        return ()

    def version(self, digest_of: DigestOf) -> str:
        """Something new each time: Redis does not say whether anything changed."""
        return os.urandom(16).hex()

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """The keys by hash, so many parts that each has about `keys_per_partition`."""
        scratch.mkdir(parents=True, exist_ok=True)
        with client(self.url, self.user, self.password) as server:
            parts = max(1, -(-server.dbsize() // self.keys_per_partition))
            paths = [scratch / f"keys-{part}" for part in range(parts)]
            held: list[bytearray] = [bytearray() for _ in paths]
            for path in paths:
                path.write_bytes(b"")
            for key in server.scan_iter(self.pattern, count=PAGE):
                at = crc32(key) % parts
                held[at] += len(key).to_bytes(4, "little") + key
                if len(held[at]) > HELD_BYTES:
                    _append(paths[at], held[at])
            for path, rest in zip(paths, held, strict=True):
                _append(path, rest)
        nonce = os.urandom(8).hex()
        return [
            Partition(
                place=f"{self.pattern} part {part} of {parts}",
                version=digest([self.model_dump(include={"pattern", "type"}), part, parts, nonce]),
                size_bytes=max(path.stat().st_size, 1) * 10,
                argument={"keys": str(path)},
            )
            for part, path in enumerate(paths)
            if path.stat().st_size or not part
        ]

    def read(self, partition: Partition) -> Rows:
        """The rows of one part, by key; a key of another type, or whose text is no JSON object, is set aside.

        Columns are in the order of their names.
        """
        keys = sorted(set(_keys(Path(partition.argument["keys"]))))
        found, bad = self._found(keys)
        if self.type == "hash":
            table, numbers, more = self._hashes(found)
        else:
            table, numbers, more = self._objects(found, partition.place)
        if not numbers:
            # Without rows nothing says what the columns are.
            return Rows(table=pa.table({}), numbers=pa.array([], pa.int64()), bad=[*bad, *more])
        if self.fields:
            for name in set(self.fields.values()) - set(table.column_names):
                table = table.append_column(name, pa.nulls(table.num_rows, pa.string()))
            table = pa.table({name: table[field] for name, field in self.fields.items()})
        if self.key_column:
            if self.key_column in table.column_names:
                raise DataError(
                    "E_DUP_COLUMN",
                    "a field has the name of the key's column",
                    place="source.key_column",
                    value=self.key_column,
                    action="give another name, or none",
                )
            names = [found[number - 1][0].decode("utf-8", "replace") for number in numbers]
            table = table.add_column(0, self.key_column, pa.array(names, pa.string()))
        return Rows(table=table, numbers=pa.array(numbers, pa.int64()), bad=[*bad, *more])

    def _found(self, keys: Sequence[bytes]) -> tuple[list[tuple[bytes, Any]], list[BadRow]]:
        """What the keys hold that are of the right type, and which are not."""
        found: list[tuple[bytes, Any]] = []
        bad: list[BadRow] = []
        with client(self.url, self.user, self.password) as server:
            for start in range(0, len(keys), PAGE):
                page = keys[start : start + PAGE]
                for at, (key, kind, value) in enumerate(zip(page, *self._asked(server, page), strict=True), start + 1):
                    if kind == OF[self.type] and value is not None:
                        found.append((key, value))
                    elif kind != b"none" and kind != OF[self.type]:
                        what = f"this key holds a {kind.decode()}"
                        bad.append(
                            BadRow(row=at, code="E_TYPE", reason=what, text=shorten(key.decode("utf-8", "replace")))
                        )
        return found, bad

    def _asked(self, server: Any, page: Sequence[bytes]) -> tuple[list[bytes], list[Any]]:
        """What each key is, and holds where it is of the right type."""
        pipe = server.pipeline(transaction=False)
        for key in page:
            pipe.type(key)
            (pipe.hgetall if self.type == "hash" else pipe.get)(key)
        answers = pipe.execute(raise_on_error=False)
        values = [None if isinstance(one, Exception) else one for one in answers[1::2]]
        wrong = next((one for one in answers[::2] if isinstance(one, Exception)), None)
        if wrong is not None:
            raise wrong
        return answers[::2], values

    def _hashes(self, found: Sequence[tuple[bytes, dict[bytes, bytes]]]) -> tuple[pa.Table, list[int], list[BadRow]]:
        kept = {one.name for one in self._declared if one.type in {"binary", "image", "audio"}}
        given = {field: name for name, field in self.fields.items()}
        rows: list[dict[str, Any]] = []
        numbers, bad = [], []
        for number, (key, entry) in enumerate(found, 1):
            try:
                row = {}
                for field, cell in entry.items():
                    name = field.decode()
                    row[name] = cell if given.get(name, name) in kept else cell.decode()
                rows.append(row)
                numbers.append(number)
            except UnicodeDecodeError as error:
                text = shorten(key.decode("utf-8", "replace"))
                what = f"a field is not UTF-8 at byte {error.start}"
                bad.append(BadRow(row=number, code="E_ENCODING", reason=what, text=text))
        columns = {}
        for name in sorted({name for row in rows for name in row}):
            kind = pa.binary() if given.get(name, name) in kept else pa.string()
            columns[name] = pa.array([row.get(name) for row in rows], kind)
        return pa.table(columns), numbers, bad

    def _objects(self, found: Sequence[tuple[bytes, bytes]], place: str) -> tuple[pa.Table, list[int], list[BadRow]]:
        wrong = [unreadable(value) for _, value in found]
        lines = [
            b"null" if code else value.replace(b"\n", b"\r") for (code, _), (_, value) in zip(wrong, found, strict=True)
        ]
        declared = [
            one.model_copy(update={"name": self.fields.get(one.name, one.name)})
            for one in self._declared
            if not self.fields or one.name in self.fields
        ]
        rows = read_json_lines(b"\n".join(lines), declared, place, 1)
        bad = [
            BadRow(row=one.row, code=code or one.code, reason=reason or one.reason, text=shorten(found[one.row - 1][1]))
            for one in rows.bad
            for code, reason in [wrong[one.row - 1]]
        ]
        return rows.table, rows.numbers.to_pylist(), bad


def _append(path: Path, held: bytearray) -> None:
    with path.open("ab") as file:
        file.write(held)
    held.clear()


def _keys(path: Path) -> Iterator[bytes]:
    data = path.read_bytes()
    at = 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        yield data[at + 4 : at + 4 + size]
        at += 4 + size
