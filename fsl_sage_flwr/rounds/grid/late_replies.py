"""Messages whose replies are no longer waited for in their round."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from flwr.app import Message

OnLate = Callable[[Message, Message], None]
"""Called with (request, reply)."""


@dataclass(frozen=True)
class HeldReply:
    """A reply that the next round is to get.

    Attributes
    ----------
    request : Message
        The message that it answers.
    seconds : float
        Seconds that were waited for it so far.
    reply : Message or None
        The reply; None while the node computes.
    """

    request: Message
    seconds: float
    reply: Message | None


@dataclass(frozen=True)
class _LateReply:
    request: Message
    expires: float
    on_late: OnLate | None


class LateReplies:
    """Requests without a reply, until the reply arrives or the request expires.

    A node works on one message at a time. It gets no second one while it is listed here: two
    messages in flight to one node race for its state.

    Held replies are another list: a later stream resumes to wait for them, so they are neither
    pulled nor dropped in between.

    Parameters
    ----------
    clock : callable
        Returns seconds.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._late: dict[str, _LateReply] = {}
        self._held: dict[str, HeldReply] = {}

    def __contains__(self, message_id: str) -> bool:
        """Tell whether a message's reply is still missing."""
        return message_id in self._late or message_id in self._held

    @property
    def message_ids(self) -> list[str]:
        """Ids of the messages without a reply, but for held ones."""
        return list(self._late)

    @property
    def nodes(self) -> set[int]:
        """Nodes of missing and of held replies."""
        late = {late.request.metadata.dst_node_id for late in self._late.values()}
        return late | self.held_nodes

    @property
    def held_nodes(self) -> set[int]:
        """Nodes whose replies the next round is to get."""
        return {held.request.metadata.dst_node_id for held in self._held.values()}

    @property
    def missing(self) -> int:
        """Number of replies that have not been pulled."""
        return len(self._late) + sum(held.reply is None for held in self._held.values())

    def hold(
        self, message_id: str, request: Message, seconds: float, reply: Message | None = None
    ) -> None:
        """Hold a message, or its reply, for the next stream that resumes."""
        self._held[message_id] = HeldReply(request, seconds, reply)

    def resume(self) -> dict[str, HeldReply]:
        """Return the held messages by id, in the order in which they were held; hold none."""
        held, self._held = self._held, {}
        return held

    def add(
        self, message_id: str, request: Message, seconds: float, on_late: OnLate | None
    ) -> None:
        """List a message for some seconds; ``on_late`` gets the reply if it comes by then."""
        self._late[message_id] = _LateReply(request, self._clock() + seconds, on_late)

    def take(self, replies: Iterable[Message]) -> None:
        """Hand over replies that have arrived, and remove the requests that have expired."""
        for reply in replies:
            late = self._late.pop(reply.metadata.reply_to_message_id, None)
            if late is not None and late.on_late is not None:
                late.on_late(late.request, reply)
        now = self._clock()
        self._late = {key: late for key, late in self._late.items() if late.expires > now}
