"""A round that does not wait for everybody."""

import logging
from collections.abc import Callable

import pytest
from flwr.app import Message

from fsl_sage_flwr.messages.reply import count_bytes
from fsl_sage_flwr.strategies import SplitStrategy

from ...memory_grid import MemoryGrid
from ...runs import assert_same, cse_fsl, fsl_sage, server_state, train
from ...tasks import CLIENTS, small_app
from .bad_replies import fail
from .slow_grid import SLOW, SlowGrid
from .strategy_tables import every_answering_strategy

SHARE = (CLIENTS - 1) / CLIENTS


def failing(of: int) -> Callable[[int, Message], Message]:
    """Fail one client's answers, but for who it is."""
    return lambda client, reply: (
        fail(reply) if client == of and "describe" not in reply.metadata.message_type else reply
    )


def asked(nodes: MemoryGrid, since: int = 0) -> set[int]:
    return {client for kind, client in nodes.types[since:] if "describe" not in kind}


@pytest.mark.slow
@every_answering_strategy
def test_who_is_late_is_left_out_as_if_lost_and_nobody_waits(
    make: Callable[..., SplitStrategy], caplog: pytest.LogCaptureFixture
) -> None:
    """The round timeout is an hour: that it ends at all is what is tested."""
    caplog.set_level(logging.INFO, "flwr.fsl_sage")
    nodes = SlowGrid()
    ours, lost = make(fraction_reply=SHARE), make()
    arrays = train(ours, nodes, 2)
    others = MemoryGrid(small_app(), CLIENTS, tamper=failing(SLOW))
    first = asked(nodes)
    assert first == set(range(CLIENTS))
    assert ours.last_round.failures == {}
    assert ours.last_round.clients == CLIENTS - 1
    assert (
        f"client {SLOW} is excluded: late: {CLIENTS - 1} of {CLIENTS} had answered" in caplog.text
    )
    assert "is gone" not in caplog.text
    with pytest.raises(AssertionError):
        assert_same(arrays, train(make(), MemoryGrid(small_app(), CLIENTS), 2))
    lost_arrays = train(lost, others, 2)
    assert_same(arrays, lost_arrays)
    assert_same(server_state(ours), server_state(lost))
    # Lateness does not count towards a pause.
    assert ours.state_dict()["pauses"]["left_out"] == {}
    assert lost.state_dict()["pauses"]["left_out"] == {SLOW: 2}


@pytest.mark.slow
@pytest.mark.parametrize("make", [cse_fsl, fsl_sage])
def test_a_late_answer_is_dropped_and_its_sender_asked_again(
    make: Callable[..., SplitStrategy],
) -> None:
    nodes, strategy = SlowGrid(), make(fraction_reply=SHARE)
    asked_in, until = [], [0]

    def each_round(server_round: int, arrays: object) -> None:
        if server_round:
            asked_in.append(asked(nodes, until[0]))
        until[0] = len(nodes.types)
        nodes.slow = server_round < 2

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=4, evaluate_fn=each_round)
    fast, everyone = set(range(CLIENTS)) - {SLOW}, set(range(CLIENTS))
    assert asked_in == [everyone, fast, everyone, everyone]


@pytest.mark.slow
def test_late_answers_count_in_the_round_at_whose_end_they_are_there() -> None:
    nodes, strategy = SlowGrid(), cse_fsl(fraction_reply=SHARE)
    counted, owed = [], []

    def each_round(server_round: int, arrays: object) -> None:
        nodes.slow = False
        owed.append(strategy.take_late_replies())
        counted.append(strategy.ledger.total)
        nodes.slow = server_round == 0

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=1, evaluate_fn=each_round)
    assert owed == [0, 0]
    every = [*nodes.sent, *nodes.received]
    late = [c for c, (kind, client) in zip(nodes.sent, nodes.types, strict=True) if client == SLOW]
    assert len(late) == 2  # who it is, and the training
    assert counted[-1] == sum(count_bytes(r) for content in every for r in content.values())


@pytest.mark.slow
def test_answers_that_never_come_are_said() -> None:
    nodes, strategy = SlowGrid(), cse_fsl(fraction_reply=SHARE)
    assert strategy.take_late_replies() == 0
    train(strategy, nodes, 1)
    assert strategy.take_late_replies() == 1


def test_a_bad_answer_is_not_one_of_the_share() -> None:
    """One bad and two good of three: all have been waited for."""
    nodes = SlowGrid(tamper=failing(0))
    nodes.slow = False
    strategy = cse_fsl(fraction_reply=SHARE)
    train(strategy, nodes, 1)
    assert set(strategy.last_round.failures) == {0}
    assert strategy.last_round.clients == CLIENTS - 1


@pytest.mark.parametrize("share", [0.0, 1.5, float("nan")])
def test_a_share_that_is_none_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match=f"fraction_reply = {share}: it must be above 0"):
        cse_fsl(fraction_reply=share)
