"""Row keys, and the split that hangs on nothing but them.

A key is a digest of a row's own cells, so equal rows share it, it does not depend on order or file, and a row that was
once in the test part stays there while data grow. The hash is SipHash-2-4 as pandas ships it
(`pandas.util.hash_array`), under a constant key; golden values in the tests hold it still.
"""

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray

SIP_KEY = "millrace row key"
TEST_SALT = 0x9E3779B97F4A7C15
VALIDATION_SALT = 0xD1B54A32D192ED03

TRAIN, VALIDATION, TEST = "train", "validation", "test"
SPLITS = (TRAIN, VALIDATION, TEST)


def row_keys(table: pa.Table) -> NDArray[np.uint64]:
    """One key per row over all columns, uint64[rows]."""
    keys = np.zeros(table.num_rows, np.uint64)
    for name in sorted(table.column_names):
        cells = table[name].to_pandas().astype(object)
        values = pd.util.hash_array(np.asarray(cells.where(cells.notna(), None)), hash_key=SIP_KEY, categorize=False)
        keys = mix(keys ^ values)
    return keys


def mix(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser (Steele et al. 2014): a bijection whose every output bit hangs on every input bit."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _below(keys: NDArray[np.uint64], salt: int, fraction: float) -> NDArray[np.bool_]:
    positions = mix(keys ^ np.uint64(salt)).astype(np.float64) / 2.0**64
    return np.asarray(positions < fraction)


def assign(keys: NDArray[np.uint64], given: NDArray[np.object_], test: float, validation: float) -> NDArray[np.object_]:
    """The part of each row: object[rows] of `train`, `validation`, `test`.

    `given` holds "train", "test" or "" for rows whose source does not say; those go to the test part with probability
    `test`. Of what then is training data, the share `validation` is put aside for choosing.
    """
    parts = np.full(len(keys), TRAIN, object)
    parts[_below(keys, VALIDATION_SALT, validation)] = VALIDATION
    is_test = np.where(given == "", _below(keys, TEST_SALT, test), given == TEST)
    parts[is_test.astype(bool)] = TEST
    return parts
