"""ModelPackage and Dataset → Compressed: the network as ONNX, with fewer bits or weights, and what that costs.

Every version is asked the same test rows as the package itself. The last one, with all that was asked for, is what the
gate judges and what a bundle for devices holds.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import pyarrow as pa
from pydantic import Field

from components.compress.compared import FLOAT, compared, test_rows
from components.context import RunContext
from components.contracts.artifacts import Compressed, Dataset, ModelPackage
from components.contracts.config import StepConfig
from components.contracts.fingerprint import digest, library_version
from components.contracts.spec import OWN_COLUMNS
from components.exports.bundle import check_bundle, check_device, pack, write_bundle
from components.exports.engine import Engine, check_engine
from components.exports.graph import check_onnx, stored, write_onnx, write_program
from components.exports.shrink import BATCH, Quantise, prune, quantised
from components.packages import PARTS, open_package
from components.raw_rows import accepted, folder_of, sampled
from components.reports.compression import compression_page
from components.statistics.keys import TRAIN

LIBRARIES = ("onnx", "onnxruntime", "onnxscript", "torch")
INT8, PRUNED, BOTH = "int8", "pruned", "pruned and int8"
BUNDLE_ROWS = 64
"""Training rows that a bundle is tried with."""


class CompressConfig(StepConfig):
    """How the model is made smaller, and what is made of it."""

    quantise: Quantise = Field(
        "dynamic",
        description="weights as int8; static: activations too, by ranges of training rows, for convolutions",
    )
    prune: float = Field(0.0, ge=0, lt=1, description="share of the weights, the smallest ones, that become zero")
    calibration_rows: int = Field(512, ge=1, description="training rows that static ranges are seen on")
    test_rows: int = Field(10_000, ge=0, description="test rows that versions are compared on at most; 0: all")
    bundle: bool = Field(True, description="whether a folder for devices is made, which needs numpy and onnxruntime")
    program: bool = Field(False, description="whether the network is also written as a torch.export program")


def run(config: CompressConfig, package: ModelPackage, dataset: Dataset, *, ctx: RunContext) -> Compressed:
    """Make the versions, measure each beside the package.

    Raises:
        ConfigError: E_CONFIG, the network cannot be written as a graph, or a device cannot do what the recipe asks.
        EnvironmentFault: E_EXTRA_MISSING.
        IntegrityError: E_SMOKE, the graph or the bundle does not answer as the package does.
    """
    check_onnx()
    inputs = {
        "package": package.content,
        "dataset": dataset.content,
        "libraries": digest({name: library_version(name) for name in LIBRARIES}),
    }

    def build(folder: Path) -> Compressed:
        model = folder_of(package, ctx.store)
        said = json.loads((model / PARTS / "model.json").read_bytes())
        predictor = open_package(model)
        check_engine(predictor)
        if config.bundle:
            check_device(said)
        some = predictor.cleaned(_asked(predictor, sampled(dataset, ctx.store, TRAIN, config.calibration_rows)))
        paths = _written(config, predictor, some, folder, ctx)
        if config.program:
            write_program(predictor, some, folder / "model.pt2")
        rows, versions = compared(predictor, model, paths, test_rows(config.test_rows, predictor, dataset, ctx))
        if config.bundle:
            write_bundle(said, paths[versions[-1].name], folder / "bundle")
            sample = _asked(predictor, sampled(dataset, ctx.store, TRAIN, BUNDLE_ROWS))
            check_bundle(folder / "bundle", Engine(predictor, paths[versions[-1].name]), sample)
            pack(folder / "bundle")
            shutil.rmtree(folder / "bundle")
        made = Compressed(
            package=package.fingerprint,
            rows=rows,
            versions=versions,
            lower_is_better=tuple(sorted(predictor.objective.lower_is_better)),
        )
        (folder / "compression.html").write_text(compression_page(made), encoding="utf-8")
        timeless = [one.model_dump(exclude={"latency_ms", "rows_a_second", "memory_mb"}) for one in versions]
        return made.model_copy(update={"content": digest([made.package, timeless])})

    return ctx.commit(Compressed, __name__, config, inputs, build)


def _written(config: CompressConfig, predictor: Any, some: pa.Table, folder: Path, ctx: RunContext) -> dict[str, Path]:
    """The versions as files, the one with all that is asked for last."""
    wanted = [FLOAT, *([INT8] if config.quantise != "none" else []), *([PRUNED] if config.prune else [])]
    wanted += [BOTH] if {INT8, PRUNED} <= set(wanted) else []
    rows = [stored(predictor, some.slice(start, BATCH)) for start in range(0, some.num_rows, BATCH)]
    paths = {name: folder / f"{name.replace(' ', '-')}.onnx" for name in wanted}
    for number, (name, path) in enumerate(paths.items(), 1):
        ctx.progress.advanced("compress", number, len(paths), "versions", name)
        if name == FLOAT:
            write_onnx(predictor, some, path)
        elif name == PRUNED:
            with _thinned(predictor, config.prune):
                write_onnx(predictor, some, path)
        else:
            quantised(paths[FLOAT if name == INT8 else PRUNED], path, config.quantise, rows)
    return paths


def _asked(predictor: Any, rows: pa.Table) -> pa.Table:
    """Of raw rows of the store those that cleaning keeps, as a request has them."""
    kept, _ = accepted(predictor, rows)
    return kept.drop(list(OWN_COLUMNS))


@contextmanager
def _thinned(predictor: Any, share: float) -> Iterator[None]:
    whole = predictor.network
    predictor.network = deepcopy(whole)
    prune(predictor.network, share)
    try:
        yield
    finally:
        predictor.network = whole
