"""One checker for every model with every objective; what each objective makes of outputs."""

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from components.contracts.errors import ConfigError
from components.contracts.spec import TensorSpec
from components.features.anomaly import Anomaly
from components.features.label import Label
from components.features.none import Nothing
from components.features.value import Value
from components.models import KINDS as MODEL_KINDS
from components.models.autoencoder import Autoencoder
from components.models.cnn import Cnn, Conv, Dense, Dropout, Pool, Residual
from components.models.composite import Composite, Encoder
from components.models.decoder import Decoder
from components.models.dlinear import DLinear
from components.models.factorisation import Factorisation
from components.models.gan import Gan
from components.models.k_means import KMeans
from components.models.least_squares import LeastSquares
from components.models.linear import Linear
from components.models.mlp import Mlp
from components.models.recurrent import Recurrent
from components.models.transformer import Transformer
from components.models.word2vec import Word2Vec
from components.objectives import KINDS as OBJECTIVE_KINDS
from components.objectives.adversarial import Adversarial
from components.objectives.classification import Classification
from components.objectives.clustering import TO_MEAN, Clustering
from components.objectives.language_model import LanguageModel
from components.objectives.objective import Target, check_model, check_monitor, check_target
from components.objectives.reconstruction import Reconstruction
from components.objectives.regression import Regression
from components.objectives.word_embedding import WordEmbedding

TABLE = [
    TensorSpec(name="n", shape=(24,), dtype="float32"),
    TensorSpec(name="c", shape=(2,), dtype="int64", classes=(5, 3)),
]
IMAGE = [TensorSpec(name="i", shape=(1, 8, 8), dtype="float32")]
TEXT = [TensorSpec(name="t", shape=(-1,), dtype="int64", classes=(30,), sequence=True)]
SERIES = [TensorSpec(name="s", shape=(3, 12), dtype="float32")]
CELLS = ("rnn", "lstm", "gru")
PLACES = ("sinusoidal", "rotary", "learned")
FUSED = ("concatenate", "product", "gated", "attention")
ENCODERS = (
    Encoder(inputs=("n", "c"), model=Mlp(hidden=(8,))),
    Encoder(inputs=("i",), model=Cnn(layers=(Conv(channels=4),))),
    Encoder(inputs=("t",), model=Recurrent(hidden=8)),
)
MODELS = {
    "autoencoder": (Autoencoder(code=12, hidden=(32,)), IMAGE),
    "autoencoder by convolutions": (Autoencoder(code=12, hidden=(), channels=(4, 8)), IMAGE),
    "autoencoder variational": (Autoencoder(code=12, hidden=(32,), variational=True), TABLE[:1]),
    "cnn": (
        Cnn(layers=(Conv(channels=4, norm=True), Pool(), Dropout(share=0.1), Dense(units=16), Dense(units=16))),
        IMAGE,
    ),
    **{f"composite {one}": (Composite(encoders=ENCODERS, fuse=one), TABLE + IMAGE + TEXT) for one in FUSED},
    **{f"decoder {one}": (Decoder(width=16, heads=2, dropout=0, positions=one), TEXT) for one in PLACES},
    "dlinear": (DLinear(smooth=4), SERIES),
    "factorisation": (Factorisation(width=8), TABLE),
    "gan": (Gan(noise=8, channels=(16, 8)), IMAGE),
    "gan of rows": (Gan(noise=8, hidden=(16,)), TABLE),
    "k-means": (KMeans(starts=2), TABLE[:1]),
    "least-squares": (LeastSquares(), TABLE[:1]),
    "cnn residual": (
        Cnn(layers=(Residual(channels=8), Residual(channels=16, stride=2), Pool(size=0, how="average"))),
        IMAGE,
    ),
    "linear": (Linear(), TABLE),
    "mlp": (Mlp(hidden=(8,), norm=True, dropout=0.1), TABLE),
    **{f"recurrent {cell}": (Recurrent(cell=cell, hidden=12, layers=2, dropout=0.1), TEXT) for cell in CELLS},
    "recurrent both ways": (Recurrent(bidirectional=True, hidden=8, pool="max"), SERIES),
    **{f"transformer {one}": (Transformer(width=16, heads=2, positions=one), TEXT) for one in PLACES},
    **{f"word2vec {one}": (Word2Vec(way=one, window=2, shared=8, frequent=1), TEXT) for one in ("skip-gram", "cbow")},
    "transformer series": (Transformer(width=16, heads=4, pool="last"), SERIES),
}
CLASSES = Target(feature=Label(column="y"), state={"classes": ["a", "b", "c"], "counts": [1, 2, 1]}, type="string")
NUMBERS = Target(
    feature=Value(columns=("y", "z")),
    state={"mean": [10.0, -3.0], "centre": [10.0, -3.0], "scale": [2.0, 0.5]},
    type="float64",
)
OBJECTIVES = {
    "adversarial": [Adversarial(), Adversarial(way="wasserstein", critic_steps=2)],
    "classification": [Classification(), Classification(label_smoothing=0.1, focus=2)],
    "language-model": [LanguageModel()],
    "clustering": [Clustering(clusters=12)],
    "reconstruction": [Reconstruction(divergence=0.01), Reconstruction(error="absolute")],
    "word-embedding": [WordEmbedding(width=12)],
    "regression": [Regression(), *(Regression(error=error) for error in ("absolute", "huber", "quantile"))],
}
MARKED = Target(feature=Anomaly(column="y", values=("odd",)), state={"normal": 3}, type="string")
NONE = Target(feature=Nothing(), state={}, type="string")
TARGETS = {
    "adversarial": NONE,
    "classification": CLASSES,
    "clustering": CLASSES,
    "language-model": NONE,
    "reconstruction": MARKED,
    "regression": NUMBERS,
    "word-embedding": CLASSES,
}
ROWS = 16
LEARNT = {"adversarial": 0.95, "word-embedding": 0.7}
"""What is left of the loss at most: words that are drawn as none may be neighbours too, and noise is hard to imitate."""
USUAL = {
    "adversarial": "gan",
    "reconstruction": "autoencoder",
    "clustering": "k-means",
    "language-model": "decoder rotary",
    "word-embedding": "word2vec skip-gram",
}
"""The model that every way of an objective is tried with; otherwise an mlp."""


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
    spec = target.feature.spec(target.state)
    drawn = torch.randint(0, 3, (ROWS,)) if spec.classes else torch.randn(ROWS, *spec.shape)
    return spec, {spec.name: drawn}


