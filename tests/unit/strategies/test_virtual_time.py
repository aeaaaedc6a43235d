"""Replies that arrive by a virtual clock: late ones are late in every run, and cost no waiting."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from flwr.app import Message, MetricRecord, RecordDict

from fsl_sage_flwr.clock.devices import Device
from fsl_sage_flwr.clock.fleet import Fleet
from fsl_sage_flwr.clock.links import Link
from fsl_sage_flwr.clock.presence import Presence
from fsl_sage_flwr.messages.reply import count_bytes
from fsl_sage_flwr.rounds.grid.inline_grid import InlineGrid
from fsl_sage_flwr.rounds.grid.virtual_time_grid import VirtualTimeGrid
from fsl_sage_flwr.strategies import SplitStrategy

from ...memory_grid import MemoryGrid
from ...runs import assert_same, cse_fsl, fsl_sage, grid, server_state, split_fed_v1, train
from ...tasks import CLIENTS, small_app
from .test_fraction_reply import SHARE, failing

SLOW = CLIENTS - 1
DEVICE, LINK = Device(1e9), Link(down=8.0, up=8.0, latency=0.1)
Make = Callable[..., SplitStrategy]


def virtual(
    *, slower: float = 1.0, presence: Presence | None = None, **link: Any
) -> VirtualTimeGrid:
    """Return nodes of which the last is that many times slower."""
    own = {SLOW: (replace(DEVICE, factor=slower), replace(LINK, **link))}
    fleet = Fleet(DEVICE, replace(LINK, **link), DEVICE, own=own)
    return VirtualTimeGrid(InlineGrid(small_app(), CLIENTS), fleet, presence or Presence())


@pytest.mark.slow
@pytest.mark.parametrize("make", [fsl_sage, split_fed_v1])
@pytest.mark.sample
def test_where_nobody_is_late_the_clock_changes_no_bit(make: Make) -> None:
    ours, plain = make(), make()
    assert_same(train(ours, virtual(slower=50.0), 2), train(plain, grid(), 2))
    assert_same(server_state(ours), server_state(plain))


@pytest.mark.slow
@pytest.mark.parametrize("make", [cse_fsl, fsl_sage])
def test_a_straggler_is_left_out_as_if_lost_and_two_runs_are_one(make: Make) -> None:
    """Its work takes years on the clock: that the test ends is a part of it."""
    ours, again, lost = make(fraction_reply=SHARE), make(fraction_reply=SHARE), make()
    arrays = train(ours, virtual(slower=1e12), 2)
    assert ours.last_round.clients == CLIENTS - 1
    assert_same(arrays, train(again, virtual(slower=1e12), 2))
    assert_same(server_state(ours), server_state(again))
    others = MemoryGrid(small_app(), CLIENTS, tamper=failing(SLOW))
    assert_same(arrays, train(lost, others, 2))
    rows = [replace(row, node_id=0) for row in ours.client_rounds()]
    assert rows == [replace(row, node_id=0) for row in again.client_rounds()]


def test_a_round_timeout_is_one_of_virtual_seconds() -> None:
    nodes, strategy = virtual(slower=1e12), cse_fsl(round_timeout=100.0)
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=1, timeout=100.0)
    assert strategy.last_round.failures == {SLOW: "no reply within 100 s"}
    assert nodes.now() >= 100.0
    seconds = {row.client: row.seconds for row in strategy.client_rounds()}
    assert seconds[SLOW] == pytest.approx(100.0, abs=0.01)


def ask(nodes: VirtualTimeGrid, node: int) -> tuple[str, Message]:
    content = RecordDict({"sent": MetricRecord({"value": 1})})
    message = nodes.new_message(content, node, "query.describe", 60.0)
    (key,) = nodes.push_messages([message])
    return key, message


def test_a_message_takes_both_delays_and_the_bytes_of_both_directions() -> None:
    nodes = virtual(down=0.001, up=0.002)
    first, *_ = nodes.get_node_ids()
    key, message = ask(nodes, first)
    assert list(nodes.pull_messages([key])) == []
    nodes.wait(0.5)
    (reply,) = nodes.pull_messages([key])
    sent, answered = (
        sum(count_bytes(record) for record in content.values())
        for content in (message.content, reply.content if reply.has_content() else RecordDict())
    )
    assert nodes.now() == pytest.approx(0.1 + sent * 8e-6 / 0.001 + answered * 8e-6 / 0.002)


def test_a_wait_ends_with_the_next_arrival_or_its_own_end() -> None:
    nodes = virtual(latency=2.0)
    key, _ = ask(nodes, next(iter(nodes.get_node_ids())))
    nodes.wait(0.5, until=1.0)
    assert nodes.now() == 1.0
    nodes.wait(0.5, until=9.0)
    assert 2.0 <= nodes.now() < 2.1
    assert len(list(nodes.pull_messages([key]))) == 1
    now = nodes.now()
    nodes.wait(0.5)
    assert nodes.now() == now + 0.5
    nodes.wait(0.5, until=now)  # already over: time passes all the same
    assert nodes.now() > now + 0.5


def test_clients_come_and_go_by_the_hours_of_the_trace() -> None:
    presence = Presence({0: [(0.0, 1.0)], 1: [(1.0, 2.0)]})
    nodes = virtual(presence=presence)
    node = list(InlineGrid(small_app(), CLIENTS).get_node_ids())
    assert list(nodes.get_node_ids()) == [node[0], *node[2:]]
    key, _ = ask(nodes, node[0])
    nodes.wait(0.0, until=3600.0)
    nodes.wait(0.0, until=3600.0)
    assert len(list(nodes.pull_messages([key]))) == 1
    assert list(nodes.get_node_ids()) == [node[1], *node[2:]]
    # A reply is lost whose client has left before it arrives.
    nodes = virtual(presence=presence, latency=8000.0)
    key, _ = ask(nodes, node[0])
    nodes.wait(9000.0)
    assert list(nodes.pull_messages([key])) == []


def test_a_strategy_trains_with_the_clients_that_are_there() -> None:
    strategy = cse_fsl()
    nodes = virtual(presence=Presence({SLOW: [(1000.0, 2000.0)]}))
    strategy.registry.registration_timeout = 0.0
    train(strategy, nodes, 2)
    assert strategy.last_round.clients == CLIENTS - 1
