"""Tables as Arrow IPC files: mapped into memory where they lie, and the same bytes for the same cells.

Arrow leaves open what stands in the place of a missing cell and in the unused bits of a byte; two tables that are equal
may differ there. Written here, such places hold zeros, and all rows are one batch. Numbers are not compressed: that
costs more time than it saves on a disk (infra/decisions/0013). Text that is most of a table and shrinks by half is.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

SAMPLE_BYTES = 2**16
MOST_BYTES = 2**30
"""Of one batch: text and bytes of more than 2 GiB do not fit into one."""
WORDS = {64: pa.int64(), 32: pa.int32(), 16: pa.int16(), 8: pa.int8()}


def write_table(table: pa.Table, path: Path) -> None:
    """Write all rows."""
    pieces = -(-table.nbytes // MOST_BYTES) or 1
    rows = -(-table.num_rows // pieces) or 1
    batches = [_batch(table.slice(start, rows)) for start in range(0, max(table.num_rows, 1), rows)]
    codec = "lz4" if _mostly_text(batches[0].columns) else None
    options = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False, unify_dictionaries=True)
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, batches[0].schema, options=options) as writer:
        writer.write_table(pa.Table.from_batches(batches))


def _batch(table: pa.Table) -> pa.RecordBatch:
    columns = [_whole(column) for column in table.columns]
    fields = [pa.field(name, column.type) for name, column in zip(table.column_names, columns, strict=True)]
    return pa.record_batch(columns, schema=pa.schema(fields))


def read_table(path: Path, columns: list[str] | None = None) -> pa.Table:
    """All rows of these columns; what is not compressed is not copied."""
    table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    return table if columns is None else table.select(columns)


def _whole(column: pa.ChunkedArray) -> pa.Array:
    """The column as one array, canonical."""
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    joined = pa.concat_arrays(column.chunks) if column.num_chunks != 1 and column.num_chunks else column
    if isinstance(joined, pa.ChunkedArray):
        joined = joined.chunk(0) if joined.num_chunks else pa.array([], column.type)
    return canonical(joined)


def canonical(array: pa.Array) -> pa.Array:
    """An equal array whose bytes depend on its cells alone."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        if len(array.dictionary) > 1 or array.null_count:
            array = pc.dictionary_encode(array.cast(kind.value_type)).cast(kind)
        return pa.DictionaryArray.from_arrays(canonical(array.indices), canonical(array.dictionary))
    validity = _bits(array.is_valid()) if array.null_count else None
    if pa.types.is_boolean(kind):
        return _made(array, validity, _bits(array.fill_null(False)))
    if pa.types.is_list(kind):
        lengths = np.asarray(pc.list_value_length(array).fill_null(0))
        offsets = pa.py_buffer(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
        return _made(array, validity, offsets, children=[canonical(array.flatten())])
    if pa.types.is_string(kind) or pa.types.is_binary(kind):
        return _made(array, validity, *_from_zero(array.fill_null("" if pa.types.is_string(kind) else b"")))
    return array if pa.types.is_null(kind) else _numbers(array, validity)


def _numbers(array: pa.Array, validity: Any) -> pa.Array:
    """Numbers and times: zeros stand where one is missing, and nothing behind the last one."""
    kind = array.type
    if validity is None:
        width = kind.bit_width // 8
        values = array.buffers()[1]
        exact = values.slice(array.offset * width, len(array) * width) if values is not None else pa.py_buffer(b"")
        return _made(array, None, exact)
    plain = array if pa.types.is_floating(kind) else array.view(WORDS[kind.bit_width])
    return _made(array, validity, pa.py_buffer(np.ascontiguousarray(plain.fill_null(0).to_numpy())))


def _made(array: pa.Array, validity: Any, *buffers: Any, children: list[pa.Array] | None = None) -> pa.Array:
    return pa.Array.from_buffers(
        array.type, len(array), [validity, *buffers], array.null_count, children=children or []
    )


def _from_zero(cells: pa.Array) -> tuple[Any, Any]:
    """Offsets and data of text without missing cells, beginning at zero."""
    _, offsets, data = cells.buffers()
    found = np.frombuffer(offsets, np.int32)[cells.offset : cells.offset + len(cells) + 1]
    used = data.slice(int(found[0]), int(found[-1] - found[0])) if data is not None else pa.py_buffer(b"")
    return pa.py_buffer(np.ascontiguousarray(found - found[0])), used


def _bits(truths: pa.Array) -> Any:
    return pa.py_buffer(np.packbits(np.asarray(truths), bitorder="little"))


def _mostly_text(columns: list[pa.Array]) -> bool:
    """Whether text is more than half of the bytes, and the first of it shrinks to less than half."""
    texts = [column for column in columns if pa.types.is_string(column.type) and len(column)]
    size = sum(column.nbytes for column in texts)
    if not size or size < sum(column.nbytes for column in columns) / 2:
        return False
    data = max(texts, key=lambda column: column.nbytes).buffers()[2]
    sample = data.slice(0, min(SAMPLE_BYTES, data.size)) if data is not None else b""
    return len(sample) > 0 and len(pa.compress(sample, "lz4", asbytes=True)) < len(sample) / 2
