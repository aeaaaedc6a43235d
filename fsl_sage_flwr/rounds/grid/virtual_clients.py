"""More clients than nodes: each node of a simulation runs several."""

import secrets
from collections.abc import Iterable

from flwr.app import Message
from flwr.serverapp import Grid

from ...messages import VirtualClient
from .wrapped_grid import WrappedGrid


class VirtualClients(WrappedGrid):
    """Make a few nodes of a simulation look like a node for each of many clients.

    Flower's simulation looks at every message for every node, over and over: with ten thousand
    nodes that takes one of two cores. Its actors run any client on any process, so that nodes
    are names alone; :func:`~fsl_sage_flwr.nodes.virtual_client.virtual_client_mod` gives
    each client its place in the federation and its own state.

    Parameters
    ----------
    grid : Grid
        The Grid that Flower handed to the ServerApp.
    clients : int
        How many clients share its nodes.

    Attributes
    ----------
    nodes : list of int
        Ids of these nodes, as they were looked for last.
    """

    def __init__(self, grid: Grid, clients: int) -> None:
        super().__init__(grid)
        self._clients = clients
        # As Flower's: drawn anew for every run, or a run that goes on would take its nodes for
        # those that hold what the run before has left on them.
        self._first = secrets.randbits(62)
        self.nodes: list[int] = []

    def get_node_ids(self) -> Iterable[int]:
        """Return an id for each client."""
        self.nodes = sorted(self._grid.get_node_ids())
        return range(self._first, self._first + self._clients) if self.nodes else []

    def client_of(self, node: int) -> VirtualClient:
        """Return the client that one of :meth:`get_node_ids` stands for."""
        return VirtualClient(node - self._first, self._clients)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send each message to the node that its client shares."""
        return self._grid.push_messages([self._to_node(message) for message in messages])

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send each message to the node that its client shares, and return the replies."""
        shared = [self._to_node(message) for message in messages]
        return self._grid.send_and_receive(shared, timeout=timeout)

    def _to_node(self, message: Message) -> Message:
        about = message.metadata
        client = self.client_of(about.dst_node_id)
        return Message(
            message.content,
            self.nodes[client.partition_id % len(self.nodes)],
            about.message_type,
            ttl=about.ttl,
            group_id=client.group_id,
        )
