"""Replies that are merged in a later round: what a run and its clients do."""

import copy
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from flwr.app import ArrayRecord

from fsl_sage_flwr.messages.reply import count_bytes
from fsl_sage_flwr.strategies import ClientRound

from ...runs import assert_same, cse_fsl, fsl_sage, server_state, train
from ...tasks import CLIENTS
from .buffered_rounds import BUFFER, Make, Nodes, after, every_make
from .slow_grid import SlowGrid
from .test_virtual_time import SLOW

ROUNDS = 5


@pytest.mark.slow
def test_a_buffer_of_all_clients_is_the_synchronous_run_on_a_virtual_clock_too() -> None:
    """The contract's table has every algorithm."""
    ours, plain = fsl_sage(asynchrony=after(CLIENTS)), fsl_sage()
    nodes, others = Nodes(3.5), Nodes(3.5)
    assert_same(train(ours, nodes, 3), train(plain, others, 3))
    assert_same(server_state(ours), server_state(plain))
    assert ours.ledger.state_dict() == plain.ledger.state_dict()
    assert [replace(row, staleness=None) for row in ours.client_rounds()] == plain.client_rounds()
    assert {row.staleness for row in ours.client_rounds()} == {0}
    assert nodes.now() == others.now()


@pytest.mark.slow
@every_make
def test_two_runs_are_one_and_the_straggler_is_merged_late(make: Make) -> None:
    runs = [make(asynchrony=after()) for _ in range(2)]
    seen: list[dict[int, int | None]] = []

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            seen.append({row.client: row.staleness for row in runs[0].client_rounds()})

    nodes = Nodes(3.5)
    first = runs[0].start(nodes, runs[0].initial_arrays(), num_rounds=6, evaluate_fn=each_round)
    assert_same(first.arrays, train(runs[1], Nodes(3.5), 6))
    assert_same(server_state(runs[0]), server_state(runs[1]))
    assert runs[0].last_round.failures == {}
    late = [tau for each in seen for client, tau in each.items() if client == SLOW and tau]
    assert late, seen
    # One message is in flight to a node at a time.
    of_slow = [answer for answer in nodes.answers if answer.client == SLOW]
    for one, following in pairwise(of_slow):
        assert one.arrives_at <= following.sent_at


@pytest.mark.slow
@every_make
def test_each_byte_is_in_one_row(make: Make) -> None:
    strategy, nodes, counted = make(asynchrony=after()), Nodes(3.5), list[ClientRound]()

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            counted.extend(strategy.client_rounds())

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=ROUNDS, evaluate_fn=each_round)
    sent = [sum(count_bytes(r) for r in a.asked.values()) for a in nodes.answers]
    assert strategy.ledger.total == sum(sent) + sum(nodes.pulled)
    described = [a for a in nodes.answers if "describe" in a.kind]
    of_rounds = strategy.ledger.total - sum(
        sum(count_bytes(r) for r in content.values())
        for answer in described
        for content in (answer.asked, answer.reply)
    )
    assert sum(row.down_bytes + row.up_bytes for row in counted) == of_rounds
    assert strategy.take_late_replies() == len(nodes.answers) - len(nodes.pulled)
    # Each request has one row, and so has each reply that was merged.
    assert len([row for row in counted if row.staleness is not None]) >= ROUNDS * BUFFER


@pytest.mark.slow
def test_a_round_has_no_more_replies_than_its_buffer_where_all_arrive_at_once() -> None:
    strategy, numbers = cse_fsl(asynchrony=after(1)), list[list[tuple[int, int | None]]]()

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        if server_round:
            merged = [row for row in strategy.client_rounds() if row.staleness is not None]
            numbers.append([(row.client, row.staleness) for row in merged])

    def two_alike(*args: Any) -> float:
        return 1.0

    nodes = Nodes()
    nodes._seconds = two_alike  # type: ignore[method-assign]
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=4, evaluate_fn=each_round)
    assert numbers == [[(0, 0)], [(1, 1)], [(2, 2)], [(0, 2)]]


@every_make
def test_a_resumed_run_asks_the_clients_again_whose_replies_were_in_flight(make: Make) -> None:
    """State is that of the checkpoint, and no reply to the run before is merged."""
    before, nodes = make(asynchrony=after()), Nodes(3.5)
    arrays = train(before, nodes, 3)
    assert before.asynchrony is not None
    assert before.asynchrony.busy
    saved = before.state_dict()
    ends = list[tuple[ArrayRecord, dict[str, Any]]]()
    for _ in range(2):
        resumed, again = make(asynchrony=after()), Nodes(3.5)
        resumed.load_state_dict(copy.deepcopy(saved))
        result = resumed.start(again, arrays, num_rounds=2)
        assert result.arrays is not None
        first = {a.client for a in again.trained if a.sent_at == again.trained[0].sent_at}
        assert first == set(range(CLIENTS))
        ends.append((result.arrays, server_state(resumed)))
    assert_same(ends[0], ends[1])


@pytest.mark.slow
def test_a_straggler_that_fails_is_excluded_and_asked_again() -> None:
    """Its first reply of training is empty; the others' rounds are not delayed by it."""
    strategy, failures = cse_fsl(asynchrony=after()), list[dict[int, str]]()

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        failures.append(dict(strategy.last_round.failures))

    nodes = Nodes(3.5, failing=[2 * CLIENTS - 1])
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=8, evaluate_fn=each_round)
    failed = [number for number, each in enumerate(failures) if SLOW in each]
    assert len(failed) == 1
    assert failed[0] > 1
    assert len([a for a in nodes.trained if a.client == SLOW]) == 2


@pytest.mark.slow
def test_a_reply_that_takes_longer_than_the_round_timeout_is_given_up() -> None:
    strategy = cse_fsl(asynchrony=after(), round_timeout=1.0)
    nodes, failures = Nodes(1e12), list[dict[int, str]]()

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        failures.append(dict(strategy.last_round.failures))

    strategy.start(
        nodes, strategy.initial_arrays(), num_rounds=12, timeout=1.0, evaluate_fn=each_round
    )
    assert {SLOW: "no reply within 1 s"} in failures


@pytest.mark.slow
def test_a_share_of_clients_is_the_number_that_compute_at_a_time() -> None:
    strategy, nodes = cse_fsl(asynchrony=after(1), fraction_train=0.7), Nodes(3.5)
    train(strategy, nodes, 6)
    for answer in nodes.trained:
        at_once = [
            other for other in nodes.trained if other.sent_at <= answer.sent_at < other.arrives_at
        ]
        assert len(at_once) <= 2  # 0.7 of three


def test_in_a_deployment_a_late_reply_is_merged_by_the_machines_clock() -> None:
    """The last node's reply to the first round comes when three rounds have counted."""
    strategy, nodes = cse_fsl(asynchrony=after()), SlowGrid()
    seen: list[dict[int, int | None]] = []

    def each_round(server_round: int, arrays: ArrayRecord) -> None:
        nodes.slow = server_round < 3
        if server_round:
            merged = [row for row in strategy.client_rounds() if row.staleness is not None]
            seen.append({row.client: row.staleness for row in merged})

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=5, evaluate_fn=each_round)
    assert seen == [{0: 0, 1: 0}, {0: 0, 1: 0}, {0: 0, 1: 0}, {0: 0, SLOW: 3}, {0: 0, 1: 1}]
    asked = [client for kind, client in nodes.types if kind.startswith("train")]
    assert asked == [0, 1, 2, 0, 1, 0, 1, 0, 1, 0, 2]
