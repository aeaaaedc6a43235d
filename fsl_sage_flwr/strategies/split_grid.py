"""A Grid that counts bytes and hands replies over as they arrive."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Protocol, runtime_checkable

from flwr.app import Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ..messages import CommunicationLedger, NodeDescription, in_simulation
from .client_round import NodeTraffic
from .stop_watch import StopWatch
from .under_way import UnderWay
from .virtual_clients import VirtualClients
from .wrapped_grid import WrappedGrid

SHORTEST_PAUSE = 0.015
LONGEST_PAUSE = 0.5
PAUSE_SHARE = 0.1  # the next wait, as a share of the time since the last reply came

OnReply = Callable[[Message, Message], Message | None]
OnLate = Callable[[Message, Message], None]


@dataclass(frozen=True)
class Owed:
    """An answer that nobody waits for any more: whose, until when, and who takes it."""

    node: int
    expires: float
    take: Callable[[Message], None] | None


@runtime_checkable
class MakesMessages(Protocol):
    """A Grid that makes its messages itself: one outside of a run, where Flower cannot."""

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Return a message to a node."""


class SplitGrid(WrappedGrid):
    """Wrap a Grid for one strategy.

    Flower's ``send_and_receive`` returns when the last reply is there, and looks every
    three seconds. This one gives each reply to ``on_reply`` as soon as it arrives, so
    that the server half is trained while other clients are still at work, and counts
    what is sent and received.

    Parameters
    ----------
    grid : Grid
        The Grid that Flower handed to the ServerApp.
    ledger : CommunicationLedger
        Counts every message.
    on_reply : callable
        Called with (request, reply) for each reply to :meth:`send_and_receive`, in order
        of arrival. An error's sender may be the SuperLink: the request says whose it is. It
        returns the next message to the same node, if there is one.
    has_enough : callable, optional
        Tells whether :meth:`send_and_receive` need not wait for the other replies.
    most_at_once : callable, optional
        Tells how many nodes of a simulation :meth:`send_and_receive` may have at work, if they
        shall be fewer than there might be; or None.

    Attributes
    ----------
    under_way : UnderWay or None
        How many messages are sent and not answered at a time; None, outside of a simulation: all.
    """

    def __init__(
        self,
        grid: Grid,
        ledger: CommunicationLedger,
        on_reply: OnReply,
        has_enough: Callable[[], bool] = lambda: False,
        most_at_once: Callable[[], int | None] = lambda: None,
    ) -> None:
        super().__init__(grid)
        self._ledger = ledger
        self._on_reply = on_reply
        self._has_enough = has_enough
        self._most_at_once = most_at_once
        self.under_way = UnderWay() if in_simulation() else None
        self._unanswered: dict[str, Owed] = {}
        self._asked: dict[str, int] = {}
        self._handed_over: list[Message] = []
        self._traffic: defaultdict[int, NodeTraffic] = defaultdict(NodeTraffic)

    def new_round(self) -> Mapping[int, NodeTraffic]:
        """Return the traffic by node from here to the next call; it grows as it happens."""
        self._traffic = defaultdict(NodeTraffic)
        self._asked = {key: node for key, node in self._asked.items() if key in self._unanswered}
        return self._traffic

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Return a message of a type to a node, to be answered within ``ttl`` seconds."""
        if isinstance(self._grid, MakesMessages):
            return self._grid.new_message(content, node, kind, ttl)
        return Message(content, node, kind, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the connected nodes that owe no answer.

        A node that is still at work on a message whose time ran out would otherwise get
        a second one, and two messages in flight race for the node's state.
        """
        self.take_late_replies()
        busy, nodes = self.busy_nodes, list(self._grid.get_node_ids())
        if self.under_way is not None:
            grid = self._grid
            self.under_way.know_nodes(
                len(grid.nodes if isinstance(grid, VirtualClients) else nodes)
            )
        return [node_id for node_id in nodes if node_id not in busy]

    def clients_known(self, nodes: Iterable[int]) -> dict[int, NodeDescription]:
        """Return which clients nodes run, of those that need not be asked.

        Who shares a node has been told by this process which client to be. Bytes are counted as
        if each had been asked, which clients on nodes of their own are.
        """
        if not isinstance(self._grid, VirtualClients):
            return {}
        clients = {node: self._grid.client_of(node) for node in nodes}
        found = {node: NodeDescription(**asdict(client)) for node, client in clients.items()}
        for description in found.values():
            self._ledger.add("down", RecordDict())
            self._ledger.add("up", description.pack())
        return found

    @property
    def busy_nodes(self) -> set[int]:
        """Nodes that owe an answer which nobody waits for any more."""
        return {owed.node for owed in self._unanswered.values()}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, counted."""
        messages = list(messages)
        for message in messages:
            size = self._ledger.add("down", message.content)
            self._traffic[message.metadata.dst_node_id].down_bytes += size
        ids = list(self._grid.push_messages(messages))
        self._asked.update(zip(ids, (m.metadata.dst_node_id for m in messages), strict=True))
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Receive what has arrived, counted."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            if reply.has_content():
                size = self._ledger.add("up", reply.content)
                # The sender could lie about who it is, but not about which message it answers.
                node = self._asked.get(reply.metadata.reply_to_message_id)
                if node is not None:
                    self._traffic[node].up_bytes += size
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and hand over replies until all are there or time is up.

        Parameters
        ----------
        messages : iterable of Message
            At most one per node.
        timeout : float, optional
            Seconds to wait for the reply to each; None waits as long as the messages live.

        Returns
        -------
        list of Message
            The replies, errors among them, in order of arrival; until :meth:`let_go_of_replies`.
            Those to queries, which precede a node's last message, are the strategy's alone: a
            strategy around it may give a round up for one error.
        """
        handed_over = self._handed_over = list[Message]()

        def receive(request: Message, reply: Message) -> Message | None:
            following = self._on_reply(request, reply)
            kind = request.metadata.message_type
            if following is None and kind.partition(".")[0] != MessageType.QUERY:
                handed_over.append(reply)
            return following

        self.exchange(
            messages,
            receive,
            self._has_enough,
            timeout=timeout,
            most_at_once=self._most_at_once(),
        )
        return handed_over

    def let_go_of_replies(self) -> None:
        """Empty the list that :meth:`send_and_receive` returned last.

        Flower's loop holds it until it has the next round's: a thousand models twice.
        """
        self._handed_over.clear()

    def exchange(
        self,
        messages: Iterable[Message],
        on_reply: OnReply,
        has_enough: Callable[[], bool] = lambda: False,
        *,
        timeout: float | None = None,
        on_late: OnLate | None = None,
        most_at_once: int | None = None,
    ) -> None:
        """Do as :meth:`send_and_receive`, with a receiver of one's own.

        The answer of whoever is not waited for is given to ``on_late`` when the connected nodes
        are looked for next, or else dropped. The time in which ``on_reply`` is at work counts
        neither as the nodes' nor towards the timeout: a server that is busy makes nobody late.
        """
        waiting, pending = iter(messages), dict[str, tuple[Message, float]]()
        watch, overdue = StopWatch(), 0
        if self.under_way is not None:
            self.under_way.begin(most_at_once)
        self._push_more(waiting, pending, watch)
        last = watch.seconds()
        while pending and not has_enough():
            replies = list(self.pull_messages(list(pending)))
            for reply in replies:
                request, sent = pending.pop(reply.metadata.reply_to_message_id, (None, 0.0))
                if request is None:  # a second answer to the same message
                    continue
                self._traffic[request.metadata.dst_node_id].seconds += watch.seconds() - sent
                with watch.stopped():
                    following = on_reply(request, reply)
                if following is not None:
                    self._push([following], pending, watch)
            if self.under_way is not None:
                self.under_way.note(len(replies))
            for message_id, (_, sent) in list(pending.items()):
                if timeout is not None and watch.seconds() - sent >= timeout:
                    self._owe(message_id, *pending.pop(message_id), watch, on_late)
                    overdue += 1  # it may still keep an actor at work
            self._push_more(waiting, pending, watch, overdue)
            if replies:
                last = watch.seconds()
            elif pending:
                waited = watch.seconds() - last
                time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, PAUSE_SHARE * waited)))
        for message_id, (message, sent) in pending.items():
            self._owe(message_id, message, sent, watch, on_late)

    def _owe(
        self,
        message_id: str,
        message: Message,
        sent: float,
        watch: StopWatch,
        on_late: OnLate | None,
    ) -> None:
        """Wait for an answer no longer."""
        node = message.metadata.dst_node_id
        self._traffic[node].seconds += watch.seconds() - sent
        self._unanswered[message_id] = Owed(
            node,
            time.monotonic() + message.metadata.ttl,
            None if on_late is None else partial(on_late, message),
        )

    def _push_more(
        self,
        waiting: Iterator[Message],
        pending: dict[str, tuple[Message, float]],
        watch: StopWatch,
        overdue: int = 0,
    ) -> None:
        """Send what may be under way beside what is."""
        under_way = self.under_way
        room = None if under_way is None else max(under_way.limit - len(pending) - overdue, 0)
        messages = list(islice(waiting, room))
        if messages:
            self._push(messages, pending, watch)

    def _push(
        self,
        messages: list[Message],
        pending: dict[str, tuple[Message, float]],
        watch: StopWatch,
    ) -> None:
        ids, now = self.push_messages(messages), watch.seconds()
        pending.update(zip(ids, ((message, now) for message in messages), strict=True))

    def take_late_replies(self) -> None:
        """Receive, and so count, what has come since nobody waited for it any more."""
        if not self._unanswered:
            return
        for reply in self.pull_messages(list(self._unanswered)):
            owed = self._unanswered.pop(reply.metadata.reply_to_message_id, None)
            if owed is not None and owed.take is not None:
                owed.take(reply)
        now = time.monotonic()
        self._unanswered = {
            key: owed for key, owed in self._unanswered.items() if owed.expires > now
        }
