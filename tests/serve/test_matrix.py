"""Rows of nothing but real numbers are answered as a matrix, and say what they say as a table."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components.cleaning.clip import Clip
from components.cleaning.fill import Fill
from components.cleaning.require import Require
from components.features.number import Number
from components.serve.hosting import Host
from components.serve.wire import Asked, RefusedError, read_json
from components.sources.files import FilesSource
from components.train import TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import registered, table_recipe

NAMES = ("a", "b", "c")
ROWS = [[0.5, -1.0, 2.5], [3.0, 1.0, 0.25], [7.0, -2.0, 1.0]]


@pytest.fixture(scope="module")
def hosts(line, tmp_path_factory):
    """A model that takes rows as a matrix, and one that first brings a column within bounds."""
    folder = tmp_path_factory.mktemp("numbers")
    cells = np.random.default_rng(3).normal(size=(300, 3))
    labels = np.where(cells[:, 0] > cells[:, 1], "more", "less")
    pq.write_table(pa.table(dict(zip(NAMES, cells.T, strict=True)) | {"label": labels}), folder / "rows.parquet")
    made = []
    for name, cleaning in {
        "plain": (Fill(columns=("b",), value=0.0), Require(columns=("label", "a"))),
        "clipped": (Clip(columns=("a",), minimum=0.0, maximum=5.0),),
    }.items():
        recipe = table_recipe(
            folder, source=FilesSource(uri=str(folder)), checks=ValidateConfig(columns={"b": ColumnCheck(type="float64", nan="missing")}), cleaning=cleaning,
            features=(Number(name="one", columns=("c", "a")), Number(name="other", columns=("b",), scale="none")),
            settings=TrainSettings(max_epochs=1),
        )  # fmt: skip
        registered(recipe, line.ctx, name)
        made.append(line.host(name))
    return made


def asked(data, names=NAMES):
    return Asked(dict(zip(names, zip(*data, strict=True), strict=True)), len(data), data)


def as_table(host, data):
    return host.now.predictor.predict(pa.table(dict(zip(NAMES, np.array(data).T, strict=True)))).table().to_pylist()


def only_matrices(hosted):
    """The same model, which answers tables no more."""
    return SimpleNamespace(predict_matrix=hosted.answerer.predict_matrix)


@pytest.mark.parametrize("graph", [False, True])
def test_a_matrix_says_what_the_table_says(line, hosts, graph):
    host = Host(line.context("serving"), "plain", "champion", print, graph=graph)
    assert set(host.now.plain) == set(NAMES)
    hosted = replace(host.now, answerer=only_matrices(host.now))
    turned = asked([[row[2], row[0], row[1]] for row in ROWS[1:]], ("c", "a", "b"))
    body = b'{"dataframe_records": [{"b": -1, "a": 0.5, "c": 2.5}]}'
    for given, wanted in ((asked(ROWS), ROWS), (turned, ROWS[1:]), (read_json(body, 10), ROWS[:1])):
        (found,) = hosted.answers([given])
        for one, other in zip(found, as_table(host, wanted), strict=True):
            assert one["prediction"] == other["prediction"]
            assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-6)


@pytest.mark.parametrize(
    ("cell", "code"),
    [(None, ""), (float("nan"), ""), (2**60, "E_TYPE"), (True, "E_TYPE"), ("1", "E_TYPE"), (1e300, "E_VALUE"),
     (10**400, "E_TYPE")],
)  # fmt: skip
def test_what_is_no_plain_number_goes_as_a_table(hosts, cell, code):
    """One among others; who asks for it is answered or refused as ever, and nobody else."""
    host = hosts[0]
    good, odd = asked(ROWS[:1]), asked([[0.5, cell, 2.5]])
    first, found, last = host.now.answers([good, odd, good])
    (alone,) = host.now.answers([good])
    assert first == last
    assert (first[0]["prediction"], first[0]["confidence"]) == (
        alone[0]["prediction"], pytest.approx(alone[0]["confidence"], abs=1e-6)
    )  # fmt: skip
    assert (found.code if isinstance(found, RefusedError) else "") == code, found
    if not code:
        filled = as_table(host, [[0.5, 0.0, 2.5]])[0]
        assert found[0]["probabilities"] == pytest.approx(filled["probabilities"], abs=1e-6)


def test_cleaning_that_changes_numbers_is_done(hosts):
    host = hosts[1]
    assert host.now.plain == ()
    assert host.now.answers([asked(ROWS)])[0] == host.now.answers([asked([*ROWS[:2], [5.0, -2.0, 1.0]])])[0]
