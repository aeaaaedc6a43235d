"""SplitFed: a client that is lost in a round leaves all of its batches there, or none."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import pytest
from flwr.app import Context, Message

from fsl_sage_flwr.client_apps import split_fed
from fsl_sage_flwr.nodes.exchange_state import ForwardCache
from fsl_sage_flwr.strategies import CycleSl, SplitFedV2

from ...memory_grid import MemoryGrid, Tamper
from ...rows import rows
from ...runs import Left, Past, assert_same, cycle_sl, split_fed_v1, split_fed_v2, watched
from ...tasks import BATCHES, CLIENTS, small_app, small_batches
from .bad_replies import EXCHANGE, fail, in_round

each_way = rows(
    "make",
    [split_fed_v1, split_fed_v2, partial(split_fed_v2, server_order="client"),
     partial(split_fed_v2, batches_per_exchange=2), cycle_sl],
    lambda make: make is split_fed_v1 or "batches_per_exchange" in getattr(make, "keywords", {}),
    ids=["V1", "V2", "V2, client by client", "V2, two batches an exchange", "CycleSL"],
)  # fmt: skip


def lost(client: int, exchange: int) -> Tamper:
    """Lose a client once, at an exchange counted over the whole run."""
    return in_round(exchange, client, fail, EXCHANGE)


def each(*tampers: Tamper) -> Tamper:
    def tamper(client: int, reply: Message) -> Message | None:
        for one in tampers:
            changed = one(client, reply)
            if changed is not reply:
                return changed
        return reply

    return tamper


def nodes(tamper: Tamper, mods: list[Any] | None = None) -> MemoryGrid:
    app = small_app(mods, train_batches=small_batches)
    return MemoryGrid(app, CLIENTS, tamper=tamper)


def attempts_of(nodes: MemoryGrid) -> set[int]:
    """Return in how many attempts a run's exchanges were done."""
    return {r.config_records["config"].get("attempt", 0) for r in nodes.sent if "config" in r}


def what_is_left(left: Left) -> dict[str, Any]:
    loss = left.summary.train_loss
    return {"client half": left.arrays, "server": left.server, "loss": loss}


def left_by(
    make: Callable[..., Any], tamper: Tamper, rounds: int = 3, mods: list[Any] | None = None
) -> Any:
    """Return what a run leaves, and in how many attempts its exchanges were done."""
    past = watched(make(), nodes(tamper, mods), rounds)
    return what_is_left(past.after(rounds)), attempts_of(past.nodes)


@cache
def without(make: Callable[..., Any], client: int, exchange: int) -> Past:
    """Three rounds in which a client is lost at an exchange of the second."""
    return watched(make(), nodes(lost(client, exchange)), 3)


@pytest.mark.slow
@each_way
@rows("client", [0, 1], lambda client: client == 0)
@rows(
    "rounds", [2, 3], lambda rounds: rounds == 3, ids=["in the last round", "and back in the next"]
)
def test_lost_in_mid_round_is_as_if_it_had_never_answered(
    make: Callable[..., Any], client: int, rounds: int
) -> None:
    per_round = 3 if getattr(make, "keywords", {}).get("batches_per_exchange") == 2 else BATCHES
    silent = without(make, client, per_round)
    lost_later = without(make, client, per_round + 2)
    assert_same(what_is_left(lost_later.after(rounds)), what_is_left(silent.after(rounds)))
    attempts, strategy = attempts_of(lost_later.nodes), silent.strategy
    in_step = isinstance(strategy, CycleSl) or (
        isinstance(strategy, SplitFedV2) and strategy.server_order == "batch"
    )
    assert attempts == ({0, 1} if in_step else {0})
    assert attempts_of(silent.nodes) == {0}


@pytest.mark.slow
def test_two_lost_one_after_the_other() -> None:
    """Client 1 in the first attempt, client 0 in the second; its optimizer was stepped twice."""
    again = BATCHES + 3  # three exchanges before the others begin again
    ours, attempts = left_by(split_fed_v2, each(lost(1, BATCHES + 2), lost(0, again + 1)))
    theirs, _ = left_by(split_fed_v2, each(lost(1, BATCHES), lost(0, BATCHES)))
    assert_same(ours, theirs)
    assert attempts == {0, 1, 2}


@pytest.mark.slow
def test_a_pass_of_another_attempt_is_not_gone_on_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is alive in a process which the second attempt reaches later."""
    processes = ForwardCache(), ForwardCache()

    def placed(message: Message, context: Context, call_next: Callable[..., Any]) -> Message:
        config = message.content.config_records.get("config", {})
        place = (config.get("attempt"), config.get("exchange"))
        monkeypatch.setattr(split_fed, "live_forwards", processes[place in ((0, 1), (1, 2))])
        return call_next(message, context)

    ours, attempts = left_by(split_fed_v2, lost(1, 1), 1, mods=[placed])
    theirs, _ = left_by(split_fed_v2, lost(1, 0), 1)
    assert attempts == {0, 1}
    assert_same(ours, theirs)


@pytest.mark.slow
def test_v2_keeps_all_batches_of_a_client_lost_after_its_last() -> None:
    ours, attempts = left_by(split_fed_v2, in_round(0, 1, fail), 1)
    theirs, _ = left_by(split_fed_v2, lambda client, reply: reply, 1)
    assert_same(ours["server"], theirs["server"])
    assert attempts == {0}


@pytest.mark.slow
def test_v1_drops_all_batches_of_a_client_lost_after_its_last() -> None:
    ours, _ = left_by(split_fed_v1, in_round(0, 1, fail), 1)
    theirs, _ = left_by(split_fed_v1, lost(1, 0), 1)
    assert_same(ours["server"], theirs["server"])
