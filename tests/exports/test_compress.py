"""Smaller versions of packages: what they say, what the gate makes of it, and bundles that need nothing of ours."""

import json
import subprocess
import sys
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from components import compress, gate
from components.cleaning.clip import Clip
from components.cleaning.fill import Fill
from components.cleaning.fix_encoding import FixEncoding
from components.cleaning.keep_rows import KeepRows
from components.cleaning.map_values import MapValues
from components.cleaning.normalise_text import NormaliseText
from components.cleaning.remove_suffix import RemoveSuffix
from components.cleaning.require import Require
from components.compress import CompressConfig
from components.contracts.artifacts import Compressed, EvalReport
from components.contracts.errors import ConfigError
from components.contracts.findings import Shrunk
from components.features.bag import Bag
from components.features.bins import Bins
from components.features.boolean import Boolean
from components.features.category import Category
from components.features.number import Number
from components.features.series import Series
from components.features.text import Text
from components.features.value import Value
from components.features.vector import Vector
from components.gate import GateConfig
from components.models.composite import Composite, Encoder
from components.models.mlp import Mlp
from components.models.recurrent import Recurrent
from components.objectives.regression import Regression
from components.sources.files import FilesSource
from components.validate import ValidateConfig
from tests.line import packaged, table_recipe

WORDS = "It's a GOOD film, naïve_one; 3.5 stars — truly", "bad… très bad İstanbul ΟΔΟΣ", "", "  so   so\tsecond\vline "


@pytest.fixture(scope="module")
def everything(tmp_path_factory):
    """Rows of every kind that a device can read, with cells that are missing; the folder they lie in."""
    folder, draw = tmp_path_factory.mktemp("all"), np.random.default_rng(0)
    rows = 240

    def some(values, share=0.1):
        return [None if draw.random() < share else one for one in values]

    labels = draw.integers(0, 2, rows)
    pq.write_table(
        pa.table({
            "n": some((draw.normal(labels, 1)).tolist()),
            "wide": some((draw.lognormal(3, 2, rows)).tolist()),
            "whole": pa.array(some(draw.integers(-5, 90, rows).tolist()), pa.int64()),
            "yes": some((draw.random(rows) < 0.4).tolist()),
            "c": some([("red ", "Blue", "grün", "grÃ¼n")[at] for at in draw.integers(0, 4, rows)]),
            "t": [
                f"{WORDS[at]} {'good' if label else 'bad'}"
                for at, label in zip(draw.integers(0, 4, rows), labels, strict=True)
            ],
            "v": [[float(label), float(draw.normal())] for label in labels],
            "s": [draw.normal(label, 1, draw.integers(3, 6)).tolist() for label in labels],
            "label": [f"class {one}" for one in labels],
            "amount": (draw.normal(size=rows) * 10 + labels).tolist(),
        }),
        folder / "rows.parquet",
    )
    return folder


def recipe_of(folder, features, **more):
    more = {
        "cleaning": (
            FixEncoding(columns=("c",)),
            NormaliseText(columns=("c",), lower=True),
            MapValues(columns=("c",), to={"grün": "green"}),
            RemoveSuffix(columns=("c",), suffix="ue"),
            Clip(columns=("wide",), maximum=500.0),
            Fill(columns=("whole",), value=0),
            Require(columns=("label",)),
            KeepRows(column="whole", when="at-most", value=89),
        ),
        "model": Mlp(hidden=(8,)),
    } | more  # fmt: skip
    return table_recipe(folder, source=FilesSource(uri=str(folder)), checks=ValidateConfig(), features=features, **more)


TABLES = (
    Number(columns=("n", "whole"), missing="mean", outliers="clip", missing_flags=True),
    Number(name="logs", columns=("wide",), log=True, scale="quantile", missing="median"),
    Bins(columns=("wide",), encoding="one-hot"),
    Boolean(columns=("yes",)),
    Category(columns=("c", "whole"), encoding="one-hot", missing="mode"),
    Vector(column="v", length=2, standardise=True),
)
QUICK = {"a table", "pairs"}
"""What the default suite tries: each makes four graphs."""
READS = {
    "a table": (TABLES, Mlp(hidden=(16,))),
    "words": ((Text(column="t"),), Recurrent(hidden=8)),
    "letters": ((Text(column="t", tokens="character", length=20, keep="end", lowercase=False),), Recurrent(hidden=8)),
    "pairs": ((Text(column="t", tokens="byte-pair", vocabulary=60),), Recurrent(hidden=8, bidirectional=True)),
    "several": (
        (Number(columns=("n",)), Series(columns=("s",), window=4, differences=True)),
        Composite(
            encoders=(
                Encoder(inputs=("numbers",), model=Mlp(hidden=(8,))),
                Encoder(inputs=("series",), model=Recurrent(hidden=8)),
            )
        ),
    ),
}


@pytest.mark.parametrize("reads", [one if one in QUICK else pytest.param(one, marks=pytest.mark.e2e) for one in READS])
def test_smaller_versions_answer_nearly_as_the_package_and_a_bundle_as_they_do(everything, ctx, reads):
    features, model = READS[reads]
    dataset, package = packaged(recipe_of(everything, features, model=model), ctx)
    config = CompressConfig(quantise="dynamic", prune=0.5, program=reads == "a table")
    made = compress.run(config, package, dataset, ctx=ctx)
    assert [one.name for one in made.versions] == ["package", "onnx", "int8", "pruned", "pruned and int8"]
    first, graph, small, thin, _ = made.versions
    assert first.difference == 0
    assert graph.difference < 1e-3 <= thin.difference
    assert small.packed_bytes < graph.packed_bytes
    assert thin.packed_bytes < graph.packed_bytes
    for one in made.versions:
        assert one.metrics.keys() == first.metrics.keys()
        assert min(one.latency_ms, one.rows_a_second, one.memory_mb) > 0
    assert graph.metrics == pytest.approx(first.metrics, abs=1e-3)
    assert ("model.pt2" in made.files) == (reads == "a table")
    assert {"bundle.zip", "compression.html", "int8.onnx"} <= made.files.keys()


