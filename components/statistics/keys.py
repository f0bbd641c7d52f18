"""Row keys, and the split that hangs on nothing but them.

A key is a digest of a row's own cells, so equal rows share it, it does not depend on order or file, and a row that was
once in the test part stays there while data grow. Golden values in the tests hold the digest still: cells are read as
64-bit words, each word goes through one multiply and one shift, and SplitMix64's finaliser ends it. It spreads well
and is no secret: it does not defend against rows that somebody made up to collide.
"""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from numpy.typing import NDArray

TEST_SALT = 0x9E3779B97F4A7C15
VALIDATION_SALT = 0xD1B54A32D192ED03
MULTIPLIER = np.uint64(0x9FB21C651E98DF25)
MISSING = np.uint64(0x6A09E667F3BCC909)
ROWS_AT_A_TIME = 2**16
LONGEST = 256
"""Bytes of a text cell up to which words are taken in turn; a longer one is digested by BLAKE3."""

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)
NAMES = np.dtype("U10")
"""Holds each of them. Unlike objects, such arrays are compared without the interpreter."""

Words = NDArray[np.uint64]


def row_keys(table: pa.Table, seed: int = 0) -> Words:
    """One key per row over all columns, uint64[rows]; another `seed` gives keys that are independent of these."""
    names = sorted(table.column_names)
    pieces = []
    # A piece's columns fit into the cache of a core.
    for batch in table.to_batches(max_chunksize=ROWS_AT_A_TIME):
        keys = np.full(batch.num_rows, seed, np.uint64)
        for name in names:
            keys = _step(keys, _words(batch[name], seed))
        pieces.append(mix(keys))
    return np.concatenate(pieces) if pieces else np.empty(0, np.uint64)


def _step(keys: Words, words: Words) -> Words:
    with np.errstate(over="ignore"):
        keys = (keys ^ words) * MULTIPLIER
        keys ^= keys >> np.uint64(32)
        return keys


def _words(cells: pa.Array, seed: int) -> Words:
    """One word per cell."""
    kind = cells.type
    if pa.types.is_dictionary(kind):
        words = np.append(_words(cells.dictionary, seed), MISSING)
        codes: NDArray[np.int64] = np.asarray(_filled(cells.indices, -1)).astype(np.int64)
        return np.take(words, codes)
    if pa.types.is_floating(kind):
        # Adding zero makes -0.0 and 0.0 one.
        words = (np.asarray(_filled(pc.cast(cells, pa.float64()), 0.0)) + 0.0).view(np.uint64)
    elif pa.types.is_string(kind) or pa.types.is_binary(kind):
        words = _texts(cells.view(pa.binary()), seed)
    elif pa.types.is_boolean(kind):
        words = np.asarray(_filled(cells, False).cast(pa.uint8())).astype(np.uint64)
    elif pa.types.is_uint64(kind):
        words = np.asarray(_filled(cells, 0))
    elif pa.types.is_integer(kind) or pa.types.is_temporal(kind):
        whole = cells.cast(pa.int32()) if kind == pa.date32() else cells
        words = np.asarray(_filled(whole.cast(pa.int64()), 0)).view(np.uint64)
    else:
        texts = [json.dumps(cell, default=str) for cell in cells.to_pylist()]
        words = _texts(pa.array(texts, pa.string()).view(pa.binary()), seed)
    if cells.null_count:
        words = np.where(np.asarray(cells.is_null()), MISSING, words)
    return words


def _filled(cells: pa.Array, value: Any) -> pa.Array:
    return cells.fill_null(value) if cells.null_count else cells


def _texts(cells: pa.Array, seed: int) -> Words:
    """A digest per text: of its length, then of its bytes, eight at a time, little-endian, padded with zeros."""
    _, offsets_buffer, data = cells.buffers()
    offsets = np.frombuffer(offsets_buffer, np.int32)[cells.offset : cells.offset + len(cells) + 1].astype(np.int64)
    starts, lengths = offsets[:-1], offsets[1:] - offsets[:-1]
    words = lengths.astype(np.uint64) ^ np.uint64(seed)
    if data is None or not lengths.any():
        return mix(words)
    first, last = int(offsets[0]), int(offsets[-1])
    padded = np.zeros(last - first + 8, np.uint8)
    padded[:-8] = np.frombuffer(data, np.uint8)[first:last]
    # Every byte starts a word; unaligned loads are what the hardware does well.
    view = np.lib.stride_tricks.as_strided(padded[:8].view(np.uint64), shape=(last - first + 1,), strides=(1,))
    some = (lengths > 0) & (lengths <= LONGEST)
    rows: slice | NDArray[np.int64] = slice(None) if some.all() else np.flatnonzero(some)
    starts, left = starts[rows] - first, lengths[rows]
    while len(left):
        unused = np.maximum(8 - left, 0).astype(np.uint64) << np.uint64(3)
        words[rows] = _step(words[rows], (view[starts] << unused) >> unused)
        longer = np.flatnonzero(left > 8)
        rows = longer if isinstance(rows, slice) else rows[longer]
        starts, left = starts[longer] + 8, left[longer] - 8
    for row in np.flatnonzero(lengths > LONGEST):
        digest = blake3(padded[offsets[row] - first : offsets[row + 1] - first].data).digest(length=8, seek=8 * seed)
        words[row] = int.from_bytes(digest, "little")
    return mix(words)


def later_rows(keys: Sequence[tuple[Words, Words]]) -> list[NDArray[np.int64]]:
    """Of each partition, the rows whose pair of keys an earlier row has, in this partition or in one before it."""
    sizes = [len(first) for first, _ in keys]
    first, second = (np.concatenate([pair[at] for pair in keys]) for at in (0, 1))
    order = np.lexsort((second, first))
    same = np.zeros(len(order), bool)
    same[1:] = (first[order[1:]] == first[order[:-1]]) & (second[order[1:]] == second[order[:-1]])
    # The sort is stable, so of equal rows the first one in the data comes first.
    found = np.sort(order[same])
    starts = np.concatenate([[0], np.cumsum(sizes)])
    edges = np.searchsorted(found, starts)
    return [found[low:high] - start for low, high, start in zip(edges, edges[1:], starts, strict=False)]


def mix(values: Words) -> Words:
    """SplitMix64's finaliser (Steele et al. 2014): a bijection whose every output bit hangs on every input bit."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _below(keys: Words, salt: int, fraction: float) -> NDArray[np.bool_]:
    positions = mix(keys ^ np.uint64(salt)).astype(np.float64) / 2.0**64
    return np.asarray(positions < fraction)


def assign(keys: Words, given: NDArray[Any], test: float, validation: float) -> NDArray[np.str_]:
    """The part of each row: `train`, `validation` or `test`.

    `given` holds "train", "test" or "" for rows whose source does not say; those go to the test part with probability
    `test`. Of what then is training data, the share `validation` is put aside for choosing.
    """
    parts = np.full(len(keys), TRAIN, NAMES)
    parts[_below(keys, VALIDATION_SALT, validation)] = VALIDATION
    is_test = _below(keys, TEST_SALT, test)
    said = np.asarray(given != "", bool)
    if said.any():
        is_test = np.where(said, np.asarray(given == TEST, bool), is_test)
    parts[is_test] = TEST
    return parts
