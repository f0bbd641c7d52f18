"""Every network as a graph: what ONNX Runtime and torch.export give is what torch gives, for any number of rows."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from components.exports.engine import Engine, of_network
from components.exports.graph import stored, write_onnx, write_program
from tests.models.cases import MODELS, OBJECTIVES, TARGETS
from tests.models.test_models import batch_of, fit, targets_of

SEVERAL = 7


class Rows:
    """Cleaned rows, of which only their number is asked."""

    def __init__(self, count):
        self.num_rows = count

    def take(self, at):
        return Rows(len(at))


def predictor_of(kind, task="classification"):
    """A network of that kind over inputs that no feature changes."""
    torch.manual_seed(0)
    (model, specs), objective = MODELS[kind], OBJECTIVES[task][0]
    targets, _ = targets_of(TARGETS[task])
    network = model.build(list(specs), objective.outputs(targets, list(specs))).eval()
    features = [
        SimpleNamespace(name=one.name, spec=lambda _, one=one: one, apply=lambda values, _: values) for one in specs
    ]

    def given(rows):
        torch.manual_seed(rows.num_rows)
        return {name: values[: rows.num_rows] for name, values in batch_of(specs).items()}

    return SimpleNamespace(
        network=network, features=features, fitted=[SimpleNamespace(state={}) for _ in specs], stored=given
    )


QUICK = {"mlp", "recurrent lstm", "transformer sinusoidal"}
"""What the default suite tries: a graph takes seconds."""
GRAPHS = sorted(
    kind for kind in MODELS if fit(kind, "classification") and not getattr(MODELS[kind][0], "passes", False)
)


@pytest.mark.parametrize("kind", [one if one in QUICK else pytest.param(one, marks=pytest.mark.e2e) for one in GRAPHS])
def test_a_graph_gives_what_the_network_gives(kind, tmp_path):
    predictor = predictor_of(kind)
    write_onnx(predictor, Rows(4), tmp_path / "model.onnx")
    engine, network = Engine(predictor, tmp_path / "model.onnx"), of_network(predictor)
    for rows in (1, SEVERAL):
        given = stored(predictor, Rows(rows))
        found, wanted = engine.outputs(given), network(given)
        assert found.keys() == wanted.keys()
        for name, values in wanted.items():
            assert len(values) == rows
            np.testing.assert_allclose(found[name], values, rtol=1e-3, atol=1e-4)


@pytest.mark.e2e
@pytest.mark.parametrize("kind", GRAPHS)
def test_a_program_gives_what_the_network_gives(kind, tmp_path):
    predictor = predictor_of(kind)
    write_program(predictor, Rows(4), tmp_path / "model.pt2")
    program = torch.export.load(tmp_path / "model.pt2").module()
    given = stored(predictor, Rows(SEVERAL))
    (found, *_) = program(*map(torch.from_numpy, given.values()))
    (wanted, *_) = of_network(predictor)(given).values()
    np.testing.assert_allclose(found.detach().numpy(), wanted, rtol=1e-4, atol=1e-5)
