"""Clients that share nodes do, bit for bit and byte for byte, what they do on their own."""

from collections.abc import Callable
from dataclasses import asdict, replace

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp.typing import ClientAppCallable

from fsl_sage_flwr.client_apps import label_secret_mod
from fsl_sage_flwr.messages import DESCRIBE, CommunicationLedger, NodeDescription, VirtualClient
from fsl_sage_flwr.nodes.identity import identify
from fsl_sage_flwr.nodes.label_secret import secret_of
from fsl_sage_flwr.rounds.grid.in_flight import InFlightLimit
from fsl_sage_flwr.running_code import app_code
from fsl_sage_flwr.strategies import SplitGrid, SplitStrategy, TrainingFailedError, VirtualClients

from ...memory_grid import MemoryGrid, error_instead
from ...runs import ROUNDS, Left, assert_same, fsl_sage, grid, grid_for, plain, watched
from ...tasks import CLIENTS, small_app
from .strategy_tables import ALL, BUFFERED

NODES = 2
# A simulation merges late replies only on a virtual clock, which runs one client on each node.
WAITING = {name: make for name, make in ALL.items() if name not in BUFFERED}


def without_places(left: Left, app_bytes: int = 0) -> Left:
    """Return it without node ids and seconds, which no two runs share, and without some bytes."""
    ledger = left.state["ledger"]
    ledger = {**ledger, "up_other_bytes": ledger["up_other_bytes"] - app_bytes}
    return replace(
        left,
        clients=[replace(row, node_id=0, seconds=0.0) for row in left.clients],
        state={**left.state, "ledger": ledger},
        total=left.total - app_bytes,
    )


def bytes_of_an_app() -> int:
    """Return the bytes with which a separate node names a user's app."""
    ledger = CommunicationLedger()
    place = VirtualClient(0, CLIENTS)
    sizes = [
        ledger.add("up", NodeDescription(**asdict(place), package="1", app=app).pack())
        for app in (None, app_code("tests.tasks"))
    ]
    return sizes[1] - sizes[0]


@pytest.mark.slow
@pytest.mark.parametrize("make", WAITING.values(), ids=WAITING)
def test_clients_on_shared_nodes_train_as_on_their_own(
    make: Callable[..., SplitStrategy],
) -> None:
    own = plain(make)
    nodes = grid_for(make, NODES, simulated=True)
    shared = watched(make(), VirtualClients(nodes, CLIENTS), ROUNDS, nodes=nodes)
    assert len(shared.rounds) == ROUNDS
    for ours, theirs in zip(own.rounds, shared.rounds, strict=True):
        # The server does not know the app that clients on shared nodes run.
        ours = without_places(ours, CLIENTS * bytes_of_an_app())
        theirs = without_places(theirs)
        assert_same(ours.arrays, theirs.arrays)
        assert_same(ours.state, theirs.state)
        assert (ours.clients, ours.total) == (theirs.clients, theirs.total)
        # A virtual client skips registration, but its bytes are counted.
        assert theirs.messages == ours.messages - CLIENTS
    assert all(not context.state for context in nodes.contexts.values())


@pytest.mark.slow
def test_one_client_of_a_node_is_lost_and_the_other_goes_on() -> None:
    def lose(partition: int, reply: Message) -> Message:
        client = VirtualClient.from_group_id(reply.metadata.group_id)
        is_lost = client is not None and client.partition_id == 0
        trains = reply.metadata.message_type.startswith("train")
        return error_instead(reply) if is_lost and trains else reply

    strategy, nodes = fsl_sage(), grid(NODES, tamper=lose, simulated=True)
    strategy.start(VirtualClients(nodes, 3), strategy.initial_arrays(), num_rounds=1)
    assert list(strategy.last_round.failures) == [0]
    assert strategy.last_round.clients == 2


def test_a_deployed_node_refuses_to_be_several_clients() -> None:
    strategy = fsl_sage(max_failed_rounds=1)
    with pytest.raises(TrainingFailedError, match="only a simulation's nodes"):
        strategy.start(VirtualClients(grid(NODES), 3), strategy.initial_arrays(), num_rounds=1)
    assert len(strategy.last_round.failures) == 3


SECRETS: dict[int, list[bytes | None]] = {}


def look(message: Message, context: Context, call_next: ClientAppCallable) -> Message:
    SECRETS.setdefault(identify(context).partition_id, []).append(secret_of(context))
    return call_next(message, context)


@pytest.mark.slow
def test_a_client_keeps_its_state_and_not_that_of_its_neighbour() -> None:
    SECRETS.clear()
    nodes = MemoryGrid(small_app(mods=[label_secret_mod, look]), NODES, simulated=True)
    strategy = fsl_sage()
    strategy.start(VirtualClients(nodes, 3), strategy.initial_arrays(), num_rounds=2)
    found = [set(secrets) for secrets in SECRETS.values()]
    assert len(found) == 3
    assert all(len(secrets) == 1 and None not in secrets for secrets in found)
    assert len(set.union(*found)) == 3


def test_nodes_are_counted_as_flower_has_them() -> None:
    around = SplitGrid(VirtualClients(grid(NODES), 5000), fsl_sage().ledger, lambda *_: [])
    around.under_way = InFlightLimit()
    assert len(list(around.get_node_ids())) == 5000
    assert around.under_way.limit == InFlightLimit().limit


def test_another_strategy_reaches_the_clients_too() -> None:
    clients = VirtualClients(grid(NODES, simulated=True), 3)
    questions = [Message(RecordDict(), node, DESCRIBE) for node in clients.get_node_ids()]
    answers = [reply.content.metric_records["metrics"] for reply in
               clients.send_and_receive(questions)]  # fmt: skip
    assert [(a["partition-id"], a["num-partitions"]) for a in answers] == [(0, 3), (1, 3), (2, 3)]


def test_without_nodes_there_are_no_clients() -> None:
    nodes: MemoryGrid = grid(0)
    assert list(VirtualClients(nodes, 3).get_node_ids()) == []


def test_only_its_own_text_names_a_client() -> None:
    assert VirtualClient.from_group_id(VirtualClient(3, 10).group_id) == VirtualClient(3, 10)
    for text in ("", "1", "client 3", "client 3 of 10 ", "client -1 of 10"):
        assert VirtualClient.from_group_id(text) is None
