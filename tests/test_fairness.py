"""Groups of people: what is measured, what the gate makes of it, and what thresholds, temperature and weights change."""

from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from components import evaluate, gate, package, preprocess, train
from components.adapters.compute import Compute
from components.cleaning.map_values import MapValues
from components.context import open_context
from components.contracts.artifacts import Approved
from components.contracts.errors import ConfigError, DataError
from components.contracts.placement import Placement
from components.contracts.spec import GROUPS
from components.decisions import Threshold
from components.evaluate.fairness import Said
from components.features.category import Category
from components.features.label import Label
from components.features.number import Number
from components.gate import GateConfig
from components.models.mlp import Mlp
from components.objectives.classification import Classification
from components.objectives.decision import Decision, decided, softened
from components.package import PackageConfig
from components.packages import open_package
from components.preprocess import PreprocessConfig
from components.raw_rows import folder_of
from components.sources.files import FilesSource
from components.tally import Whole
from components.train import TrainConfig, TrainSettings
from components.validate import ColumnCheck, ValidateConfig
from tests.line import SHORT, Recipe, cleaned_line

FAIR = SHORT.model_copy(update={"sensitive": ("sex",)})
pytestmark = pytest.mark.filterwarnings("ignore:.*Add type hints")


def people(folder, rows=3000, seed=0):
    """Of men more are rich, by more work and for being men."""
    random = np.random.default_rng(seed)
    folder.mkdir()
    lines = ["work,sex,income"]
    for _ in range(rows):
        sex = random.choice(["f", "m"])
        work, gift = random.normal(0.8 if sex == "m" else -0.2), 0.4 if sex == "m" else 0
        lines.append(f"{work:.4f},{sex},{'rich' if work + gift + random.normal(0, 0.7) > 0.8 else 'poor'}")
    (folder / "people.csv").write_text("\n".join(lines) + "\n")
    return Recipe(
        source=FilesSource(uri=str(folder)),
        checks=ValidateConfig(columns={"work": ColumnCheck(type="float64", nullable=False)}),
        features=(Number(columns=("work",)),),
        target=Label(column="income"),
        model=Mlp(hidden=(8,)),
        settings=TrainSettings(max_epochs=4, batch_size=64, learning_rate=0.02),
    )


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A report of the people, with these settings of package and preprocess, and what was packaged."""
    home = tmp_path_factory.mktemp("fairness")
    ctx = open_context(Placement(home=home), "people")
    ctx.compute = Compute(workers=1, synchronous=True)
    recipe = people(home / "people")

    def run(*, reweigh=(), knows=False, config=FAIR, cleaning=(), **settings):
        rows = cleaned_line(replace(recipe, cleaning=cleaning), ctx)
        features = (*recipe.features, *([Category(columns=("sex",))] if knows else []))
        prepared = PreprocessConfig(features=features, target=recipe.target, reweigh=reweigh)
        dataset = preprocess.run(prepared, rows, ctx=ctx)
        learnt = TrainConfig(model=recipe.model, objective=recipe.objective, settings=recipe.settings)
        checkpoint = train.run(learnt, dataset, ctx=ctx)
        made = package.run(PackageConfig(**settings), checkpoint, dataset, ctx=ctx)
        report = evaluate.run(config, made, dataset, None, ctx=ctx)
        return report, folder_of(made, ctx.store), dataset

    return run


def test_groups_have_their_rates_and_the_gate_judges_the_differences(line):
    report, _, _ = line()
    (found,) = report.fairness
    assert (found.column, found.positive) == ("sex", "rich")
    men, women = found.groups["sex = m"], found.groups["sex = f"]
    assert men["rows"] + women["rows"] == report.rows
    assert men["selection_rate"] > women["selection_rate"] + 0.3
    parity = found.differences["demographic_parity_difference"]
    assert parity.value == pytest.approx(men["selection_rate"] - women["selection_rate"])
    assert parity.low < parity.value < parity.high
    odds = [abs(men[one] - women[one]) for one in ("true_positive_rate", "false_positive_rate")]
    assert found.differences["equalized_odds_difference"].value == pytest.approx(max(odds))
    assert found.differences["equal_opportunity_difference"].value == pytest.approx(odds[0])
    assert {one.name for one in report.slices} == {"sex = m", "sex = f"}
    assert found.likeliest == found.champion == {}
    overall = sum(one["accuracy"] * one["rows"] for one in (men, women)) / report.rows
    assert overall == pytest.approx(report.metrics["accuracy"].value)
    verdict = gate.run(GateConfig(fairness={"demographic_parity_difference": 0.2}), report)
    assert verdict.verdict == "rejected"
    assert verdict.checks == (f"fail: demographic_parity_difference by sex {parity.value:.4f}, at most 0.2",)
    assert isinstance(gate.run(GateConfig(fairness={"demographic_parity_difference": 0.9}), report), Approved)


def test_a_fairness_rule_without_groups_fails(line):
    report, _, _ = line(config=SHORT)
    rejected = gate.run(GateConfig(fairness={"equalized_odds_difference": 1}), report)
    assert rejected.checks == ("fail: equalized_odds_difference: not measured, evaluate.sensitive would name columns",)


def counted(truth, said, groups, least=1):
    facts = {"truth": truth.astype(int), "predicted": said.astype(int)}
    return Said.of(Whole({}, facts, None), 1, np.asarray(groups, object), least)


def test_a_group_without_those_that_a_rate_is_of_is_not_judged_by_it():
    """A model that is always right is fair, although a group has nobody of whom the class is true."""
    truth = np.array([True, False] * 50 + [False] * 50)
    groups = ["a"] * 50 + ["b"] * 50 + ["c"] * 50
    found = counted(truth, truth, groups, least=30)
    assert found.differences() == {
        "demographic_parity_difference": 0.5, "equalized_odds_difference": 0.0, "equal_opportunity_difference": 0.0,
    }  # fmt: skip
    assert "true_positive_rate" not in found.table()["c"]
    assert found.table()["c"] | {"rows": 50.0, "false_positive_rate": 0.0, "accuracy": 1.0} == found.table()["c"]
    lone = counted(truth, truth, ["a"] * 100 + ["c"] * 50, least=30)
    assert set(lone.differences()) == {"demographic_parity_difference"}, "nobody to compare with"


def test_the_drawn_differences_are_those_of_fairlearn():
    from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference

    random = np.random.default_rng(0)
    truth, said, groups = random.random(500) < 0.4, random.random(500) < 0.5, random.choice(list("abc"), 500)
    often = random.integers(0, 4, 500)
    ours = counted(truth, said, groups).differences(often.astype(float))
    again = [np.repeat(one, often) for one in (truth, said, groups)]
    for name, theirs in (
        ("demographic_parity_difference", demographic_parity_difference),
        ("equalized_odds_difference", equalized_odds_difference),
    ):
        assert ours[name] == pytest.approx(theirs(again[0], again[1], sensitive_features=again[2]))


@pytest.mark.parametrize(("goal", "name"), [("parity", "demographic_parity_difference"), ("opportunity", "equal_opportunity_difference")])  # fmt: skip
def test_a_threshold_per_group_brings_groups_together_and_the_report_says_what_it_costs(line, goal, name):
    plain, _, _ = line()
    report, folder, _ = line(threshold=Threshold(goal=goal, groups=("sex",)))
    (before,), (after,) = plain.fairness, report.fairness
    assert after.differences[name].value < 0.5 * before.differences[name].value
    assert after.likeliest[name] == pytest.approx(before.differences[name].value)
    assert after.likeliest["accuracy"] == pytest.approx(plain.metrics["accuracy"].value)
    assert report.metrics["accuracy"].value < plain.metrics["accuracy"].value
    assert report.metrics["auroc"].value == plain.metrics["auroc"].value, "probabilities are as they were"
    rows = pd.DataFrame({"work": [0.5, 0.5, 0.5], "sex": ["m", "f", "x"]})
    answers = mlflow.pyfunc.load_model(str(folder)).predict(rows)
    decision = open_package(folder).decision
    bounds = [decision.thresholds[one] for one in ("m", "f", "")]
    assert bounds[0] > bounds[1]
    rich = [one[1] for one in answers["probabilities"]]
    expected = ["rich" if one >= bound else "poor" for one, bound in zip(rich, bounds, strict=True)]
    assert answers["prediction"].tolist() == expected
    assert len({round(one, 6) for one in rich}) == 1, "the model itself does not know of groups"
    with pytest.raises(Exception, match="sex"):
        mlflow.pyfunc.load_model(str(folder)).predict(rows[["work"]])


def test_a_group_is_what_cleaning_makes_of_it(line):
    """Thresholds are looked up by the cells that the model sees."""
    cleaning = (MapValues(columns=("sex",), to={"m": "man", "f": "woman"}),)
    plain, folder, _ = line(cleaning=cleaning, threshold=Threshold(goal="parity", groups=("sex",)))
    assert set(open_package(folder).decision.thresholds) == {"", "man", "woman"}
    (found,) = plain.fairness
    name = "demographic_parity_difference"
    assert found.differences[name].value < 0.5 * found.likeliest[name]


def test_weighed_groups_say_nothing_of_the_class_and_the_model_says_less_of_them(line):
    plain, _, _ = line(knows=True)
    report, _, dataset = line(reweigh=("sex",), knows=True)
    before, after = (one.fairness[0].differences["demographic_parity_difference"].value for one in (plain, report))
    assert after < before - 0.05
    assert [one.name for one in dataset.inputs] == ["numbers", "categories"]
    assert dataset.groups.config["name"] == GROUPS
    weights = np.array(dataset.group_weights)
    names = ["unknown", *dataset.groups.state["vocabularies"][0]]
    assert set(names) == {"unknown", "f", "m"}
    rich = dataset.target.state["classes"].index("rich")
    woman, man = names.index("f"), names.index("m")
    assert weights[woman, rich] > 1 > weights[man, rich]
    assert weights[man, 1 - rich] > 1 > weights[woman, 1 - rich]


def test_weights_are_those_of_the_counts(line, tmp_path):
    """Weighed, every group has the classes in the same shares, and the rows count as many as they are."""
    _, _, dataset = line(reweigh=("sex",))
    weights = np.array(dataset.group_weights)[1:]
    total = dataset.rows["train"]
    classes = np.array(dataset.target.state["counts"])
    assert set(dataset.groups.state["vocabularies"][0]) == {"f", "m"}
    # P(g)P(c)/P(g,c) gives the joint counts back; they have to be whole and to add up.
    shares = classes / total
    for row in weights:
        assert np.isfinite(row).all()
    ratio = shares / weights
    ratio = ratio / ratio.sum(1, keepdims=True)
    group = np.linalg.solve(ratio.T, shares)
    joint = ratio * group[:, None] * total
    assert np.abs(joint - joint.round()).max() < 1e-6
    assert joint.sum() == pytest.approx(total)


@pytest.mark.parametrize("goal", ["accuracy", "f1", "balanced"])
def test_a_threshold_for_everybody_reaches_its_goal_on_the_rows_it_was_found_on(goal):
    from components.decisions import _thresholds

    random = np.random.default_rng(1)
    positive = random.random(400) < 0.15
    score = np.clip(random.normal(np.where(positive, 0.5, 0.3), 0.15), 0, 1).astype(np.float32)
    found = _thresholds(Threshold(goal=goal), score, positive, None)[""]

    def reached(bound):
        said = score >= bound
        hit = (said & positive).sum()
        return {
            "accuracy": (said == positive).mean(),
            "f1": 2 * hit / (said.sum() + positive.sum()),
            "balanced": (hit / positive.sum() + (~said & ~positive).sum() / (~positive).sum()) / 2,
        }[goal]

    bounds = [*np.unique(score), 2.0]
    assert reached(found) == pytest.approx(max(reached(one) for one in bounds))
    # Best said of nobody: the top scores are a tie, most of which are not positive.
    score, positive = np.repeat(np.float32([0.6, 0.2]), [30, 70]), np.arange(100) < 12
    found = _thresholds(Threshold(goal=goal), score, positive, None)[""]
    assert reached(found) == pytest.approx(max(reached(one) for one in bounds))
    assert (found > 0.6) == (goal == "accuracy")


def test_a_temperature_makes_sure_answers_as_sure_as_they_are_right(line):
    """Logits times four are too sure by a factor of four, and stay in their order."""
    from components.decisions import _temperature

    random = np.random.default_rng(2)
    logits = random.normal(0, 1.5, (4000, 3))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    truth = np.array([random.choice(3, p=one) for one in shares])
    sure = softened(shares.astype(np.float32), 0.25)
    warmth = _temperature(sure, truth)
    assert warmth == pytest.approx(4, rel=0.1)
    objective = Classification()
    ece = [
        objective.pooled(objective.facts({"probabilities": one}, truth))(np.ones(4000))["ece"]
        for one in (sure, softened(sure, warmth))
    ]
    assert ece[0] > 0.1
    assert ece[1] < 0.03
    assert (softened(sure, warmth).argmax(1) == sure.argmax(1)).all()
    report, folder, _ = line(temperature=True)
    assert open_package(folder).decision.temperature != 1
    assert report.metrics["accuracy"].value == line()[0].metrics["accuracy"].value


def test_a_decision_without_thresholds_leaves_answers_alone():
    answers = {"probabilities": np.array([[0.4, 0.6]], np.float32)}
    found = Decision().applied(answers, pa.table({"a": [1]}))
    assert set(found) == {"probabilities"}
    assert decided(found).tolist() == [1]


def test_what_cannot_be_asked_is_said(line):
    with pytest.raises(ConfigError, match="E_CONFIG evaluate.positive: there is no such class"):
        line(config=FAIR.model_copy(update={"positive": "wealthy"}))
    with pytest.raises(DataError, match="E_COLUMN_MISSING evaluate.slices.*gender"):
        line(config=SHORT.model_copy(update={"sensitive": ("gender",)}))
    with pytest.raises(DataError, match="E_TOO_FEW_ROWS evaluate.sensitive"):
        line(config=FAIR.model_copy(update={"least_rows": 10_000}))
    with pytest.raises(DataError, match="E_COLUMN_MISSING package.threshold.groups.*gender"):
        line(threshold=Threshold(goal="parity", groups=("gender",)))
    with pytest.raises(DataError, match="E_COLUMN_MISSING reweigh.*gender"):
        line(reweigh=("gender",))
    with pytest.raises(ConfigError, match=r"E_CONFIG evaluate.sensitive: .*\(got 'income'\)"):
        line(config=FAIR.model_copy(update={"sensitive": ("income",)}))
    with pytest.raises(ConfigError, match="E_CONFIG reweigh: these columns tell too many groups apart"):
        line(reweigh=("work",))
    with pytest.raises(ValueError, match="parity is between groups"):
        Threshold(goal="parity")
