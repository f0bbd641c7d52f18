"""One checker for every model with every objective; what each objective makes of outputs."""

import pytest
import torch
from safetensors.torch import load, save

from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec
from components.models import KINDS as MODEL_KINDS
from components.models.cnn import Cnn, Conv, Dense, Pool
from components.models.composite import Composite
from components.models.dlinear import DLinear
from components.models.factorisation import Factorisation
from components.models.linear import Linear
from components.models.mlp import Mlp
from components.objectives import KINDS as OBJECTIVE_KINDS
from components.objectives.objective import check_model
from tests.models.cases import ENCODERS, IMAGE, MODELS, OBJECTIVES, SERIES, TABLE, TARGETS, TEXT, USUAL

ROWS = 16
LEARNT = {"adversarial": 0.95, "metric-learning": 0.7, "word-embedding": 0.7}
"""What is left of the loss at most: words that are drawn as none may be neighbours too, noise is hard to imitate, and
rows of one class, which all are found alike, share what can be told."""


def fit(kind, task):
    """Whether a model and an objective can meet: an input is given back only where it is one of numbers."""
    (model, specs), objective = MODELS[kind], OBJECTIVES[task][0]
    try:
        check_model(objective, model)
    except ConfigError:
        return False
    return task != "reconstruction" or len([one for one in specs if not one.classes]) == 1


PAIRS = [
    (kind, task, number)
    for task, ways in OBJECTIVES.items()
    for number in range(len(ways))
    for kind in (MODELS if number == 0 else [USUAL.get(task, "mlp")])
    if fit(kind, task)
]
"""Every model with every objective that fits, and every way of an objective."""


def tokens(steps=9):
    """Texts of all lengths, filled up behind; one has no token."""
    drawn = torch.randint(1, 30, (ROWS, steps))
    return drawn * (torch.arange(steps) < torch.arange(ROWS)[:, None] % (steps + 1))


def batch_of(specs):
    return {
        spec.name: tokens()
        if spec.sequence
        else torch.randint(0, min(spec.classes), (ROWS, *spec.shape))
        if spec.classes
        else torch.randn(ROWS, *spec.shape)
        for spec in specs
    }


def targets_of(target):
    """What a target looks like, and sixteen of it; of several targets, of each."""
    specs, drawn = [], {}
    for one in target.parts.values() or [target]:
        spec = one.feature.spec(one.state)
        values = torch.randint(0, 3, (ROWS,)) if spec.classes else torch.randn(ROWS, *spec.shape)
        specs.append(spec)
        drawn[spec.name] = (values > 0).float() if one.feature.kind == "labels" else values
    return specs, drawn


def by_gradients(enough, model, network, loss_now, *_):
    """Until there is so much less loss."""
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    losses = []
    while len(losses) < 150 and (not losses or losses[-1] >= losses[0] * enough):
        loss = loss_now()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def by_turns(enough, objective, network, loss_now, inputs, *_):
    """Two players; how far what is drawn lies from what is real."""
    players = {
        name: torch.optim.AdamW(getattr(network, name).parameters(), 0.003, betas=(0.5, 0.9))
        for name in objective.players
    }
    losses = [loss_now().item()]
    for step in range(300):
        for player, loss in objective.turns(network, inputs, step):
            players[player].zero_grad()
            loss.backward()
            players[player].step()
    return [*losses, loss_now().item()]


def by_passes(enough, model, network, loss_now, inputs, targets, wanted, specs):
    state = model.begin(inputs, specs, wanted, 0)
    losses = [loss_now().item()]
    for _ in range(20):
        rests, shown = hasattr(model, "rests") and model.rests(state), getattr(model, "shown", dict)(state)
        state, _ = model.step(state, {} if rests else model.look(shown, inputs, inputs | targets))
    network.load_state_dict({name: torch.from_numpy(one.copy()) for name, one in model.weights(state).items()})
    return [*losses, loss_now().item()]


