"""At which progress each half, and each head, is stepped."""

from collections.abc import Callable
from typing import Any

import pytest

from fsl_sage_flwr.task import Batch, ClientIdentity

from ...memory_grid import MemoryGrid
from ...runs import cse_fsl, fed_avg, fsl_sage, split_fed_v1, split_fed_v2, train
from ...tasks import CLIENTS, small_app, small_batches

# The last client has two batches a round, the others five.
FIVE, TWO = [0.0, 0.2, 0.4, 0.6, 0.8], [0.0, 0.5]
EVERY_STRATEGY = [fed_avg, split_fed_v1, split_fed_v2, cse_fsl, fsl_sage]


def sized(client: ClientIdentity, seed: int) -> list[Batch]:
    return list(small_batches(client, seed))


class Record:
    """A schedule that changes nothing and records its calls."""

    def __init__(self) -> None:
        self.places: list[float] = []

    def __call__(self, progress: float) -> float:
        self.places.append(round(progress, 6))
        return 1.0


def places(make: Callable[..., Any], rounds: int, **options: Any) -> dict[str, list[float]]:
    """Return what server and clients ask their schedules in a run."""
    mine = {f"{part}_schedule": Record() for part in ("server", "auxiliary")}
    theirs = {f"{part}_schedule": Record() for part in ("client", "server", "auxiliary")}
    app = small_app(train_batches=sized, **theirs)
    train(make(mine, **options), MemoryGrid(app, CLIENTS), rounds)
    found = {f"server {name}": record.places for name, record in mine.items()}
    return found | {f"client {name}": record.places for name, record in theirs.items()}


def in_round(t: int, *parts: list[float]) -> list[float]:
    return [round(t + place, 6) for part in parts for place in part]


@pytest.mark.sample
@pytest.mark.parametrize("make", [fed_avg, cse_fsl, fsl_sage])
def test_client_halves_advance_with_their_own_batches(make: Callable[..., Any]) -> None:
    asked = places(make, 2)
    expected = in_round(0, FIVE, FIVE, TWO) + in_round(1, FIVE, FIVE, TWO)
    assert asked["client client_schedule"] == expected


@pytest.mark.slow
@pytest.mark.parametrize("make", [split_fed_v1, split_fed_v2])
def test_halves_of_split_fed_advance_together(make: Callable[..., Any]) -> None:
    asked = places(make, 2)
    expected = sorted(in_round(0, FIVE, FIVE, TWO) + in_round(1, FIVE, FIVE, TWO))
    assert sorted(asked["client client_schedule"]) == expected
    assert sorted(asked["server server_schedule"]) == expected


@pytest.mark.slow
def test_whole_clients_one_after_the_other_share_the_round() -> None:
    asked = places(split_fed_v2, 1, server_order="client")["server server_schedule"]
    assert asked == sorted(asked)
    assert len(asked) == 12
    assert {0.0, round(1 / 3, 6), round(2 / 3, 6)} <= set(asked)
    assert max(asked) < 1


@pytest.mark.slow
def test_uploads_share_the_round_among_clients() -> None:
    """Batches 0, 2 and 4 of two clients, batch 0 of the third."""
    third = [0.0, round(1 / 9, 6), round(2 / 9, 6)]
    uploads = [*third, *[round(1 / 3 + k / 9, 6) for k in range(3)], round(2 / 3, 6)]
    assert places(cse_fsl, 2)["server server_schedule"] == [*uploads, *in_round(1, uploads)]


@pytest.mark.slow
def test_a_probe_is_the_beginning_of_its_round() -> None:
    asked = places(fsl_sage, 1)["server server_schedule"]
    assert asked[:CLIENTS] == [0.0] * CLIENTS


@pytest.mark.slow
def test_heads_of_fsl_sage_have_the_rate_of_their_alignments_round() -> None:
    asked = places(fsl_sage, 3)
    assert asked["server auxiliary_schedule"] == [0.0] * CLIENTS + [2.0] * CLIENTS
    assert asked["client auxiliary_schedule"] == []


@pytest.mark.slow
def test_heads_of_cse_fsl_advance_with_the_batches() -> None:
    asked = places(cse_fsl, 1)
    assert asked["client auxiliary_schedule"] == in_round(0, FIVE, FIVE, TWO)


def test_the_server_half_of_fed_avg_advances_on_the_clients() -> None:
    asked = places(fed_avg, 1)
    assert asked["client server_schedule"] == in_round(0, FIVE, FIVE, TWO)
    assert asked["server server_schedule"] == []


@pytest.mark.slow
def test_batches_without_a_length_advance_by_round() -> None:
    record = Record()
    app = small_app(client_schedule=record, train_batches=small_batches)
    train(cse_fsl(), MemoryGrid(app, CLIENTS), 2)
    assert record.places == [0.0] * 12 + [1.0] * 12


@pytest.mark.sample
@pytest.mark.parametrize("make", EVERY_STRATEGY)
def test_a_rate_of_zero_stands_still(make: Callable[..., Any]) -> None:
    """Schedules reach the optimizers: with a factor of zero no parameter moves."""
    still = dict.fromkeys(("client_schedule", "server_schedule"), lambda progress: 0.0)
    strategy = make(still)
    before = {n: p.clone() for n, p in strategy.task.model.server.named_parameters()}
    start = strategy.initial_arrays().to_torch_state_dict()
    arrays = train(strategy, MemoryGrid(small_app(**still), CLIENTS), 1).to_torch_state_dict()
    for name, _ in strategy.task.model.client.named_parameters():
        assert arrays[name].allclose(start[name], rtol=1e-6), name
    for name, parameter in strategy.task.model.server.named_parameters():
        assert parameter.allclose(before[name], rtol=1e-6), name
