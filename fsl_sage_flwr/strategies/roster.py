"""Which node runs which client."""

import logging
import random
import time
from collections.abc import Collection

from flwr.app import Message, RecordDict

from ..messages import DESCRIBE, BadReplyError, Expected, NodeDescription, open_reply
from ..seeding import derive_seed
from .split_grid import SplitGrid

log = logging.getLogger("flwr.fsl_sage")

LARGEST_DESCRIPTION = 2**16

DESCRIBE_TIMEOUT = 300.0


class Roster:
    """Clients of the federation, by partition id.

    Node ids are drawn anew in every run; a client's partition id is not. Everything that
    must be the same in two runs goes by partition id, which each node is asked for once.

    Attributes
    ----------
    nodes : dict of int to int
        Node ids of the connected clients, by partition id.
    strangers : dict of int to str
        Connected nodes that did not say which client they are, with the reason.
    trained_on : dict of int to int
        Node on which each client last trained in this run, by partition id.
    registration_timeout : float
        Seconds to wait, at first, for all clients to connect.
    answer_timeout : float
        Seconds without any answer after which nodes are no longer waited for that have not said
        which client they are. They are known once they answer, and never waited for again.
    """

    def __init__(self) -> None:
        self.registration_timeout = 60.0
        self.answer_timeout = 60.0
        self.nodes: dict[int, int] = {}
        self.strangers: dict[int, str] = {}
        self.trained_on: dict[int, int] = {}
        self._known: dict[int, int] = {}
        self._expected = 0
        self._gone: set[int] = set()
        self._silent: set[int] = set()

    def refresh(self, grid: SplitGrid, min_available_nodes: int) -> None:
        """Ask new nodes who they are and forget those that are gone.

        The first time it waits, for a bounded time, until as many nodes have registered
        as the nodes themselves say there are.
        """
        waiting = self._expected == 0
        try:
            self._wait(grid, min_available_nodes, waiting=waiting)
        finally:
            self._say_who_came_and_went(grid.busy_nodes)

    def _wait(self, grid: SplitGrid, min_available_nodes: int, *, waiting: bool) -> None:
        deadline = time.monotonic() + self.registration_timeout
        while True:
            connected = dict.fromkeys(grid.get_node_ids())  # in their order, and quick to look up
            self._describe(grid, [node for node in connected if node not in self._known])
            self._assign(connected)
            wanted = max(min_available_nodes, self._expected if waiting else 1)
            if len(self.nodes) >= wanted:
                return
            if time.monotonic() > deadline:
                log.warning("%d of %d clients are connected; going on", len(self.nodes), wanted)
                return
            time.sleep(0.2)

    def _say_who_came_and_went(self, busy: set[int]) -> None:
        here, there = len(self.nodes), max(self._expected, len(self.nodes))
        for client in sorted(self._gone & set(self.nodes)):
            log.info("client %d is back: %d of %d clients are connected", client, here, there)
        # Who owes an answer is late, not gone.
        known = {client for node, client in self._known.items() if node not in busy}
        for client in sorted(known - set(self.nodes) - self._gone):
            log.warning("client %d is gone: %d of %d clients are connected", client, here, there)
        self._gone = known - set(self.nodes)

    def sample(
        self,
        count: int,
        seed: int,
        round_: int,
        purpose: str = "sample",
        without: Collection[int] = (),
    ) -> list[int]:
        """Draw clients for a round, none of those that it is to do without; ids, ascending."""
        clients = sorted(client for client in self.nodes if client not in without)
        draw = random.Random(derive_seed(seed, purpose, round_))
        return sorted(draw.sample(clients, min(count, len(clients))))

    def _describe(self, grid: SplitGrid, nodes: list[int]) -> None:
        known = grid.clients_known(nodes)
        for node, description in known.items():
            self._know(node, description)
        nodes = [node for node in nodes if node not in known]
        if not nodes:
            return
        # Made as they are sent: of ten thousand nodes of a simulation the last wait for minutes.
        questions = (
            grid.new_message(RecordDict(), node, DESCRIBE, DESCRIBE_TIMEOUT) for node in nodes
        )
        awaited, heard = set(nodes) - self._silent, time.monotonic()

        def learn(question: Message, reply: Message) -> None:
            nonlocal heard
            heard = time.monotonic()
            self._learn(question, reply)
            awaited.discard(question.metadata.dst_node_id)

        def has_enough() -> bool:
            return not awaited or time.monotonic() - heard > self.answer_timeout

        grid.exchange(questions, learn, has_enough, on_late=self._learn)
        # In a simulation some may not have been asked before the others fell silent.
        for node in awaited & grid.busy_nodes:
            self._silent.add(node)
            silent = f"no answer for {self.answer_timeout:g} s"
            self._refuse(node, f"{silent}; if it stays so and its SuperNode runs, restart that")

    def _learn(self, question: Message, reply: Message) -> None:
        node = question.metadata.dst_node_id
        self._silent.discard(node)
        try:
            description = open_reply(reply, NodeDescription, Expected(), LARGEST_DESCRIPTION)
        except BadReplyError as error:
            self._refuse(node, str(error))
            return
        self._know(node, description)

    def _know(self, node: int, description: NodeDescription) -> None:
        self.strangers.pop(node, None)
        self._known[node] = description.partition_id
        self._expected = description.num_partitions

    def _refuse(self, node: int, reason: str) -> None:
        if self.strangers.get(node) != reason:
            log.warning("node %d does not say which client it is: %s", node, reason)
        self.strangers[node] = reason

    def _assign(self, connected: Collection[int]) -> None:
        """Assign clients to nodes; the newest wins, as a restarted node may be listed twice."""
        self.nodes = {}
        for node, partition_id in self._known.items():
            if node not in connected:
                continue
            if partition_id in self.nodes:
                former = self.nodes[partition_id]
                log.info("client %d: node %d replaces %d", partition_id, node, former)
            self.nodes[partition_id] = node
