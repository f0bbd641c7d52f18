"""What each objective makes of outputs, and what it says of answers."""

import numpy as np
import pytest
import torch

from components.contracts.errors import ConfigError
from components.features.label import Label
from components.features.value import Value
from components.objectives import KINDS as OBJECTIVE_KINDS
from components.objectives.classification import Classification
from components.objectives.clustering import TO_MEAN
from components.objectives.objective import Target, check_monitor, check_target
from components.objectives.regression import Regression
from tests.models.cases import NUMBERS, OBJECTIVES, SEVERAL, TARGETS

FIGURES = {"confusion", "scatter", "curves", "histogram", "table", "pictures"}


def drawn_for(target, random):
    """Fifty truths."""
    if target is NUMBERS:
        return random.normal(10, 2, (50, 2))
    if target is SEVERAL:
        return random.integers(0, 2, (50, 3))
    return random.integers(0, len(target.classes) or 2, 50)


@pytest.mark.parametrize("task", sorted(set(OBJECTIVE_KINDS) - {"several"}))
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
        # Where rows are judged by their neighbours, a row's double would be one.
        if task != "metric-learning":
            assert pooled(doubled) == pytest.approx(twice(np.ones(100))), "a weight of two is the row twice"
        assert objective.lower_is_better <= {*means, *pooled(np.ones(50))} <= set(objective.metrics)
        assert objective.told(constant, truth, 0, target).note
        assert all(one["kind"] in FIGURES for one in objective.figures(facts, target))
        assert objective.baseline_name


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
