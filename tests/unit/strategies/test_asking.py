"""Recipients of messages, and the cause of a missing reply."""

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

import pytest
from flwr.app import Message

from fsl_sage_flwr.rounds.clients import absence
from fsl_sage_flwr.rounds.grid.split_grid import SERVER_TIME, SplitGrid
from fsl_sage_flwr.strategies import SplitStrategy, TrainingFailedError

from ...memory_grid import MemoryGrid
from ...runs import assert_same, cse_fsl, fed_avg, grid, plain, server_state, split_fed_v1, train
from ...tasks import CLIENTS, small_app
from .strategy_tables import TWO, every_strategy
from .test_federated_evaluation import WITH_VALIDATION, nodes
from .test_fraction_reply import failing


class Few:
    """Room for this number of messages in flight."""

    def __init__(self, limit: int) -> None:
        self.limit = limit

    def know_nodes(self, nodes: int) -> None: ...

    def begin(self, most: int | None = None) -> None: ...

    def record_answers(self, answers: int) -> None: ...


def simulated(strategy: SplitStrategy, nodes: MemoryGrid, limit: int) -> SplitGrid:
    """Return the strategy's Grid as it is in a simulation."""
    wrapped = strategy.wrap_grid(nodes)
    wrapped.under_way = Few(limit)  # type: ignore[assignment]
    return wrapped


def silent(clients: Iterable[int], kind: str = "") -> Callable[[int, Message], Message | None]:
    """Swallow these clients' answers of a kind, but who they are."""
    return lambda client, reply: (
        None
        if client in clients
        and reply.metadata.message_type.startswith(kind)
        and "describe" not in reply.metadata.message_type
        else reply
    )


@pytest.mark.slow
@pytest.mark.usefixtures("still_time")
@every_strategy
def test_clients_behind_those_that_hang_are_asked_in_the_same_round(
    make: Callable[..., SplitStrategy],
) -> None:
    strategy = make(round_timeout=0.1, max_client_failures=5)
    nodes = grid(CLIENTS + 2, tamper=silent({0, 1}))
    strategy.start(simulated(strategy, nodes, 2), strategy.initial_arrays(), num_rounds=1)
    assert strategy.last_round.failures == dict.fromkeys((0, 1), "no reply within 0.1 s")
    assert strategy.last_round.clients == CLIENTS
    assert strategy.state_dict()["pauses"]["left_out"] == {0: 1, 1: 1}


@pytest.mark.usefixtures("still_time")
@every_strategy
def test_clients_that_were_never_asked_are_not_blamed(make: Callable[..., SplitStrategy]) -> None:
    strategy = make(round_timeout=0.02, max_client_failures=1, max_failed_rounds=9)
    nodes = grid(9, tamper=silent(range(9)))
    with pytest.raises(TrainingFailedError, match="no round was trained"):
        strategy.start(simulated(strategy, nodes, 2), strategy.initial_arrays(), num_rounds=1)
    asked = {client for kind, client in nodes.types if "describe" not in kind}
    assert asked == {0, 1, 2, 3}
    reasons = {strategy.last_round.failures[client] for client in set(range(9)) - asked}
    assert reasons == {"not asked: clients asked before it did not answer in time"}
    assert strategy.pauses.at(1) == asked


@pytest.mark.usefixtures("still_time")
def test_a_late_answer_makes_room_for_those_behind_it() -> None:
    """They are asked as soon as it comes, before its place failed."""

    class Late(MemoryGrid):
        looks = 0

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            of_train = [i for i, r in self._replies.items() if "describe" not in
                        r.metadata.message_type and r.metadata.src_node_id == 1000]  # fmt: skip
            self.looks += bool(of_train)
            held = set(of_train) if self.looks < 8 else set()
            return super().pull_messages([i for i in message_ids if i not in held])

    strategy, nodes = cse_fsl(round_timeout=0.05), Late(small_app(), CLIENTS)
    strategy.start(simulated(strategy, nodes, 1), strategy.initial_arrays(), num_rounds=1)
    assert set(strategy.last_round.failures) == {0}
    assert strategy.last_round.clients == CLIENTS - 1


@pytest.mark.usefixtures("still_time")
def test_an_evaluation_says_who_was_not_asked() -> None:
    strategy = fed_avg(WITH_VALIDATION, fraction_evaluate=1.0, round_timeout=0.02)
    tampered = nodes(tamper=silent(range(CLIENTS), "evaluate"))
    strategy.start(simulated(strategy, tampered, 1), strategy.initial_arrays(), num_rounds=1)
    why = strategy.last_round.failures
    assert why[0] == "evaluation: no reply in time"
    assert why[CLIENTS - 1] == "evaluation: not asked in time"


