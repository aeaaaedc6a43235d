"""Replies of Flower's simulation for a dead process, and forged ones."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from flwr.app import Error, Message

from fsl_sage_flwr.messages import DeadActorError
from fsl_sage_flwr.messages.reply import NOT_FROM_CLIENT_APP

from ...memory_grid import error_instead
from ...runs import assert_same, grid, server_state, train
from ...tasks import one_batch
from .bad_replies import in_round
from .strategy_tables import every_answering_strategy


def died(reply: Message) -> Message:
    answer = error_instead(reply)
    reason = "<class 'ray.exceptions.ActorDiedError'>:<'The actor died unexpectedly'>"
    answer.error = Error(NOT_FROM_CLIENT_APP, reason)
    return answer


@pytest.mark.slow
@every_answering_strategy
def test_a_simulation_ends_with_the_round_undone(make: Callable[..., Any]) -> None:
    strategy, states = make(), []

    def each_round(server_round: int, arrays: object) -> None:
        states.append(copy.deepcopy(server_state(strategy)))

    with pytest.raises(DeadActorError, match="a Ray actor has died"):
        strategy.start(
            grid(tamper=in_round(1, 2, died), batches=one_batch, simulated=True),
            strategy.initial_arrays(),
            num_rounds=3,
            evaluate_fn=each_round,
        )
    assert len(states) == 2
    assert_same(server_state(strategy), states[-1])


@pytest.mark.slow
@every_answering_strategy
def test_on_a_superlink_it_is_one_clients_word(make: Callable[..., Any]) -> None:
    strategy = make()
    train(strategy, grid(tamper=in_round(1, 2, died), batches=one_batch), 2)
    assert list(strategy.last_round.failures) == [2]
