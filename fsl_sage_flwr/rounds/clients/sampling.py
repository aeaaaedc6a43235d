"""Draw the clients of a round and of an evaluation, by the seed."""

from collections.abc import Collection

from ..grid.split_grid import SplitGrid
from .absence import wait_for_nodes
from .client_registry import ClientRegistry
from .cooldown import ClientCooldown


def sample_to_train(
    registry: ClientRegistry,
    pauses: ClientCooldown,
    grid: SplitGrid,
    busy: Collection[int],
    *,
    seed: int,
    round_: int,
    fraction: float,
    fewest: int,
    available: int,
    absence_timeout: float,
) -> tuple[list[int], int]:
    """Wait for the nodes that a round needs, and draw its clients among those not paused.

    Parameters
    ----------
    registry : ClientRegistry
        Which node runs which client; it is refreshed.
    pauses : ClientCooldown
        Clients that failed often; they take part when others are missing.
    grid : SplitGrid
        Sends messages and receives replies.
    busy : collection of int
        Clients that compute since an earlier round; they count for all figures.
    seed, round_ : int
        The run's seed, and the round, from 0.
    fraction, fewest, available
        ``fraction_train``, ``min_train_nodes`` and ``min_available_nodes`` of the strategy.
    absence_timeout : float
        Seconds to wait.

    Returns
    -------
    tuple
        Partition ids, ascending, and the number of known clients.
    """
    needed = max(fewest - len(busy), 0)
    wait_for_nodes(registry, grid, needed, available, absence_timeout)
    pauses.try_again(registry.returned)
    registry.returned.clear()
    known = len({*registry.nodes, *busy})
    wanted = max(int(known * fraction), fewest) - len(busy)
    paused = pauses.at(round_)
    if len(set(registry.nodes) - paused) < needed:
        paused = set()
    clients = registry.sample(max(wanted, 0), seed, round_, without=paused | set(busy))
    return clients, known


def sample_to_evaluate(
    registry: ClientRegistry,
    grid: SplitGrid,
    *,
    seed: int,
    round_: int,
    fraction: float,
    fewest: int,
    available: int,
) -> list[int]:
    """Draw the clients that evaluate a round; parameters are those of :func:`sample_to_train`."""
    registry.refresh(grid, available)
    wanted = max(int(len(registry.nodes) * fraction), fewest)
    return registry.sample(wanted, seed, round_, "evaluate")
