"""Schedules against torch's own schedulers, and what a configuration may say."""

import math
import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.optim import lr_scheduler as torch_schedulers

from fsl_sage_flwr.schedules import LearningRateSchedule, constant, parse_schedule, set_rate

ROUNDS = 12
BATCHES = 5


def optimizer(rate: float = 0.5) -> torch.optim.Optimizer:
    return torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)


def rates_of_torch(make: Callable[[torch.optim.Optimizer], Any], steps: int) -> list[float]:
    ours = optimizer()
    scheduler = make(ours)
    rates = []
    for _ in range(steps):
        rates.append(ours.param_groups[0]["lr"])
        ours.step()
        scheduler.step()
    return rates


def rates_of(text: str, places: list[float]) -> list[float]:
    ours, schedule = optimizer(), parse_schedule(text, ROUNDS)
    rates = []
    for place in places:
        set_rate(ours, schedule, place)
        rates.append(ours.param_groups[0]["lr"])
    return rates


EACH_ROUND = [float(t) for t in range(ROUNDS)]
EACH_BATCH = [t + k / BATCHES for t in range(ROUNDS) for k in range(BATCHES)]
LIKE_TORCH = {
    "constant": lambda o: torch_schedulers.ConstantLR(o, factor=1.0),
    "step every=3 gamma=0.5": lambda o: torch_schedulers.StepLR(o, 3, 0.5),
    "multi_step at=2,7 gamma=0.5": lambda o: torch_schedulers.MultiStepLR(o, [2, 7], 0.5),
    "cosine": lambda o: torch_schedulers.CosineAnnealingLR(o, ROUNDS),
    "linear": lambda o: torch_schedulers.LinearLR(o, 1.0, 0.0, ROUNDS),
    "constant warmup=4": lambda o: torch_schedulers.LinearLR(o, 1 / 4, total_iters=3),
    "cosine warmup=4": lambda o: torch_schedulers.SequentialLR(
        o,
        [
            torch_schedulers.LinearLR(o, 1 / 4, total_iters=3),
            torch_schedulers.CosineAnnealingLR(o, ROUNDS - 4),
        ],
        [4],
    ),
}
BY_BATCH_LIKE_TORCH = {
    "multi_step at=1,2.4 gamma=0.5 by=batch": lambda o: torch_schedulers.MultiStepLR(
        o, [5, 12], 0.5
    ),
    "cosine by=batch": lambda o: torch_schedulers.CosineAnnealingLR(o, ROUNDS * BATCHES),
    "constant warmup=2 by=batch": lambda o: torch_schedulers.LambdaLR(
        o, lambda step: min(1.0, step / (2 * BATCHES))
    ),
}


@pytest.mark.parametrize("text", LIKE_TORCH)
def test_by_round_it_is_torchs_scheduler_stepped_once_a_round(text: str) -> None:
    assert rates_of(text, EACH_ROUND) == pytest.approx(rates_of_torch(LIKE_TORCH[text], ROUNDS))


@pytest.mark.parametrize("text", BY_BATCH_LIKE_TORCH)
def test_by_batch_it_is_torchs_scheduler_stepped_once_a_batch(text: str) -> None:
    theirs = rates_of_torch(BY_BATCH_LIKE_TORCH[text], ROUNDS * BATCHES)
    assert rates_of(text, EACH_BATCH) == pytest.approx(theirs)


@pytest.mark.parametrize("text", LIKE_TORCH)
def test_by_round_nothing_moves_within_a_round(text: str) -> None:
    within = [math.floor(place) for place in EACH_BATCH]
    assert rates_of(text, EACH_BATCH) == rates_of(text, within)


@given(
    st.sampled_from([*LIKE_TORCH, *BY_BATCH_LIKE_TORCH]),
    st.lists(st.floats(0, 2 * ROUNDS), min_size=2, max_size=5),
)
def test_the_rate_of_a_place_does_not_depend_on_the_places_before(
    text: str, places: list[float]
) -> None:
    assert rates_of(text, places) == [rates_of(text, [place])[0] for place in places]
    assert all(0 <= rate <= 0.5 for rate in rates_of(text, places))


def test_every_group_keeps_its_own_rate_and_constant_changes_no_bit() -> None:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": lr} for lr in (0.1, 0.3)]
    ours = torch.optim.SGD(groups)
    set_rate(ours, parse_schedule("step every=1 gamma=0.5", 3), 2.0)
    assert [group["lr"] for group in ours.param_groups] == [0.25 * 0.1, 0.25 * 0.3]
    set_rate(ours, constant, 3.0)
    assert [group["lr"] for group in ours.param_groups] == [0.1, 0.3]


def test_a_cosine_ends_with_the_run_unless_it_says_otherwise() -> None:
    assert parse_schedule("cosine", 40) == LearningRateSchedule("cosine", over=40)
    assert parse_schedule("cosine over=10", 40)(10) == 0.0
    assert parse_schedule("cosine over=10", 40)(30) == 0.0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "valid are constant, step, multi_step, cosine"),
        ("lines", "valid are constant, step, multi_step, cosine, linear"),
        ("step", "step needs every, e.g. 'every=30'"),
        ("multi_step gamma=0.1", "multi_step needs at, e.g. 'at=60,120'"),
        ("cosine at=3", "'at=3' is no setting of cosine; valid are by, over, warmup"),
        ("step every=0", "every='0'; one finite number above 0 is needed"),
        ("step every=nan", "every='nan'; one finite number above 0 is needed"),
        ("step every=1,2", "every='1,2'; one finite number above 0 is needed"),
        ("step every", "every=''; a number is needed"),
        ("multi_step at=5,3", "at='5,3'; rounds above 0 in ascending order are needed"),
        ("multi_step at=0,3", "at='0,3'; rounds above 0 in ascending order are needed"),
        ("multi_step at=x", "at='x'; a number is needed"),
        ("constant warmup=-1", "warmup='-1'; one finite number 0 or more is needed"),
        ("constant by=epoch", "by='epoch'; valid are round, batch"),
        ("linear warmup=50", "the linear ends after 40 rounds, but its warm-up takes 50"),
        ("cosine warmup=40", "the cosine ends after 40 rounds, but its warm-up takes 40"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_valid(text: str, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        parse_schedule(text, 40)
