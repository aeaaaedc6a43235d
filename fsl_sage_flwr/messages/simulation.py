"""Whether this process is one of Flower's simulation.

Not by Ray alone: Flower starts the ServerApp, and loads Ray beside it.
"""

import sys

_SIMULATION, _RAY = "flwr.simulation", "ray"


def in_simulation() -> bool:
    """Tell whether this is a simulation's ServerApp, or one of its actors."""
    return _SIMULATION in sys.modules


def in_actor() -> bool:
    """Tell whether this is one of a simulation's actors, and no node that is deployed."""
    return in_simulation() and _RAY in sys.modules
