"""Wait for absent nodes."""

import logging

from ..grid.split_grid import SplitGrid
from .client_registry import ClientRegistry

log = logging.getLogger("flwr.fsl_sage")

POLL = 1.0  # seconds between two looks for connected nodes


def wait_for_nodes(
    registry: ClientRegistry, grid: SplitGrid, needed: int, available: int, timeout: float
) -> None:
    """Refresh the registry; wait while fewer nodes than a round needs are connected.

    Connected nodes without a client are not waited for.

    Parameters
    ----------
    registry : ClientRegistry
        Which node runs which client.
    grid : SplitGrid
        Sends messages and receives replies.
    needed : int
        Clients that a round needs.
    available : int
        Clients that the registry waits for, within its own limits.
    timeout : float
        Seconds to wait beyond that.
    """
    registry.refresh(grid, available)
    deadline, said = grid.now() + timeout, False
    while len(registry.nodes) < needed and grid.now() < deadline:
        connected = len(list(grid.get_node_ids()))
        if connected >= needed:
            return
        if not said:
            log.warning(
                "%d of %d needed nodes are connected; waiting for up to %g s (absence-timeout)",
                connected, needed, timeout,
            )  # fmt: skip
            said = True
        grid.wait(POLL)
        registry.refresh(grid, available)
