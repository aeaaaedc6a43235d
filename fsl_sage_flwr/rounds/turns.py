"""The replies of one round, each served when its turn has come."""

from collections.abc import Callable, Container, Iterable
from typing import Generic, TypeVar

Reply = TypeVar("Reply")
Kept = TypeVar("Kept")


class Turns(Generic[Reply, Kept]):
    """Serve replies in ascending order of partition id: each waits for those before it.

    Two runs then train the server half on the same batches in the same order, and it is
    trained while other clients are still at work.

    Parameters
    ----------
    clients : iterable of int
        Partition ids of those that were asked.
    serve : callable
        Called with (client, reply); returns what is kept of the reply.
    may_serve : callable, optional
        Called with (client, reply) in its turn; false: it and those behind it wait for others.

    Attributes
    ----------
    arrived : dict of int to Reply
        Those that wait for their turn.
    served : dict of int to Kept
        What is kept of the replies that have been served, by partition id in ascending order.
    """

    def __init__(
        self,
        clients: Iterable[int],
        serve: Callable[[int, Reply], Kept],
        may_serve: Callable[[int, Reply], bool] = lambda client, reply: True,
    ) -> None:
        self._queue = sorted(clients)
        self._serve, self._may_serve = serve, may_serve
        self.arrived: dict[int, Reply] = {}
        self.served: dict[int, Kept] = {}

    @property
    def absent(self) -> list[int]:
        """Clients in the queue that have sent no good reply yet."""
        return [client for client in self._queue if client not in self.arrived]

    def take(self, client: int, reply: Reply) -> None:
        """Take a good reply; :meth:`advance` serves it."""
        self.arrived[client] = reply

    def advance(self, lost: Container[int]) -> None:
        """Serve all whose turn has come; do not wait for clients that are lost."""
        while self._queue:
            client = self._queue[0]
            if client not in lost and not (
                client in self.arrived and self._may_serve(client, self.arrived[client])
            ):
                return
            reply = self.arrived.pop(client, None)
            if client not in lost and reply is not None:
                kept = self._serve(client, reply)
                if client not in lost:  # its work may have been refused
                    self.served[client] = kept
            self._queue.pop(0)
