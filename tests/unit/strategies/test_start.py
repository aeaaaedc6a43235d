"""``start`` takes what Flower's takes, in the installed version and in the next."""

import inspect
from typing import Any

import pytest
from flwr.serverapp.strategy import Result, Strategy

from fsl_sage_flwr.strategies import CseFsl, SplitStrategy

from ...runs import cse_fsl, grid


def never(server_round: int, result: Result) -> bool:
    return False


def test_start_has_every_argument_of_the_installed_flower() -> None:
    ours, theirs = (inspect.signature(kind.start).parameters for kind in (SplitStrategy, Strategy))
    assert set(theirs) <= set(ours)
    assert set(ours) - set(theirs) <= {"should_stop"}


def test_should_stop_is_passed_on_to_a_flower_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[dict[str, Any]] = []

    def start(
        self: Strategy, grid: object, initial_arrays: object, num_rounds: int = 3,
        timeout: float = 3600, train_config: object = None, evaluate_config: object = None,
        evaluate_fn: object = None, should_stop: object = "not given",
    ) -> Result:  # fmt: skip
        given.append({"num_rounds": num_rounds, "should_stop": should_stop})
        return Result()

    def nothing(self: object) -> None:
        """Flower's loop is a stand-in that trains no round."""

    monkeypatch.setattr(CseFsl, "refuse_untrained", nothing)

    monkeypatch.setattr(Strategy, "start", start)
    strategy = cse_fsl()
    strategy.start(grid(), strategy.initial_arrays(), num_rounds=2, should_stop=never)
    strategy.start(grid(), strategy.initial_arrays(), num_rounds=4)
    assert given == [
        {"num_rounds": 2, "should_stop": never}, {"num_rounds": 4, "should_stop": "not given"},
    ]  # fmt: skip


def test_an_older_flower_refuses_it_in_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(self: Strategy, grid: object, initial_arrays: object) -> Result:
        raise AssertionError("it was started")

    monkeypatch.setattr(Strategy, "start", start)
    strategy = cse_fsl()
    with pytest.raises(TypeError, match=r"should_stop: Flower \S+ has no such argument; install"):
        strategy.start(grid(), strategy.initial_arrays(), should_stop=never)
