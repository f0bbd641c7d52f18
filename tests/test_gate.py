import itertools

import pytest

from components import gate
from components.contracts.artifacts import Approval, Approved, EvalReport, Rejected
from components.contracts.findings import Cost, Interval, Slice, Tryout
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
    word = "approved" if good else "forced"
    assert (approval is not None) == (f"{word} by ada: trial" in verdict.checks)


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


@pytest.mark.parametrize(
    ("shared", "rows", "passes"), [(0, 100, False), (9, 100, False), (10, 100, True), (4, 4, True)]
)
def test_a_champion_on_other_rows_is_no_comparison(shared, rows, passes):
    """Whoever is tested on rows of its own has beaten nobody."""
    rules = GateConfig(min_gain={"accuracy": 0}, max_regression={"accuracy": 0}, slice_max_regression={"accuracy": 0})
    made = sliced(("a", 50, 0.9, 0.1)).model_copy(
        update={"rival": "c", "shared": shared, "rows": rows, "gain": {"accuracy": figure(0.1)} if shared else {}}
    )
    verdict = gate.run(rules, made)
    assert (verdict.verdict == "approved") == passes
    if not passes:
        assert [line.startswith("fail") for line in verdict.checks] == [True] * 3
        assert f"only {shared} test rows are in both models' test parts" in verdict.checks[0]


def sliced(*slices, gain=True):
    """A report whose slices have these names, rows, accuracies and, against the champion, gains."""
    made = tuple(
        Slice(
            name=name,
            rows=rows,
            shared=rows,
            metrics={"accuracy": figure(value)},
            gain={"accuracy": figure(more)} if gain else {},
        )
        for name, rows, value, more in slices
    )
    return report(0.9, 0.0 if gain else None).model_copy(update={"slices": made})


def test_the_worst_slice_is_judged_and_small_ones_are_counted_and_not_judged():
    config = GateConfig(slice_minimum={"accuracy": 0.8}, slice_max_regression={"accuracy": 0.05})
    good = gate.run(config, sliced(("a", 100, 0.85, -0.02), ("b", 40, 0.81, 0.1), ("c", 29, 0.1, -0.9)))
    assert good.verdict == "approved"
    assert good.checks == (
        "pass: accuracy of slices: 0.8100 where b, worst of 2, at least 0.8; 1 of fewer than 30 rows not judged",
        (
            "pass: accuracy of slices against the champion: -0.0200 where a, worst of 2, at most 0.05 worse than the "
            "champion; 1 of fewer than 30 rows not judged"
        ),
    )
    bad = gate.run(config, sliced(("a", 100, 0.85, -0.06), ("b", 40, 0.79, 0.1)))
    assert bad.verdict == "rejected"
    assert [line.partition(":")[0] for line in bad.checks] == ["fail", "fail"]


def test_a_slice_rule_without_a_slice_fails_and_without_a_champion_passes():
    config = GateConfig(slice_minimum={"accuracy": 0.8}, slice_max_regression={"accuracy": 0.05})
    first, second = gate.run(config, sliced(gain=False)).checks
    assert first == "fail: accuracy of slices: not measured, at least 0.8"
    assert second == "pass: accuracy of slices against the champion: there is none"


@pytest.mark.parametrize(("gain", "margin", "verdict"), [(0.02, 0.0, "approved"), (0.009, 0.0, "rejected"),
                                                         (0.009, -0.005, "approved"), (0.02, 0.015, "rejected")])  # fmt: skip
def test_better_means_that_the_whole_interval_clears_the_margin(gain, margin, verdict):
    """The intervals here reach 0.01 to either side."""
    found = gate.run(GateConfig(min_gain={"accuracy": margin}), report(0.9, gain))
    assert found.verdict == verdict
    assert f"better than the champion by {gain:+.4f}, beyond doubt by {gain - 0.01:+.4f}" in found.checks[0]
    lower = gate.run(GateConfig(min_gain={"log_loss": margin}), report(0.9, 0.0, loss_gain=-gain))
    assert lower.verdict == verdict


def test_budgets_of_time_and_size_and_the_trial_alone():
    cost = Cost(latency_ms=1, latency_ms_95=3, rows_a_second=1000, size_bytes=2_000_000)
    trial = Tryout(passed=False, seconds=70, said="No module named torch")
    one = report(0.9).model_copy(update={"cost": cost, "alone": trial})
    checks = gate.run(GateConfig(max_latency_ms=2, max_size_mb=3), one).checks
    assert checks == (
        "fail: one row takes 3.00 ms, at most 2 ms",
        "pass: the package has 2.00 MB, at most 3 MB",
        "fail: does not answer its example in an environment of its own requirements (70 s): No module named torch",
    )
    better = one.model_copy(update={"alone": trial.model_copy(update={"passed": True})})
    assert gate.run(GateConfig(max_latency_ms=4), better).verdict == "approved"
    unmeasured = gate.run(GateConfig(max_latency_ms=4, max_size_mb=3), report(0.9))
    assert unmeasured.verdict == "rejected"


def test_an_approval_that_overrides_a_failed_rule_is_forced():
    word = Approval(who="ada", why="the test rows are old")
    assert gate.run(GateConfig(minimum={"accuracy": 0.95}), report(0.9), word).forced
    calm = gate.run(GateConfig(minimum={"accuracy": 0.8}, approval=True), report(0.9), word)
    assert (calm.forced, calm.approval) == (False, word)
