"""A package's network, with what its features do to a batch before it, as a graph: ONNX and torch.export.

The graph takes what features store (typed arrays, codes looked up; of texts the padded tokens) and gives what the
network gives. So scaling, filling and one-hot places are in it, and need no torch where it runs.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from components.contracts.errors import ConfigError, EnvironmentFault

Arrays = Mapping[str, NDArray[Any]]
INT64 = 7
"""ONNX's number of the type (onnx.TensorProto)."""
ROWS = 4
"""Of the batch that a graph is traced with: axes of one or two rows might be taken for constants."""


def check_onnx() -> None:
    """Raise E_EXTRA_MISSING where what makes and runs ONNX graphs is not installed."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise EnvironmentFault(
            "E_EXTRA_MISSING",
            f"{error.name} is not installed",
            place="ONNX",
            action="install it: pip install -e '.[edge]'",
        ) from error


def stored(predictor: Any, cleaned: Any) -> dict[str, NDArray[Any]]:
    """What the graph takes of cleaned rows: of each feature an array, by its name."""
    return {name: one.numpy() for name, one in _given(predictor, cleaned).items()}


def write_onnx(predictor: Any, cleaned: Any, path: Path) -> None:
    """Write the graph, traced with some `cleaned` rows.

    Raises:
        ConfigError: E_CONFIG, the network does something that has no graph.
    """
    import torch

    chain, given, shapes = _chain(predictor, cleaned)
    with _quiet(), torch.no_grad():
        # Once, so that it knows what its outputs are called.
        chain(*given.values())
        try:
            program = torch.onnx.export(
                chain,
                tuple(given.values()),
                dynamo=True,
                dynamic_shapes=shapes,
                input_names=list(given),
                output_names=chain.names,
                external_data=False,
                custom_translation_table={torch.ops.aten.searchsorted.Tensor: _searched},
                verbose=False,
            )
        except Exception as error:
            raise _no_graph(predictor, error) from error
    assert program is not None
    program.save(path)
    _bare(path)


def _searched(points: Any, values: Any, *, right: bool = False, **_: Any) -> Any:
    """How many of the rising `points` lie below each value: what torch.searchsorted gives, which ONNX does not know."""
    import onnxscript

    opset18: Any = onnxscript.opset18

    compares = opset18.LessOrEqual if right else opset18.Less
    below = compares(opset18.Unsqueeze(points, [-2]), opset18.Unsqueeze(values, [-1]))
    return opset18.ReduceSum(opset18.Cast(below, to=INT64), [-1], keepdims=0)


def _bare(path: Path) -> None:
    """Take out of a graph where in the code each node came from: nothing that runs it asks."""
    import onnx

    model = onnx.load(path)
    del model.metadata_props[:], model.graph.metadata_props[:], model.graph.value_info[:]
    for one in (*model.graph.node, *model.graph.initializer, *model.graph.input, *model.graph.output):
        one.doc_string = ""
        del one.metadata_props[:]
    onnx.save(model, path)


def write_program(predictor: Any, cleaned: Any, path: Path) -> None:
    """Write the same as a torch.export program (.pt2).

    Raises:
        ConfigError: E_CONFIG, the network does something that has no graph.
    """
    import torch

    chain, given, shapes = _chain(predictor, cleaned)
    with _quiet(), torch.no_grad():
        try:
            program = torch.export.export(chain, tuple(given.values()), dynamic_shapes=shapes)
        except Exception as error:
            raise _no_graph(predictor, error) from error
        torch.export.save(program, path)


def _chain(predictor: Any, cleaned: Any) -> tuple[Any, dict[str, Any], Any]:
    """The graph as a module, the batch that it is traced with, and which axes of that may have other lengths."""
    import torch

    tiled = cleaned.take(np.arange(ROWS) % cleaned.num_rows)
    given = _given(predictor, tiled)
    rows, shapes = torch.export.Dim("rows", min=1), []
    for feature, known in zip(predictor.features, predictor.fitted, strict=True):
        spec = feature.spec(known.state)
        axes: dict[int, Any] = {0: rows}
        if -1 in spec.shape:
            # A table of positions may set an end to it.
            axes[1 + spec.shape.index(-1)] = torch.export.Dim.AUTO
        shapes.append(axes)
    return _module(predictor), given, (tuple(shapes),)


def is_ready(feature: Any, state: dict[str, Any]) -> bool:
    """Whether the graph takes what `apply` gives, and not what the feature stores: of texts, which are ragged."""
    return bool(feature.spec(state).sequence or getattr(feature, "kind", "") == "bag")


def _given(predictor: Any, cleaned: Any) -> dict[str, Any]:
    found = predictor.stored(cleaned)
    for feature, known in zip(predictor.features, predictor.fitted, strict=True):
        if is_ready(feature, known.state):
            found[feature.name] = feature.apply(found[feature.name], known.state)
    return dict(found)


def _module(predictor: Any) -> Any:
    import torch

    class Chain(torch.nn.Module):
        """What features do to a batch, and the network."""

        def __init__(self) -> None:
            super().__init__()
            self.network = predictor.network
            specs = [(one, known.state) for one, known in zip(predictor.features, predictor.fitted, strict=True)]
            self.steps = [(one, state, is_ready(one, state)) for one, state in specs]
            self.names: list[str] = []

        def forward(self, *values: Any) -> Any:
            inputs = {
                one.name: value if ready else one.apply(value, state)
                for (one, state, ready), value in zip(self.steps, values, strict=True)
            }
            found = self.network(inputs)
            self.names = list(found)
            return tuple(found.values())

    return Chain().eval()


def _no_graph(predictor: Any, error: Exception) -> ConfigError:
    said = str(error).strip().splitlines()
    said = [one for one in said if "No ONNX function found" in one] or said
    return ConfigError(
        "E_CONFIG",
        "the network does something that cannot be written as a graph",
        place="model.kind",
        value=getattr(type(predictor.network), "__name__", ""),
        allowed=(said[0] if said else type(error).__name__)[:200],
        action="leave `compress` out, or take another model",
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """The exporter tells a lot that is nobody's concern."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [one.level for one in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for one in loggers:
            one.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)
