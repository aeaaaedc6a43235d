"""Remove the clients' files when a run has ended."""

from collections import deque

from flwr.app import RecordDict

from ...messages import FORGET, in_simulation
from ..grid.split_grid import SplitGrid

# Seconds. A deployed node starts a process for the message: a few seconds, or many if it is busy.
PATIENCE = 60.0


def remove_client_files(grid: SplitGrid) -> None:
    """Tell the connected nodes to remove the run's files, and wait for their answers.

    The processes of a simulation share a folder: one is told. After the run Flower would not
    deliver the message. Another run removes files of nodes that do not get it, a week later.
    """
    nodes = list(grid.get_node_ids())
    if in_simulation():
        nodes = nodes[:1]
    questions = [grid.new_message(RecordDict(), node, FORGET, PATIENCE) for node in nodes]
    deque(grid.stream(questions, timeout=PATIENCE), maxlen=0)
