"""Step sizes over a training, shortened gradients, and how the weights of convolutions lie in memory."""

import math

import pytest
import torch

from components.train import TrainSettings
from components.train.optimizers import optimizer_of, schedule_of

PEAK, STEPS, BETAS = 0.1, 100, (0.9, 0.999)


def path(schedule, warm_up, optimizer="adamw", steps=STEPS):
    """The step size and the momentum of every step."""
    settings = TrainSettings(learning_rate=PEAK, schedule=schedule, warm_up=warm_up, optimizer=optimizer).model_dump()
    made = optimizer_of([{"params": [torch.nn.Parameter(torch.zeros(1))]}], settings, BETAS)
    planned = schedule_of(made, settings, steps, players=False, more_is_better=False)
    rates, momenta = [], []
    for _ in range(steps):
        (group,) = made.param_groups
        rates.append(group["lr"])
        momenta.append(group["betas"][0] if "betas" in group else group["momentum"])
        made.step()
        if planned is not None and len(rates) < steps:
            planned.step()
    return rates, momenta


@pytest.mark.parametrize("schedule", ["one-cycle", "cosine"])
@pytest.mark.parametrize("warm_up", [0.0, 0.1, 0.3])
def test_the_step_size_rises_for_the_warm_up_and_falls_by_a_cosine_to_zero(schedule, warm_up):
    rates, _ = path(schedule, warm_up)
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(PEAK, rel=1e-2)
    assert abs(top - max(warm_up * STEPS - 1, 0)) <= 1
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[-1] < PEAK / 1e4
    middle = (top + STEPS - 1) // 2
    share = (middle - top) / (STEPS - 1 - top)
    assert rates[middle] == pytest.approx(PEAK * (1 + math.cos(math.pi * share)) / 2, rel=0.02)


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd"])
def test_momentum_goes_the_other_way_round_in_one_cycle_alone(optimizer):
    rates, momenta = path("one-cycle", 0.3, optimizer)
    assert min(momenta) == momenta[rates.index(max(rates))] < momenta[0]
    assert momenta[-1] == pytest.approx(momenta[0])
    for schedule in ("cosine", "constant"):
        assert len(set(path(schedule, 0.3, optimizer)[1])) == 1
    assert set(path("constant", 0.3, optimizer)[0]) == {PEAK}


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_the_shortest_trainings_have_a_schedule_too(steps):
    rates, _ = path("one-cycle", 0.3, steps=steps)
    assert all(0 < one <= PEAK * 1.001 for one in rates)
