"""Replies are served in order while others compute, and server time is not client time."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import pytest
from flwr.app import Message

from fsl_sage_flwr.rounds.grid.stop_watch import StopWatch
from fsl_sage_flwr.strategies import FslSage, NotFiniteWorkError

from ...memory_grid import MemoryGrid
from ...runs import fsl_sage, grid, split_fed_v1
from ...tasks import CLIENTS, small_app


class OneByOne(MemoryGrid):
    """Hands one reply over at each look, the last first if it is ``backwards``."""

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        waiting = [i for i in list(message_ids) if i in self._replies]
        return [self._replies.pop(i) for i in (waiting[-1:] if self._backwards else waiting[:1])]


def served(
    monkeypatch: pytest.MonkeyPatch,
    nodes: MemoryGrid,
    refuse: int | None = None,
    **settings: Any,
) -> tuple[FslSage, list[tuple[int, int]]]:
    """Train a round; return who was probed, and how many replies had not been looked at."""
    strategy, found = fsl_sage(**settings), []
    step = strategy.server.step

    def note(round_: Any, client: int, *args: Any, purpose: str = "server", **more: Any) -> Any:
        if purpose == "probe":
            found.append((client, len(nodes._replies)))
            if client == refuse:
                raise NotFiniteWorkError("refused")
        return step(round_, client, *args, purpose=purpose, **more)

    monkeypatch.setattr(strategy.server, "step", note)
    strategy.start(nodes, strategy.initial_arrays(), num_rounds=1)
    return strategy, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "settings", "left"),
    [
        ({}, {}, list(range(CLIENTS))[::-1]),
        ({"backwards": True}, {}, [0] * CLIENTS),
        ({}, {"max_update_ratio": 1e6}, [0] * CLIENTS),
    ],
)
def test_each_is_served_in_its_turn_as_soon_as_that_has_come(
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, bool],
    settings: dict[str, float],
    left: list[int],
) -> None:
    nodes = OneByOne(small_app(), CLIENTS, **changes)
    _, found = served(monkeypatch, nodes, **settings)
    assert found == list(zip(range(CLIENTS), left, strict=True))


@pytest.mark.slow
def test_whom_the_server_refuses_is_asked_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = grid()
    strategy, found = served(monkeypatch, nodes, refuse=0)
    assert [client for client, _ in found] == list(range(CLIENTS))
    assert [client for kind, client in nodes.types if kind.startswith("train")] == [1, 2]
    assert list(strategy.last_round.failures) == [0]
    assert strategy.last_round.clients == CLIENTS - 1


@pytest.mark.slow
def test_a_busy_server_makes_nobody_late(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    strategy = split_fed_v1(round_timeout=10.0)
    answer: Callable[..., Any] = strategy.server.step_and_get_gradients

    def slowly(*args: Any, **more: Any) -> Any:
        nonlocal now
        now += 8.0
        return answer(*args, **more)

    monkeypatch.setattr(strategy.server, "step_and_get_gradients", slowly)
    strategy.start(grid(), strategy.initial_arrays(), num_rounds=1)
    assert strategy.last_round.failures == {}
    assert all(row.seconds == 0.0 for row in strategy.client_rounds())


def test_a_watch_stands_still() -> None:
    now = 0.0
    watch = StopWatch(lambda: now)
    now = 2.0
    with suppress(ValueError), watch.stopped():
        now = 7.0
        raise ValueError
    now = 8.0
    assert watch.seconds() == 3.0
