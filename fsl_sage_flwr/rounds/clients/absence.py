"""Wait for nodes that are away."""

import logging
import time

from ..grid.split_grid import SplitGrid
from .client_registry import ClientRegistry

log = logging.getLogger("flwr.fsl_sage")

POLL = 1.0  # seconds between two looks at who is connected


def wait_for_nodes(
    roster: ClientRegistry, grid: SplitGrid, needed: int, available: int, timeout: float
) -> None:
    """Refresh the roster; wait while fewer nodes than a round needs are connected.

    Nodes that are connected, and do not say which client they are, are not waited for.

    Parameters
    ----------
    roster : ClientRegistry
        Which node runs which client.
    grid : SplitGrid
        Through which nodes are asked.
    needed : int
        Clients that a round needs.
    available : int
        Clients that the roster waits for by itself, for its own time.
    timeout : float
        Seconds to wait beyond that.
    """
    roster.refresh(grid, available)
    deadline, said = time.monotonic() + timeout, False
    while len(roster.nodes) < needed and time.monotonic() < deadline:
        connected = len(list(grid.get_node_ids()))
        if connected >= needed:
            return
        if not said:
            log.warning(
                "%d of %d needed nodes are connected; waiting for up to %g s (absence-timeout)",
                connected, needed, timeout,
            )  # fmt: skip
            said = True
        time.sleep(POLL)
        roster.refresh(grid, available)
