"""One checker for every model; what a classification makes of its outputs."""

import numpy as np
import pytest
import torch

from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec
from components.models import KINDS as MODEL_KINDS
from components.models.cnn import Cnn, Conv, Dense, Dropout, Pool
from components.models.mlp import Mlp
from components.objectives.classification import Classification

INPUTS = {
    "cnn": [TensorSpec(name="i", shape=(1, 8, 8), dtype="float32")],
    "mlp": [
        TensorSpec(name="n", shape=(3,), dtype="float32"),
        TensorSpec(name="c", shape=(2,), dtype="int64", classes=(5, 3)),
    ],
}
MODELS = {
    "cnn": Cnn(layers=(Conv(channels=4, norm=True), Pool(), Dropout(share=0.1), Dense(units=6), Dense(units=5))),
    "mlp": Mlp(hidden=(8,), norm=True, dropout=0.1),
}


def batch_of(specs, rows=16):
    return {
        spec.name: torch.randint(0, min(spec.classes), (rows, *spec.shape))
        if spec.classes
        else torch.randn(rows, *spec.shape)
        for spec in specs
    }


@pytest.mark.parametrize("kind", MODEL_KINDS)
def test_every_model_maps_inputs_to_outputs_and_learns(kind):
    torch.manual_seed(0)
    target = TensorSpec(name="label", shape=(), dtype="int64", classes=(3,))
    objective = Classification()
    network = MODELS[kind].build(INPUTS[kind], objective.outputs([target]))
    inputs, targets = batch_of(INPUTS[kind]), {"label": torch.randint(0, 3, (16,))}
    assert network(inputs)["label"].shape == (16, 3)
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    losses = []
    for _ in range(60):
        loss = objective.loss(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4, "sixteen rows can be learned by heart"


def test_no_hidden_layer_is_a_linear_model():
    network = Mlp(hidden=()).build(INPUTS["mlp"][:1], [TensorSpec(name="o", shape=(2,), dtype="float32")])
    assert sum(one.numel() for one in network.parameters()) == 3 * 2 + 2


def test_a_cnn_without_an_image_is_one_line():
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: a cnn needs one image"):
        MODELS["cnn"].build(INPUTS["mlp"], [])


def test_classification_decodes_to_probabilities_and_scores_rows():
    objective = Classification()
    logits = {"label": torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])}
    probabilities, truth = objective.decode(logits), np.array([0, 1, 1])
    assert probabilities.sum(1) == pytest.approx([1, 1, 1])
    rows = objective.row_metrics(probabilities, truth)
    assert rows["accuracy"].tolist() == [1, 1, 0]
    assert rows["log_loss"].mean() == pytest.approx(float(objective.loss(logits, {"label": torch.tensor(truth)})))
    assert int(objective.scores(logits, {"label": torch.tensor(truth)})["accuracy"]) == 2
    assert objective.baseline([1, 3], truth)["accuracy"] == pytest.approx(2 / 3)
