"""Replies in the order of their clients."""

from collections.abc import Callable, Container, Iterable, Iterator
from typing import Generic, TypeVar

Reply = TypeVar("Reply")


class OrderedReplies(Generic[Reply]):
    """Put replies into ascending order of partition id: each waits for those before it.

    Two runs then train the server half on the same batches in the same order, while other
    clients still compute.

    Parameters
    ----------
    clients : iterable of int
        Partition ids of the clients that a reply is expected of.
    is_ready : callable, optional
        From (client, reply), when all before it are done, to whether it may be taken; if not, it
        and those behind it wait for other replies.
    """

    def __init__(
        self,
        clients: Iterable[int],
        is_ready: Callable[[int, Reply], bool] = lambda client, reply: True,
    ) -> None:
        self._queue = sorted(clients)
        self._is_ready = is_ready
        self._arrived: dict[int, Reply] = {}

    @property
    def absent(self) -> list[int]:
        """Clients in the queue without a valid reply so far."""
        return [client for client in self._queue if client not in self._arrived]

    def add(self, client: int, reply: Reply) -> None:
        """Add a valid reply; :meth:`take` returns it in its turn."""
        self._arrived[client] = reply

    def drop(self, clients: Container[int]) -> None:
        """Expect no reply of these clients."""
        self._queue = [client for client in self._queue if client not in clients]

    def take(self, excluded: Container[int]) -> Iterator[tuple[int, Reply]]:
        """Iterate over (client, reply) of all whose turn has come, without excluded clients."""
        while self._queue:
            client = self._queue[0]
            arrived = client in self._arrived
            if client not in excluded and not (
                arrived and self._is_ready(client, self._arrived[client])
            ):
                return
            del self._queue[0]
            if client not in excluded:
                yield client, self._arrived.pop(client)
            else:
                self._arrived.pop(client, None)
