"""Clients that fail in some rounds, drawn from the seed."""

from typing import Any

import pytest

from fsl_sage_flwr.client_apps import injected_faults_mod

from ...memory_grid import MemoryGrid
from ...rows import rows
from ...runs import cse_fsl, fed_avg, fsl_sage, split_fed_v1, split_fed_v2
from ...tasks import CLIENTS, small_app

ROUNDS, SEED = 3, 7
MAKERS = [fed_avg, split_fed_v1, split_fed_v2, cse_fsl, fsl_sage]
every_maker = rows("make", MAKERS, lambda make: make is split_fed_v2,
                   ids=[make.__name__ for make in MAKERS])  # fmt: skip


def failures(
    make: Any, *, lost_clients: float = 0.0, cut_links: float = 0.0, seed: int = SEED
) -> list[dict[int, str]]:
    """Return the excluded clients with their reasons, by round."""
    strategy, found = make(), list[dict[int, str]]()
    mod = injected_faults_mod(lost_clients=lost_clients, cut_links=cut_links, seed=seed)
    nodes = MemoryGrid(small_app(mods=[mod]), CLIENTS)

    def note(round_: int, arrays: object) -> None:
        if round_:
            found.append(dict(strategy.last_round.failures))

    strategy.start(nodes, strategy.initial_arrays(), num_rounds=ROUNDS, evaluate_fn=note)
    return found


def clients(found: list[dict[int, str]]) -> list[set[int]]:
    return [set(failed) for failed in found]


@pytest.mark.slow
@every_maker
def test_all_algorithms_lose_the_same_clients_in_the_same_rounds(make: Any) -> None:
    lost = failures(make, lost_clients=0.4)
    assert clients(lost) == clients(failures(fed_avg, lost_clients=0.4))
    assert any(lost)
    reasons = {reason for failed in lost for reason in failed.values()}
    assert all("lost by faults.lost-clients = 0.4" in reason for reason in reasons)


@pytest.mark.slow
@every_maker
def test_a_cut_link_loses_the_reply(make: Any) -> None:
    cut = failures(make, cut_links=0.4)
    assert clients(cut) == clients(failures(fed_avg, cut_links=0.4))
    reasons = {reason for failed in cut for reason in failed.values()}
    assert reasons
    assert all("lost by faults.cut-links = 0.4" in reason for reason in reasons)


@pytest.mark.slow
def test_without_faults_nobody_fails() -> None:
    assert failures(cse_fsl) == [{}] * ROUNDS


@pytest.mark.slow
def test_another_seed_loses_other_clients() -> None:
    drawn = [clients(failures(fed_avg, lost_clients=0.5, seed=seed)) for seed in range(4)]
    assert any(other != drawn[0] for other in drawn)
