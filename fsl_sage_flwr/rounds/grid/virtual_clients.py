"""Run several clients on each node of a simulation."""

import secrets
from collections.abc import Iterable

from flwr.app import Message
from flwr.serverapp import Grid

from ...messages import VirtualClient
from .wrapped_grid import WrappedGrid


class VirtualClients(WrappedGrid):
    """Show a node for each of many clients, which share a few nodes of a simulation.

    Flower's simulation polls every message for every node: with ten thousand nodes that takes
    one of two cores. Its actors run any client in any process, so nodes are only names there;
    :func:`~fsl_sage_flwr.nodes.virtual_client.virtual_client_mod` gives each client its place in
    the federation and its state.

    Parameters
    ----------
    grid : Grid
        The Grid that Flower handed to the ServerApp.
    clients : int
        Number of clients that share its nodes.

    Attributes
    ----------
    nodes : list of int
        Ids of these nodes, when they were last looked for.
    """

    def __init__(self, grid: Grid, clients: int) -> None:
        super().__init__(grid)
        self._clients = clients
        # Drawn for every run, as Flower's are: or a resumed run would take its nodes for those
        # that hold the files of the run before.
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
