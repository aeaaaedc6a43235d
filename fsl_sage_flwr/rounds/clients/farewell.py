"""Remove the clients' files when a run has ended."""

from collections import deque

from flwr.app import RecordDict

from ...messages import FORGET
from ..grid.reply_stream import ReplyStream
from ..grid.split_grid import SplitGrid

# Seconds. A deployed node starts a process for the message, which takes longer when it is busy.
PATIENCE = 60.0


def remove_client_files(grid: SplitGrid) -> None:
    """Ask the connected nodes to remove the run's files, and wait for their answers.

    The processes of a simulation share a folder, so one node is asked. Flower delivers no message
    after the run. A node that misses the message removes the files a week later, in another run.
    """
    nodes = list(grid.get_node_ids())
    if grid.simulated:
        nodes = nodes[:1]
    questions = [grid.new_message(RecordDict(), node, FORGET, PATIENCE) for node in nodes]
    deque(ReplyStream(grid, questions, timeout=PATIENCE), maxlen=0)
