"""Training and serving see the same: for every kind, bit for bit, however many rows come at a time."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from components.adapters.snapshot_rows import read_rows
from components.features.feature import tensor_of
from components.features.fitted import load_feature
from components.sources.files import FilesSource
from components.statistics.keys import TRAIN
from components.statistics.splits import Split
from components.validate import ValidateConfig
from tests.features.cases import FEATURES, applied, rows_of
from tests.line import loader_of, prepared, table_recipe

INPUTS = {case: feature for case, feature in FEATURES.items() if feature.kind not in {"label", "none"}}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, shared_ctx):
    folder = tmp_path_factory.mktemp("rows")
    for number in range(3):
        pq.write_table(rows_of(80, seed=number).set_column(0, "id", pa.array(range(number * 80, number * 80 + 80))),
                       folder / f"{number}.parquet")  # fmt: skip
    source = FilesSource(uri=str(folder))
    recipe = table_recipe(folder, source=source, checks=ValidateConfig(), cleaning=(), features=tuple(INPUTS.values()))
    return prepared(recipe, shared_ctx)


def training_rows(dataset, ctx):
    split = Split.model_validate(dataset.split)
    tables = [read_rows(ctx.store, "clean", part.key) for part in dataset.clean.parts]
    return pa.concat_tables([one.filter(pa.array(split.parts(one) == TRAIN)) for one in tables])


def row_by_row(tensor):
    """Each row without what fills it up."""
    return [one[..., : int((one if one.ndim == 1 else one[0]).ne(0 if one.dtype == torch.int64 else -1).sum())]
            for one in tensor]  # fmt: skip


@pytest.mark.parametrize("case", INPUTS)
def test_training_sees_what_serving_sees(case, dataset, shared_ctx):
    fitted = next(one for one in dataset.features if one.config["name"] == INPUTS[case].name)
    feature, rows = load_feature(fitted), training_rows(dataset, shared_ctx)
    varies = -1 in feature.spec(fitted.state).shape
    trained = []
    for batch in loader_of(dataset, shared_ctx, TRAIN, 37).epoch(0):
        tensor = feature.apply(tensor_of(batch[feature.name]), fitted.state)
        trained += row_by_row(tensor) if varies else list(tensor)
    assert len(trained) == rows.num_rows == dataset.rows[TRAIN] > 100
    for size in (1, 50):
        served = []
        for start in range(0, rows.num_rows, size):
            tensor = applied(feature, fitted.state, rows.slice(start, size))
            served += row_by_row(tensor) if varies else list(tensor)
        different = [
            at for at, (one, other) in enumerate(zip(trained, served, strict=True)) if not torch.equal(one, other)
        ]
        assert not different
    assert len({np.asarray(one).tobytes() for one in trained}) > 1
