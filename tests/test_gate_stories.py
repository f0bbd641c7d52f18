"""What happens to a challenger: the whole line, with the champion that stands."""

import pytest

from components import evaluate, gate, register
from components.contracts.artifacts import Approval, Approved
from components.evaluate import EvaluateConfig
from components.gate import GateConfig
from components.register import RegisterConfig
from components.train import TrainSettings
from tests.line import packaged, table_recipe, write_table

GOOD = TrainSettings(max_epochs=10, batch_size=16, learning_rate=0.03)
POOR = TrainSettings(max_epochs=1, batch_size=64, learning_rate=1e-6)
SLICES = EvaluateConfig(slices=("c", "n > 0"), search=False)


@pytest.fixture
def line(tmp_path, ctx):
    """Train with these settings, judge by this gate, and register if it may be: the verdict and who is champion."""
    folder = write_table(tmp_path / "table", rows=600)

    def run(settings, config, approval=None):
        dataset, model = packaged(table_recipe(folder, settings=settings), ctx)
        report = evaluate.run(SLICES, model, dataset, register.rival(ctx, "toy", model), ctx=ctx)
        verdict = gate.run(config, report, approval)
        if isinstance(verdict, Approved):
            register.run(RegisterConfig(name="toy"), verdict, model, ctx=ctx)
        return verdict, [one.version for _, one in register.moves_of(ctx, "toy")]

    return run


def test_a_challenger_that_is_better_beyond_doubt_is_promoted(line):
    line(POOR, GateConfig())
    verdict, champions = line(GOOD, GateConfig(min_gain={"accuracy": 0.05}))
    gain = verdict.report.gain["accuracy"]
    assert gain.low > 0.05
    assert f"beyond doubt by {gain.low:+.4f}, at least +0.05" in verdict.checks[0]
    assert champions == ["1", "2"]


def test_a_challenger_that_is_worse_than_the_champion_is_refused(line):
    line(GOOD, GateConfig())
    verdict, champions = line(POOR, GateConfig(max_regression={"accuracy": 0.01}, min_gain={"accuracy": 0.0}))
    assert verdict.verdict == "rejected"
    assert [one.partition(":")[0] for one in verdict.checks] == ["fail", "fail"]
    assert champions == ["1"]


def test_a_challenger_that_is_good_on_the_whole_and_bad_on_a_slice_is_refused(line):
    """Nearly every row whose number is above 0 is a yes, and the rest nearly all noes: one sided answers do for most."""
    verdict, champions = line(
        TrainSettings(max_epochs=3, batch_size=16, learning_rate=0.02),
        GateConfig(minimum={"accuracy": 0.5}, slice_minimum={"accuracy": 0.97}, slice_rows=5),
    )
    floor, slices = verdict.checks
    assert floor.startswith("pass: accuracy")
    worst = min(verdict.report.slices, key=lambda one: one.metrics["accuracy"].value)
    assert slices.startswith(
        f"fail: accuracy of slices: {worst.metrics['accuracy'].value:.4f} where {worst.name}, worst of"
    )
    assert {one.name for one in verdict.report.slices} == {"c is missing", "c = a", "c = b", "n > 0"}
    assert sum(one.rows for one in verdict.report.slices if one.name.startswith("c")) == verdict.report.rows
    assert (verdict.verdict, champions) == ("rejected", [])


def test_a_forced_promotion_says_for_good_who_forced_it_and_why(line, ctx):
    line(GOOD, GateConfig())
    word = Approval(who="ada", why="the old model leaks")
    verdict, champions = line(POOR, GateConfig(max_regression={"accuracy": 0.01}), word)
    assert verdict.forced
    assert verdict.checks[-1] == "forced by ada: the old model leaks"
    assert champions == ["1", "2"]
    last = register.moves_of(ctx, "toy")[-1][1]
    assert (last.how, last.who, last.why) == ("forced", "ada", "the old model leaks")
