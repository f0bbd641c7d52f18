"""A collection of MongoDB, flattened by a declared schema and paged by `_id`.

A page is asked for by the last `_id` of the one before, so that a lost cursor or connection costs a page and doubles
nothing. MongoDB gives no snapshot to such reads: `watermark` says which documents changed, and counts are compared.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import Field, field_validator

from components.adapters.mongo import GONE, collection
from components.adapters.secrets import REFERENCE, secret
from components.contracts.config import placed
from components.contracts.errors import ConfigError, DataError, shorten
from components.contracts.fingerprint import digest
from components.contracts.spec import Column
from components.sources.declared import DeclaredSource
from components.sources.partition import BadRow, DigestOf, Partition, Rows
from components.sources.python_cells import column, sampled

PAGE = 1000
TRIES = 4
OPERATORS = frozenset({"$eq", "$ne", "$gt", "$gte", "$lt", "$lte", "$in", "$nin", "$exists", "$and", "$or", "$not"})
"""What a filter may use: none of these runs code or writes."""


class MongoSource(DeclaredSource):
    """Documents of one collection."""

    kind: Literal["mongodb"] = "mongodb"
    url: str = placed(pattern=r"^mongodb(\+srv)?://[^@]*$", description="mongodb://host:port, without a login")
    user: str = placed("", description="the user's name; one that may only read is enough")
    password: str = placed("", pattern=REFERENCE, description="secret://name")
    database: str = Field(min_length=1, description="the database")
    collection: str = Field(min_length=1, description="the collection")
    fields: dict[str, str] = Field(
        min_length=1, description="column to the dotted path of its value: {city: address.city}"
    )
    filter: dict[str, Any] = Field({}, description="which documents, by $eq, $gt, $in and the like; no code")
    watermark: str = Field("", description="field that rises with every insert and update")
    rows_per_partition: int = Field(50_000, ge=1, description="documents that one task reads")

    @field_validator("filter")
    @classmethod
    def _only_asks(cls, value: dict[str, Any]) -> dict[str, Any]:
        wrong = next((one for one in _operators(value) if one not in OPERATORS), None)
        if wrong is not None:
            raise ConfigError(
                "E_CONFIG",
                "a filter only compares",
                place="source.filter",
                value=wrong,
                allowed=", ".join(sorted(OPERATORS)),
                action="write it with these",
            )
        return value

    def columns(self) -> tuple[Column, ...]:
        """None: documents say what they hold."""
        return ()

    def version(self, digest_of: DigestOf) -> str:
        """Counts and watermarks by part; without a watermark something new each time."""
        if not self.watermark:
            return os.urandom(16).hex()
        return digest([[one.place, one.version] for one in self.partitions(digest_of, Path())])

    def partitions(self, digest_of: DigestOf, scratch: Path) -> list[Partition]:
        """Ranges of `_id`."""
        nonce = "" if self.watermark else os.urandom(8).hex()
        with self._collection() as found:
            edges: list[Any] = [None]
            while True:
                more = {"_id": {"$gt": edges[-1]}} if edges[-1] is not None else {}
                last = _again(partial(self._last, found, self._query(more)))
                if not last:
                    break
                edges.append(last[0]["_id"])
            ranges = list(zip(edges, [*edges[1:], None], strict=True))
            sample = _again(lambda: list(found.find(self._query({})).limit(PAGE)))
            rows = [[_plain(_at(one, path)) for path in self.fields.values()] for one in sample]
            types = sampled(rows, list(self.fields))
            pieces = [self._partition(found, low, high, nonce, types=types) for low, high in ranges]
            total = _again(lambda: found.count_documents(self._query({})))
            counted = sum(one.argument["count"] for one in pieces)
            if counted != total:
                # A comparison in MongoDB passes over values of another type.
                raise DataError(
                    "E_TYPE",
                    f"{total} documents, of which pages by _id reach {counted}: their _ids are of several types, or "
                    "somebody writes",
                    place="source.collection",
                    value=self.collection,
                    action="read each type by itself: source.filter: {_id: {$gte: …}}, or run again when nobody writes",
                )
            return [one for one in pieces if one.argument["count"]] or pieces[:1]

    def _partition(self, found: Any, low: Any, high: Any, nonce: str, *, types: dict[str, str]) -> Partition:
        query = self._query(_between(low, high))
        count = _again(lambda: found.count_documents(query))
        mark: Any = ""
        if self.watermark:
            newest = _again(lambda: list(found.find(query, {self.watermark: 1}).sort(self.watermark, -1).limit(1)))
            mark = _at(newest[0], self.watermark) if newest else None
        identity = [
            self.database,
            self.collection,
            self.fields,
            self.filter,
            str(low),
            str(high),
            count,
            str(mark),
            nonce,
        ]
        return Partition(
            place=f"{self.collection} from {low}" if low is not None else self.collection,
            version=digest(identity),
            size_bytes=max(count, 1) * 200,
            argument={"low": low, "high": high, "count": count, "types": types},
        )

    def read(self, partition: Partition) -> Rows:
        """The documents of one range, their fields as columns; a document that cannot be flattened is set aside.

        Raises:
            DataError: E_SOURCE_CHANGED, another number of documents came than were counted.
        """
        low, high, count, types = (partition.argument[name] for name in ("low", "high", "count", "types"))
        cells: dict[str, list[Any]] = {name: [] for name in self.fields}
        numbers, bad = [], []
        for number, document in enumerate(self._documents(low, high), 1):
            wrong = _unusable(document, self.fields)
            if wrong:
                text = shorten(str(document.get("_id")))
                bad.append(BadRow(row=number, code="E_VALUE", reason=wrong, text=text))
                continue
            numbers.append(number)
            for name, path in self.fields.items():
                cells[name].append(_plain(_at(document, path)))
        if len(numbers) + len(bad) != count:
            raise DataError(
                "E_SOURCE_CHANGED",
                f"{len(numbers) + len(bad)} documents came where {count} were counted",
                place=partition.place,
                action="run the same command again",
            )
        given = {one.name: one for one in self._declared}

        def where_is(row: int) -> str:
            return f"{partition.place}, document {numbers[row]}"

        columns = {
            name: column(values, name, given.get(name), where_is, empty=types.get(name, "string"))
            for name, values in cells.items()
        }
        return Rows(table=pa.table(columns), numbers=pa.array(numbers, pa.int64()), bad=bad)

    def _documents(self, low: Any, high: Any) -> Iterator[Mapping[str, Any]]:
        """The documents of a range, page by page; a page that is lost is asked for again."""
        last = low
        with self._collection() as found:
            while True:
                page = _again(partial(_page, found, self._query(_between(last, high))))
                yield from page
                if len(page) < PAGE:
                    return
                last = page[-1]["_id"]

    def _last(self, found: Any, query: Any) -> list[Any]:
        """The last document of the next part, if there is one."""
        return list(found.find(query, {"_id": 1}).sort("_id", 1).skip(self.rows_per_partition - 1).limit(1))

    def _query(self, more: Mapping[str, Any]) -> dict[str, Any]:
        parts = [one for one in (self.filter, more) if one]
        return {"$and": parts} if len(parts) > 1 else dict(parts[0]) if parts else {}

    def _collection(self) -> Any:
        password = secret(self.password, "source.password")
        return collection(self.url, self.user, password, database=self.database, name=self.collection)


def _page(found: Any, query: Any) -> list[Mapping[str, Any]]:
    return list(found.find(query).sort("_id", 1).limit(PAGE))


def _again(ask: Callable[[], Any]) -> Any:
    """The answer; where the connection or the cursor is lost, to the same question asked once more."""
    for tried in range(1, TRIES + 1):
        try:
            return ask()
        except Exception as error:
            if type(error).__name__ not in GONE or tried == TRIES:
                raise
            time.sleep(0.1 * 2**tried)
    raise AssertionError


def _between(low: Any, high: Any) -> dict[str, Any]:
    bounds = {name: value for name, value in (("$gt", low), ("$lte", high)) if value is not None}
    return {"_id": bounds} if bounds else {}


def _operators(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            if str(key).startswith("$"):
                yield str(key)
            yield from _operators(inner)
    elif isinstance(value, list):
        for one in value:
            yield from _operators(one)


def _at(document: Any, path: str) -> Any:
    """The value at a dotted path; None where a step of it is not there."""
    for step in path.split("."):
        if not isinstance(document, Mapping):
            return None
        document = document.get(step)
    return document


def _unusable(document: Mapping[str, Any], fields: Mapping[str, str]) -> str:
    """Why a document cannot be flattened: a value on the way that is none, a key that is an operator."""
    odd = next((key for key in document if key.startswith("$")), None)
    if odd is not None:
        return f"it has the key {odd}"
    for name, path in fields.items():
        steps = path.split(".")
        for at in range(1, len(steps)):
            inner = _at(document, ".".join(steps[:at]))
            if inner is not None and not isinstance(inner, Mapping):
                return f"{name} is at {path}, and {'.'.join(steps[:at])} is {type(inner).__name__}"
    return ""


def _plain(value: Any) -> Any:
    """What a driver's own types stand for."""
    kind = type(value).__name__
    to: dict[str, Callable[[Any], Any]] = {
        "ObjectId": str,
        "Decimal128": lambda one: one.to_decimal(),
        "Int64": int,
        "Binary": bytes,
    }
    if kind in to:
        return to[kind](value)
    if isinstance(value, Mapping):
        return json.dumps(value, default=str, sort_keys=True)
    if isinstance(value, datetime) and value.tzinfo is None:
        # BSON's times are instants.
        return value.replace(tzinfo=UTC)
    return [_plain(one) for one in value] if isinstance(value, list) else value