def test_making_and_sending_messages_makes_nobody_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)

    class Slow(MemoryGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            nonlocal now
            now += 8.0
            return super().push_messages(messages)

    strategy = split_fed_v1(round_timeout=10.0)
    around = simulated(strategy, Slow(small_app(), CLIENTS), 2)
    strategy.start(around, strategy.initial_arrays(), num_rounds=1)
    assert strategy.last_round.failures == {}
    assert all(row.seconds == 0.0 for row in strategy.client_rounds())


def test_a_message_lives_longer_than_its_answer_is_waited_for() -> None:
    lives = []

    class Lives(MemoryGrid):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            messages = list(messages)
            lives.extend(m.metadata.ttl for m in messages if "describe" not in
                         m.metadata.message_type)  # fmt: skip
            return super().push_messages(messages)

    strategy = fed_avg(WITH_VALIDATION, fraction_evaluate=1.0, round_timeout=5.0)
    federation = nodes()
    federation.__class__ = Lives
    train(strategy, federation, 1)
    assert lives == [5.0 + SERVER_TIME] * 2 * CLIENTS


class Refusing(MemoryGrid):
    """Takes no message of a kind to a client, and reports it as Flower's Grids do."""

    def __init__(self, how: str, kind: str) -> None:
        super().__init__(small_app(), CLIENTS)
        self._how, self._kind = how, kind

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        messages = list(messages)
        bad = [m for m in messages if self.partition[m.metadata.dst_node_id] == 1
               and m.metadata.message_type.startswith(self._kind)]  # fmt: skip
        if bad and self._how == "all are refused":
            return []
        ids = iter(super().push_messages([m for m in messages if m not in bad]))
        if self._how == "its id is empty":
            return ["" if m in bad else next(ids) for m in messages]
        return list(ids)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "reason"),
    [
        ("all are refused", "MiB (HTTP 413: raise the proxy's limit"),
        ("its id is empty", "the SuperLink no longer knows this node"),
        ("its id is left out", "or no longer knows the node"),
    ],
)
@pytest.mark.parametrize("make", TWO)
def test_a_refused_message_leaves_its_client_out_alone(
    make: Callable[..., SplitStrategy], how: str, reason: str
) -> None:
    strategy = make()
    kind = next(k for k, _ in plain(make).nodes.types if "describe" not in k)
    arrays = train(strategy, Refusing(how, kind), 1)
    assert set(strategy.last_round.failures) == {1}
    assert reason in strategy.last_round.failures[1]
    lost = make()
    theirs = train(lost, MemoryGrid(small_app(), CLIENTS, tamper=failing(1)), 1)
    assert_same(arrays.to_torch_state_dict(), theirs.to_torch_state_dict())
    assert_same(server_state(strategy), server_state(lost))
    assert strategy.last_round.clients == CLIENTS - 1


@pytest.mark.slow
def test_nodes_that_are_all_away_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As many looks as a minute has, before they are back."""
    caplog.set_level(logging.WARNING, "flwr.fsl_sage")
    theirs, strategy, nodes = plain(cse_fsl).after(2), cse_fsl(), grid()
    strategy.registry.registration_timeout = 0.0
    monkeypatch.setattr(absence, "POLL", 0.0)
    away, looks = dict[int, Any](), 0
    refresh = strategy.registry.refresh

    def look(*args: Any) -> None:
        nonlocal looks
        looks += 1
        if looks == 60:
            nodes.contexts.update(away)
        refresh(*args)

    def each_round(server_round: int, arrays: object) -> None:
        if server_round == 1:
            monkeypatch.setattr(strategy.registry, "refresh", look)
            away.update(nodes.contexts)
            nodes.contexts.clear()

    arrays = strategy.start(
        nodes, strategy.initial_arrays(), num_rounds=2, evaluate_fn=each_round
    ).arrays
    assert looks == 60
    assert_same(arrays.to_torch_state_dict(), theirs.arrays)
    assert_same(server_state(strategy), theirs.server)
    said = "0 of 1 needed nodes are connected; waiting for up to 600 s (absence-timeout)"
    assert caplog.text.count(said) == 1


def test_absence_has_an_end() -> None:
    strategy, nodes = cse_fsl(absence_timeout=0.0, max_failed_rounds=9), grid()
    strategy.registry.registration_timeout = 0.0
    nodes.contexts.clear()
    with pytest.raises(TrainingFailedError, match="no round was trained: round 2 failed"):
        train(strategy, nodes, 2)
    assert strategy.rounds_done == 2