@pytest.mark.parametrize(("kind", "task", "number"), PAIRS)
def test_every_model_learns_every_objective_and_answers_the_same_when_it_is_loaded(kind, task, number):
    torch.manual_seed(0)
    (model, specs), objective, target = MODELS[kind], OBJECTIVES[task][number], TARGETS[task]
    learnt, targets = targets_of(target)
    wanted = objective.outputs(learnt, specs)
    network, inputs = model.build(specs, wanted), batch_of(specs)
    given = tuple(network(inputs)[wanted[0].name].shape)
    assert given == (ROWS, *(9 if size == -1 else size for size in wanted[0].shape)), "the longest row has nine steps"
    learn = by_passes if getattr(model, "passes", False) else by_turns if hasattr(objective, "turns") else by_gradients
    enough = LEARNT.get(task, 0.5)
    losses = learn(
        enough,
        objective if task == "adversarial" else model,
        network,
        lambda: objective.loss(network(inputs), inputs | targets),
        inputs,
        targets,
        wanted,
        specs,
    )
    assert losses[-1] < losses[0] * enough, "sixteen rows can be learned by heart"
    network.eval()
    again = model.build(specs, wanted)
    again.load_state_dict(load(save({name: one.contiguous() for name, one in network.state_dict().items()})))
    again.eval()
    with torch.inference_mode():
        first, second = (objective.decode(one(inputs), inputs, target) for one in (network, again))
    assert all((first[name] == second[name]).all() for name in first)
    told = objective.table(first, target)
    assert dict(zip(told.column_names, told.schema.types, strict=True)) == objective.columns(target)
    assert told.num_rows == ROWS


def test_every_kind_of_model_is_checked():
    assert {model.kind for model, _ in MODELS.values()} == set(MODEL_KINDS)
    assert set(OBJECTIVES) == set(OBJECTIVE_KINDS)


def test_a_linear_model_has_no_hidden_layer():
    for model in (Linear(), Mlp(hidden=())):
        network = model.build(TABLE[:1], [TensorSpec(name="o", shape=(2,), dtype="float32")])
        assert sum(one.numel() for one in network.parameters()) == 24 * 2 + 2


def test_a_cnn_without_an_image_is_one_line():
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: a cnn needs one image"):
        MODELS["cnn"][0].build(TABLE, [])


@pytest.mark.bad_input
@pytest.mark.parametrize(
    ("layers", "line"),
    [
        ((Pool(), Pool(), Pool(), Pool()), "model.layers.3: a pool layer does not fit .*got '1 x 1 x 1 maps'.*2 x 2"),
        ((Dense(units=3), Conv(channels=2)), "model.layers.1: a conv layer does not fit .*got '3 numbers'"),
        ((Conv(channels=2, kernel=9, padding="valid"),), "model.layers.0: .*allowed: maps of at least 9 x 9"),
    ],
)
def test_layers_that_do_not_follow_each_other_are_one_line(layers, line):
    with pytest.raises(ConfigError, match=line):
        Cnn(layers=layers).build(IMAGE, [TensorSpec(name="o", shape=(2,), dtype="float32")])


def test_dlinear_and_factorisation_are_what_their_formulas_say():
    steps, output = torch.randn(4, 3, 12), TensorSpec(name="o", shape=(3,), dtype="float32")
    network = DLinear(smooth=3, shared=True).build(SERIES, [output])
    trend = torch.stack([
        steps[..., [max(at - 1, 0), at, min(at + 1, 11)]].mean(-1) for at in range(12)
    ], -1)  # fmt: skip
    wanted = network.trend["o"](trend) + network.rest["o"](steps - trend)
    assert torch.allclose(network({"s": steps})["o"], wanted[..., 0], atol=1e-6)
    codes = torch.tensor([[4, 2], [0, 1]])
    one = TensorSpec(name="o", shape=(1,), dtype="float32")
    network = Factorisation(width=8).build(TABLE[1:], [one])
    first, second = (table(codes[:, at]) for at, table in enumerate(network.vectors))
    alone = sum(table(codes[:, at]) for at, table in enumerate(network.numbers))
    found = network({"c": codes})["o"]
    assert torch.allclose(found, alone + (first * second).sum(1, keepdim=True), atol=1e-6), "biases and a product"


@pytest.mark.bad_input
def test_inputs_and_encoders_that_do_not_meet_are_one_line():
    with pytest.raises(ConfigError, match="E_CONFIG model.encoders: no encoder reads this feature .got 't'"):
        Composite(encoders=ENCODERS[:2]).build(TABLE + IMAGE + TEXT, [])
    with pytest.raises(ConfigError, match="model.encoders.2.inputs: no feature has this name .got 't'"):
        Composite(encoders=ENCODERS).build(TABLE + IMAGE, [])
    with pytest.raises(ValueError, match="two encoders read t"):
        Composite(encoders=(ENCODERS[2], ENCODERS[2]))
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: a factorisation needs two columns of indices"):
        Factorisation().build(TABLE[:1], [])
    with pytest.raises(ConfigError, match="E_CONFIG model.shared: maps that channels share .*target of 3 numbers"):
        DLinear(shared=True).build(SERIES, [TensorSpec(name="o", shape=(2,), dtype="float32")])
    with pytest.raises(ConfigError, match="E_CONFIG model.kind: dlinear reads one series"):
        DLinear().build(TABLE, [])
