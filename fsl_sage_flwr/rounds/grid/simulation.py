"""Tell a simulation from a deployment, by Flower's record of the run."""

from flwr.serverapp import Grid

# Flower's name of the process that runs a simulation; a deployed ServerApp has another.
SIMULATION = "flwr-simulation"


def is_simulation(grid: Grid) -> bool:
    """Return whether Flower simulates the nodes of a run.

    The SuperLink decides it when ``flwr run`` submits the app, and the Grid of every ServerApp
    carries the decision. The deprecated ``run_simulation`` leaves it out: such a run counts as
    deployed.

    Parameters
    ----------
    grid : Grid
        The Grid that Flower handed to the ServerApp, or a Grid around it.
    """
    return getattr(grid.run, "primary_task_type", "") == SIMULATION