def test_regressions_are_told_in_their_own_units(everything, ctx, tmp_path):
    features = (Number(columns=("n",)), Category(columns=("c",), encoding="one-hot"))
    for number, objective in enumerate((Regression(), Regression(error="quantile"))):
        recipe = recipe_of(
            everything, features, target=Value(columns=("amount",), log=bool(number)), objective=objective
        )
        dataset, package = packaged(recipe, ctx)
        made = compress.run(CompressConfig(quantise="none"), package, dataset, ctx=ctx)
        assert [one.name for one in made.versions] == ["package", "onnx"]


def test_a_bundle_needs_numpy_and_onnxruntime_and_nothing_else(everything, ctx, tmp_path):
    """In a process that cannot import any other library."""
    dataset, package = packaged(recipe_of(everything, TABLES, model=Mlp(hidden=(16,))), ctx)
    made = compress.run(CompressConfig(), package, dataset, ctx=ctx)
    path = ctx.store.open(ctx.store.artifact("compress", made.fingerprint).standing(), "bundle.zip")
    with zipfile.ZipFile(path) as packed:
        packed.extractall(tmp_path)
    alone = """
import sys
class Wall:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top in {"torch", "pyarrow", "pandas", "pydantic", "PIL", "soundfile", "scipy", "components", "mlflow"}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Wall())
sys.argv = sys.argv[1:]
import runpy
sys.path.insert(0, sys.argv[0].rpartition("/")[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""
    predict = [sys.executable, "-I", "-c", alone, str(tmp_path / "bundle" / "predict.py")]
    row = {"n": 1.5, "wide": 20.0, "whole": 3, "yes": None, "c": "grÃ¼n", "v": [1.0, 0.5], "label": "?"}
    (tmp_path / "rows.json").write_text(json.dumps([row, row | {"n": None}]))
    done = subprocess.run([*predict, str(tmp_path / "rows.json")], capture_output=True, text=True, check=True)
    first, second = json.loads(done.stdout)
    assert first["prediction"] in {"class 0", "class 1"}
    assert first["confidence"] == pytest.approx(max(first["probabilities"]))
    assert first != second
    for change, said in {
        "row 2: n is no float64: 'x'": {"n": "x"},
        "row 2: v has to be a list of 2 numbers": {"v": [1.0]},
        "row 2: cleaning would drop it (keep-rows whole)": {"whole": 90},
    }.items():
        (tmp_path / "rows.json").write_text(json.dumps([row, row | said]))
        done = subprocess.run([*predict, str(tmp_path / "rows.json")], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr.strip()) == (1, f"predict: {change}")


def test_what_a_device_cannot_do_is_told_before_anything_is_made(everything, ctx):
    dataset, package = packaged(recipe_of(everything, (Bag(column="t"),)), ctx)
    with pytest.raises(
        ConfigError, match="E_CONFIG features: a bundle for devices cannot do this.*'bag'.*bins, boolean"
    ):
        compress.run(CompressConfig(), package, dataset, ctx=ctx)
    made = compress.run(CompressConfig(bundle=False), package, dataset, ctx=ctx)
    assert "bundle.zip" not in made.files


def test_static_ranges_are_seen_on_training_rows(everything, ctx):
    """Other training rows give other ranges, and so other answers."""
    dataset, package = packaged(recipe_of(everything, TABLES), ctx)
    few, many = (
        compress.run(CompressConfig(quantise="static", calibration_rows=rows, bundle=False), package, dataset, ctx=ctx)
        for rows in (1, 200)
    )
    assert many.versions[-1].difference < few.versions[-1].difference


def version(name, accuracy, size=1_000_000):
    return Shrunk(
        name=name, size_bytes=size, packed_bytes=size, latency_ms=1, rows_a_second=1, memory_mb=1,
        metrics={"accuracy": accuracy, "log_loss": 1 - accuracy}, difference=0.1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("rules", "passes", "line"),
    [
        ({"accuracy": 0.01}, False, "accuracy -0.0200 as int8 (0.25 MB), at most 0.01 worse"),
        ({"accuracy": 0.03}, True, "accuracy -0.0200 as int8 (0.25 MB), at most 0.03 worse"),
        ({"log_loss": 0.01}, False, "log_loss +0.0200 as int8 (0.25 MB), at most 0.01 worse"),
        ({"f1": 0.01}, False, "f1 of the smallest version: not measured"),
    ],
)
def test_the_gate_refuses_a_smaller_version_that_loses_too_much(rules, passes, line):
    report = EvalReport(package="p", metrics={}, champion={}, gain={}, baseline={}, rows=10)
    made = Compressed(
        package="p",
        rows=10,
        versions=(version("package", 0.9), version("int8", 0.88, 250_000)),
        lower_is_better=("log_loss",),
    )
    verdict = gate.run(GateConfig(max_compressed_loss=rules), report, None, made)
    assert (verdict.verdict == "approved", verdict.checks) == (passes, (f"{'pass' if passes else 'fail'}: {line}",))
    without = gate.run(GateConfig(max_compressed_loss=rules), report)
    assert without.verdict == "rejected"
    assert "the recipe has no section compress" in without.checks[0]