def by_gradients(model, network, loss_now, *_):
    optimizer = torch.optim.Adam(network.parameters(), 0.02)
    losses = []
    for _ in range(150):
        loss = loss_now()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def by_turns(objective, network, loss_now, inputs, *_):
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


def by_passes(model, network, loss_now, inputs, targets, wanted):
    state = model.begin(inputs, wanted, 0)
    losses = [loss_now().item()]
    for _ in range(20):
        state, _ = model.step(state, model.look(state, inputs, inputs | targets))
    network.load_state_dict({name: torch.from_numpy(one.copy()) for name, one in model.weights(state).items()})
    return [*losses, loss_now().item()]


@pytest.mark.parametrize(("kind", "task", "number"), PAIRS)
def test_every_model_learns_every_objective_and_answers_the_same_when_it_is_loaded(kind, task, number):
    torch.manual_seed(0)
    (model, specs), objective, target = MODELS[kind], OBJECTIVES[task][number], TARGETS[task]
    spec, targets = targets_of(target)
    wanted = objective.outputs([spec], specs)
    network, inputs = model.build(specs, wanted), batch_of(specs)
    given = tuple(network(inputs)[wanted[0].name].shape)
    assert given == (ROWS, *(9 if size == -1 else size for size in wanted[0].shape)), "the longest row has nine steps"
    learn = by_passes if getattr(model, "passes", False) else by_turns if hasattr(objective, "turns") else by_gradients
    losses = learn(
        objective if task == "adversarial" else model,
        network,
        lambda: objective.loss(network(inputs), inputs | targets),
        inputs,
        targets,
        wanted,
    )
    assert losses[-1] < losses[0] * LEARNT.get(task, 0.5), "sixteen rows can be learned by heart"
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


FIGURES = {"confusion", "scatter", "histogram", "table", "pictures"}


def drawn_for(target, random):
    """Fifty truths."""
    if target is NUMBERS:
        return random.normal(10, 2, (50, 2))
    return random.integers(0, len(target.classes) or 2, 50)


@pytest.mark.parametrize("task", OBJECTIVE_KINDS)
def test_what_an_objective_says_of_answers_fits_together(task):
    """Metrics of the baseline, of the truth itself, and of rows that are drawn twice."""
    target = TARGETS[task]
    random = np.random.default_rng(0)
    truth = drawn_for(target, random)
    for objective in OBJECTIVES[task]:
        seen = {
            "truth": truth,
            **dict.fromkeys(("drawn", "real"), random.normal(size=(50, 16))),
            **dict.fromkeys(("zeros", TO_MEAN), random.normal(size=50) ** 2),
            **dict.fromkeys(("nats", "tokens", "alike"), random.integers(1, 9, 50).astype(float)),
            "vectors": random.normal(size=(50, 3)),
        }
        constant = objective.constant(target, seen)
        means, facts = objective.row_metrics(constant, truth), objective.facts(constant, truth)
        pooled = objective.pooled(facts)
        assert all(len(one) == 50 for one in (*means.values(), *facts.values()))
        twice, doubled = (
            objective.pooled({name: np.concatenate([one, one]) for name, one in facts.items()}),
            np.ones(50) * 2,
        )
        assert pooled(doubled) == pytest.approx(twice(np.ones(100))), "a weight of two is the row twice"
        assert objective.lower_is_better <= {*means, *pooled(np.ones(50))}
        assert objective.told(constant, truth, 0, target).note
        assert all(one["kind"] in FIGURES for one in objective.figures(facts, target))
        assert objective.baseline_name


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


