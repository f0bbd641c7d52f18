import itertools

import pytest

from components import gate
from components.contracts.artifacts import Approval, Approved, EvalReport, Interval, Rejected
from components.gate import GateConfig


def figure(value):
    return Interval(value=value, low=value - 0.01, high=value + 0.01)


def report(accuracy, gain=None, loss_gain=0.0):
    gains = {} if gain is None else {"accuracy": figure(gain), "log_loss": figure(loss_gain)}
    metrics = {"accuracy": figure(accuracy), "log_loss": figure(0.3)}
    return EvalReport(
        package="p",
        metrics=metrics,
        champion=gains and metrics,
        gain=gains,
        baseline={},
        rows=10,
        lower_is_better=("log_loss",),
    )


@pytest.mark.parametrize("accuracy", [0.9, 0.8])
@pytest.mark.parametrize("gain", [None, 0.1, -0.02, -0.2])
@pytest.mark.parametrize("asks", [False, True])
@pytest.mark.parametrize("approval", [None, Approval(who="ada", why="trial")])
def test_every_combination_has_the_verdict_that_the_rules_say(accuracy, gain, asks, approval):
    config = GateConfig(minimum={"accuracy": 0.85}, max_regression={"accuracy": 0.05}, approval=asks)
    verdict = gate.run(config, report(accuracy, gain), approval)
    good = accuracy >= 0.85 and (gain is None or gain >= -0.05)
    expected = "approved" if approval or (good and not asks) else "awaiting" if good else "rejected"
    assert verdict.verdict == expected
    assert isinstance(verdict, Approved if expected == "approved" else Rejected)
    assert (approval is not None) == any("approved by ada: trial" in line for line in verdict.checks)


def test_each_check_has_its_line():
    config = GateConfig(minimum={"accuracy": 0.95}, maximum={"log_loss": 0.5}, max_regression={"log_loss": 0.1})
    checks = gate.run(config, report(0.9, 0.0, loss_gain=0.2)).checks
    assert checks == (
        "fail: accuracy 0.9000, at least 0.95",
        "pass: log_loss 0.3000, at most 0.5",
        "fail: log_loss +0.2000 against the champion, at most 0.1 worse",
    )


def test_a_misspelt_metric_of_the_champion_fails():
    config = GateConfig(max_regression={"acuracy": 0.1})
    for gain in (None, 0.0):
        verdict = gate.run(config, report(0.9, gain))
        assert verdict.checks == ("fail: acuracy against the champion: not measured",)


def test_a_metric_that_was_not_measured_fails():
    verdict = gate.run(GateConfig(minimum={"f1": 0.1}), report(0.9))
    assert verdict.checks == ("fail: f1 not measured, at least 0.1",)


def test_a_gate_without_checks_lets_through():
    for accuracy, gain in itertools.product([0.0, 1.0], [None, -1.0]):
        verdict = gate.run(GateConfig(), report(accuracy, gain))
        assert verdict.verdict == "approved"
        assert verdict.checks == ("pass: the recipe has no check, gate.minimum would be one",)
