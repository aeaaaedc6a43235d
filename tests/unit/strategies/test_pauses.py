"""A client that is left out again and again is not asked for a while."""

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest

from fsl_sage_flwr.rounds.clients.cooldown import ClientCooldown
from fsl_sage_flwr.strategies import SplitStrategy

from ...memory_grid import MemoryGrid
from ...runs import assert_same, cse_fsl, grid, server_state, train
from ...tasks import CLIENTS, small_app
from .strategy_tables import every_answering_strategy
from .test_fraction_reply import SHARE, SlowGrid, asked, failing

ALL_BUT_1 = set(range(CLIENTS)) - {1}


def asked_by_round(strategy: SplitStrategy, nodes: MemoryGrid, rounds: int) -> list[set[int]]:
    found: list[set[int]] = []
    since = 0

    def each_round(server_round: int, arrays: object) -> None:
        nonlocal since
        if server_round:
            found.append(asked(nodes, since))
        since = len(nodes.types)

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=rounds, evaluate_fn=each_round)
    return found


@pytest.mark.slow
@every_answering_strategy
def test_who_fails_is_paused_and_asked_again(
    make: Callable[..., SplitStrategy], caplog: pytest.LogCaptureFixture
) -> None:
    nodes = MemoryGrid(small_app(), CLIENTS, tamper=failing(1))
    strategy = make(max_client_failures=2, pause_rounds=1)
    with caplog.at_level(logging.WARNING, "flwr.fsl_sage"):
        found = asked_by_round(strategy, nodes, 4)
    everybody = set(range(CLIENTS))
    assert found == [everybody, everybody, ALL_BUT_1, everybody]
    said = "client 1 was excluded in 2 rounds in a row and is not asked in the next 1: error 2"
    assert [text for text in caplog.messages if text.startswith(said)]


def test_a_good_round_between_two_bad_ones_starts_the_count_anew() -> None:
    pauses = ClientCooldown(after=2, rounds=3)
    for round_, bad in enumerate([{1: "x"}, {}, {1: "x"}]):
        pauses.record(round_, {0, 1} - set(bad), bad)
    assert pauses.at(3) == set()
    pauses.record(3, {0}, {1: "x"})
    assert [pauses.at(round_) for round_ in range(4, 8)] == [{1}, {1}, {1}, set()]


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{"max_client_failures": 0}, {"min_train_nodes": CLIENTS}])
def test_nobody_is_paused_where_it_is_off_or_nobody_can_be_spared(changes: dict[str, Any]) -> None:
    bad_rounds = 0

    def in_two_rounds(client: int, reply: Any) -> Any:
        nonlocal bad_rounds
        if client == 1 and reply.metadata.message_type == "train" and bad_rounds < 2:
            bad_rounds += 1
            return failing(1)(client, reply)
        return reply

    nodes = MemoryGrid(small_app(), CLIENTS, tamper=in_two_rounds)
    strategy = cse_fsl(**{"max_client_failures": 2, "pause_rounds": 9, **changes})
    assert asked_by_round(strategy, nodes, 3)[-1] == set(range(CLIENTS))


@pytest.mark.slow
def test_who_is_only_slow_is_not_paused() -> None:
    strategy = cse_fsl(fraction_reply=SHARE, max_client_failures=1)
    train(strategy, SlowGrid(), 2)
    assert strategy.pauses.at(2) == set()


@pytest.mark.slow
def test_who_was_paused_is_tried_once_after_a_checkpoint() -> None:
    """It may have been repaired. If not, it is paused again at once, and the result is the same."""
    spoiled = grid(tamper=failing(1))
    make = lambda: cse_fsl(max_client_failures=1, pause_rounds=2, keep_optimizer_state=False)  # noqa: E731
    whole, first, second = make(), make(), make()
    ours = train(whole, spoiled, 3)
    arrays = train(first, grid(tamper=failing(1)), 1)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    theirs = train(second, grid(tamper=failing(1), first_node=9), 2, arrays)
    assert second.pauses.at(2) == second.pauses.at(3) == {1}
    assert_same(ours, theirs)
    assert_same(server_state(whole), server_state(second))


@pytest.mark.slow
def test_who_was_repaired_takes_part_after_a_resume() -> None:
    first, second = (cse_fsl(max_client_failures=1, pause_rounds=9) for _ in range(2))
    arrays = train(first, grid(tamper=failing(1)), 2)
    assert first.pauses.at(2) == {1}
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    train(second, grid(), 1, arrays)
    assert second.last_round.clients == CLIENTS


def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="pause_rounds = 0: it must be at least 1"):
        cse_fsl(pause_rounds=0)
    with pytest.raises(ValueError, match="max_update_ratio = nan: it must be at least 0"):
        cse_fsl(max_update_ratio=float("nan"))
