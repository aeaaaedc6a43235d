"""Have the clients' files removed when a run has ended."""

from flwr.app import RecordDict

from ...messages import FORGET, in_simulation
from ..grid.split_grid import SplitGrid

# Seconds. A deployed node starts a process for the message: a few seconds, or many if it is busy.
PATIENCE = 60.0


def remove_client_files(grid: SplitGrid) -> None:
    """Ask the connected nodes to remove what the run has left there, and wait for their answers.

    The processes of a simulation share a folder: one is asked. After the run Flower would not
    deliver the message. Files of nodes that do not get it are removed a week later, by another run.
    """
    nodes = list(grid.get_node_ids())
    if in_simulation():
        nodes = nodes[:1]
    questions = [grid.new_message(RecordDict(), node, FORGET, PATIENCE) for node in nodes]
    grid.exchange(questions, lambda request, reply: None, timeout=PATIENCE)