def test_classification_decodes_to_probabilities_and_scores_rows():
    objective = Classification()
    logits = {"label": torch.tensor([[2.0, 0.0], [0.0, 3.0], [1.0, 0.0]])}
    two = Target(feature=Label(column="y"), state={"classes": ["0", "1"], "counts": [1, 3]}, type="int64")
    answers, truth = objective.decode(logits, {}, two), np.array([0, 1, 1])
    assert answers["probabilities"].sum(1) == pytest.approx([1, 1, 1])
    rows = objective.row_metrics(answers, truth)
    assert rows["accuracy"].tolist() == [1, 1, 0]
    assert rows["log_loss"].mean() == pytest.approx(float(objective.loss(logits, {"label": torch.tensor(truth)})))
    assert int(objective.scores(logits, {"label": torch.tensor(truth)})["accuracy"]) == 2
    assert objective.row_metrics(objective.constant(two, {"truth": truth}), truth)["accuracy"].mean() == pytest.approx(
        2 / 3
    )
    assert objective.table(answers, two)["prediction"].to_pylist() == [0, 1, 0]
    assert objective.badness(answers, truth).argmax() == 2


def test_pooled_metrics_are_those_of_scikit_learn():
    from sklearn.metrics import f1_score, r2_score, roc_auc_score

    random = np.random.default_rng(1)
    truth, weights = random.integers(0, 2, 200), random.integers(0, 4, 200).astype(float)
    second = np.round(np.clip(truth * 0.2 + random.uniform(0, 0.8, 200), 0, 1), 1).astype(np.float32)
    answers = {"probabilities": np.stack([1 - second, second], 1)}
    objective = Classification()
    found = objective.pooled(objective.facts(answers, truth))(weights)
    named = answers["probabilities"].argmax(1)
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, second, sample_weight=weights))
    assert found["f1"] == pytest.approx(f1_score(truth, named, average="macro", sample_weight=weights))
    numbers, values = random.normal(size=(200, 2)), random.normal(size=(200, 2))
    regression = Regression()
    found = regression.pooled(regression.facts({"values": values}, numbers))(weights)
    assert found["r2"] == pytest.approx(r2_score(numbers, values, sample_weight=weights))
    assert found["rmse"] == pytest.approx(np.sqrt(np.average(((values - numbers) ** 2).mean(1), weights=weights)))


def test_a_regression_answers_in_the_targets_own_units():
    outputs = {"value": torch.tensor([[0.0, 0.0], [1.0, -2.0]])}
    answers = Regression().decode(outputs, {}, NUMBERS)
    assert answers["values"].tolist() == [[10.0, -3.0], [12.0, -4.0]]
    logged = Value(columns=("y",), log=True)
    state = logged.finish(logged.fit(logged.prepare(table_of([0.0, 10.0, 1000.0, -5.0]))))
    values = logged.prepare(table_of([3.0, -7.0])).values
    learnt = logged.apply(torch.from_numpy(values), state).double().numpy()
    assert logged.restored(learnt, state) == pytest.approx(values, rel=1e-5)


def test_quantiles_are_ordered_bounds_and_are_learnt_apart():
    objective = Regression(error="quantile", quantiles=(0.1, 0.5, 0.9))
    one = Target(feature=Value(columns=("y",)), state={"mean": [0.0], "centre": [0.0], "scale": [1.0]}, type="float64")
    crossed = {"value": torch.tensor([[[3.0, 1.0, 2.0]]])}
    told = objective.table(objective.decode(crossed, {}, one), one).to_pylist()
    assert told == [{"prediction": 2.0, "low": 1.0, "high": 3.0}]
    guess = torch.zeros(1, 3, requires_grad=True)
    drawn = torch.randn(4000, 1, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam([guess], 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        objective.loss({"value": guess.expand(4000, 1, 3)}, {"value": drawn}).backward()
        optimizer.step()
    assert guess[0].tolist() == pytest.approx([-1.2816, 0.0, 1.2816], abs=0.08), "those of the normal distribution"


@pytest.mark.bad_input
def test_what_does_not_fit_is_one_line():
    with pytest.raises(
        ConfigError, match="E_CONFIG target.kind: classification takes no such target .got 'value'.; allowed: label"
    ):
        check_target(Classification(), Value(columns=("y",)))
    with pytest.raises(
        ConfigError, match="E_CONFIG train.monitor: regression has no such metric .*allowed: loss, absolute_error"
    ):
        check_monitor(Regression(), "accuracy")
    with pytest.raises(
        ConfigError, match="E_CONFIG objective.kind: the objective does not fit the target .got 'value: numbers'"
    ):
        Classification().outputs([NUMBERS.feature.spec(NUMBERS.state)], [])
    with pytest.raises(ValueError, match="quantiles have to rise"):
        Regression(quantiles=(0.5, 0.1, 0.9))


def table_of(numbers):
    import pyarrow as pa

    return pa.table({"y": numbers})
