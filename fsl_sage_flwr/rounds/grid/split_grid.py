"""A Grid that counts bytes and hands replies over as they arrive."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from typing import Protocol, runtime_checkable

from flwr.app import Error, Message, MessageType, RecordDict
from flwr.serverapp import Grid

from ...messages import CommunicationLedger, NodeDescription, SimulationError
from ...messages.reply import NOT_FROM_CLIENT_APP, count_bytes
from .in_flight import InFlightLimit
from .node_traffic import NodeTraffic
from .simulation import is_simulation
from .stop_watch import StopWatch
from .virtual_clients import VirtualClients
from .wrapped_grid import WrappedGrid

SHORTEST_PAUSE = 0.015
LONGEST_PAUSE = 0.5
PAUSE_SHARE = 0.1  # the next wait, as a share of the time since the last reply came

# Seconds that a message lives beyond its timeout. A message's time to live is wall time from its
# making, and the server's own work is in it, which is nobody's delay.
SERVER_TIME = 12 * 3600.0
# Times the timeout without any answer, whereupon messages that still wait are not sent.
SILENT_TIMEOUTS = 3
# Flower's codes of errors that this Grid reports itself.
MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE = 3, 5

# A node's public key, and when Flower last let it in.
Life = tuple[bytes, str]

OnReply = Callable[[Message, Message], Message | None]
OnLate = Callable[[Message, Message], None]


@dataclass(frozen=True)
class LateReply:
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
    simulated : bool
        Flower simulates the nodes.
    registered : set of int
        Ids of the nodes that were connected when they were last looked for, busy ones too.
    under_way : InFlightLimit or None
        How many messages are sent and not answered at a time; None, outside of a simulation: all.
    sent_to : set of int
        Nodes that the latest :meth:`exchange` has sent a message to.
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
        self.simulated = is_simulation(grid)
        self.under_way = InFlightLimit() if self.simulated else None
        self.sent_to = set[int]()
        self.registered: set[int] = set()
        self._unanswered: dict[str, LateReply] = {}
        self._asked: dict[str, int] = {}
        self._handed_over: list[Message] = []
        self._traffic: defaultdict[int, NodeTraffic] = defaultdict(NodeTraffic)

    def new_round(self) -> Mapping[int, NodeTraffic]:
        """Return the traffic by node from here to the next call; it grows as it happens."""
        self._traffic = defaultdict(NodeTraffic)
        self._asked = {key: node for key, node in self._asked.items() if key in self._unanswered}
        return self._traffic

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Return a message of a type to a node, which lives for ``ttl`` seconds."""
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
        self.registered = set(nodes)
        if self.under_way is not None:
            grid = self._grid
            self.under_way.know_nodes(
                len(grid.nodes if isinstance(grid, VirtualClients) else nodes)
            )
        return [node_id for node_id in nodes if node_id not in busy]

    def lives_of_nodes(self) -> dict[int, Life]:
        """Return by node what tells a restart; nothing in a simulation, where no node restarts."""
        if self.under_way is not None:
            return {}
        nodes = self._grid.get_nodes()
        return {node.node_id: (node.public_key, node.last_activated_at) for node in nodes}

    def clients_known(
        self, nodes: Iterable[int], question: RecordDict, package: str
    ) -> dict[int, NodeDescription]:
        """Return which clients nodes run, of those that need not be asked.

        Who shares a node has been told by this process which client to be, and runs the same
        ``package``. Bytes are counted as if each had been asked the ``question``, which clients
        on nodes of their own are.
        """
        if not isinstance(self._grid, VirtualClients):
            return {}
        clients = {node: self._grid.client_of(node) for node in nodes}
        found = {
            node: NodeDescription(**asdict(client), package=package)
            for node, client in clients.items()
        }
        for description in found.values():
            self._ledger.add("down", question)
            self._ledger.add("up", description.pack())
        return found

    @property
    def busy_nodes(self) -> set[int]:
        """Nodes that owe an answer which nobody waits for any more."""
        return {owed.node for owed in self._unanswered.values()}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, counted; return an id for each, empty where one was refused."""
        return ["" if isinstance(id_, Error) else id_ for id_ in self._pushed(list(messages))]

    def _pushed(self, messages: list[Message]) -> list[str | Error]:
        """Send messages; return the id of each, or why it was not taken."""
        found = self._ids_of(messages)
        if len(messages) > 1 and len(found) < len(messages):
            # One that is too large has all refused. What the SuperLink has already it takes again.
            taken = set(found)
            found = [
                about if (about := message.metadata.message_id) in taken
                else next(iter(self._ids_of([message])), None)
                for message in messages
            ]  # fmt: skip
        results = []
        for message, id_ in zip(messages, found or [None], strict=True):
            results.append(id_ or _why_refused(message, is_unknown=id_ == ""))
            if id_:
                node = message.metadata.dst_node_id
                size = self._ledger.add("down", message.content)
                self._traffic[node].down_bytes += size
                self._asked[id_] = node
        return results

    def _ids_of(self, messages: list[Message]) -> list[str | None]:
        """Return the Grid's ids; fewer than messages where some, or all, are not taken."""
        return list(self._grid.push_messages(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Receive what has arrived, counted; mark errors of a simulation itself."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            if self.simulated and reply.has_error() and reply.error.code == NOT_FROM_CLIENT_APP:
                reply.error = SimulationError(reply.error.code, reply.error.reason)
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

        An answer that is no longer waited for is given to ``on_late`` when the connected nodes
        are looked for next, or else dropped. Neither the timeout nor a node's seconds contain the
        time in which messages are made and sent, or in which ``on_reply`` runs: a busy server
        delays nobody. A message that is refused is answered at once, with an error.

        In a simulation a message whose time ran out keeps its place among those under way until
        it is answered or as much time has passed again: an actor may still work on it. When
        nobody has answered for ``SILENT_TIMEOUTS`` timeouts, messages that still wait are not
        sent.
        """
        waiting, made = iter(messages), list[Message]()
        pending, overdue = dict[str, tuple[Message, float]](), set[str]()
        watch = StopWatch()
        self.sent_to = set()

        def send(to_send: list[Message]) -> None:
            with watch.stopped():
                results = self._pushed(to_send)
            now = watch.seconds()
            for message, result in zip(to_send, results, strict=True):
                self.sent_to.add(message.metadata.dst_node_id)
                if not isinstance(result, Error):
                    pending[result] = message, now
                    continue
                with watch.stopped():
                    following = on_reply(message, Message(result, reply_to=message))
                if following is not None:
                    send([following])

        def send_more() -> bool:
            """Send what may be under way beside what is; tell whether any message is left."""
            room = None
            if self.under_way is not None:
                room = max(self.under_way.limit - len(pending) - len(overdue), 0)
            with watch.stopped():  # one more than there is room for, to know whether there is one
                made.extend(islice(waiting, None if room is None else room + 1 - len(made)))
            now, made[:] = made[:room], [] if room is None else made[room:]
            if now:
                send(now)
            return bool(made)

        if self.under_way is not None:
            self.under_way.begin(most_at_once)
        unsent, last = send_more(), watch.seconds()
        while (pending or unsent) and not has_enough():
            looked = watch.seconds()
            replies = list(self.pull_messages(list(pending))) if pending else []
            for reply in replies:
                request, sent = pending.pop(reply.metadata.reply_to_message_id, (None, 0.0))
                if request is None:  # a second answer to the same message
                    continue
                self._traffic[request.metadata.dst_node_id].seconds += watch.seconds() - sent
                with watch.stopped():
                    following = on_reply(request, reply)
                if following is not None:
                    send([following])
            if self.under_way is not None:
                self.under_way.note(len(replies))
            heard = len(replies)
            if overdue and unsent:
                heard += self.take_late_replies()
                overdue &= self._unanswered.keys()
            for message_id, (_, sent) in list(pending.items()):
                if timeout is not None and looked - sent >= timeout:
                    self._owe(message_id, *pending.pop(message_id), watch, timeout, on_late)
                    overdue.add(message_id)
            unsent = unsent and send_more()
            if heard:
                last = watch.seconds()
                continue
            waited = watch.seconds() - last
            if not pending and timeout is not None and waited >= SILENT_TIMEOUTS * timeout:
                break
            if pending or unsent:
                time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, PAUSE_SHARE * waited)))
        for message_id, (message, sent) in pending.items():
            self._owe(message_id, message, sent, watch, timeout, on_late)

    def _owe(
        self,
        message_id: str,
        message: Message,
        sent: float,
        watch: StopWatch,
        timeout: float | None,
        on_late: OnLate | None,
    ) -> None:
        """Wait for an answer no longer; its node is asked nothing until it comes, or is too late.

        A node works on one message at a time: asked again, it would fall behind for good where
        a round does not wait for the slowest. After its timeout it may be asked: nobody can tell
        whether it still works. A simulation waits for as long again: its actor may be at work.
        """
        node, seconds = message.metadata.dst_node_id, watch.seconds() - sent
        self._traffic[node].seconds += seconds
        if timeout is None:
            left = message.metadata.ttl
        else:
            left = timeout if self.under_way is not None else max(timeout - seconds, 0.0)
        self._unanswered[message_id] = LateReply(
            node,
            time.monotonic() + left,
            None if on_late is None else partial(on_late, message),
        )

    def take_late_replies(self) -> int:
        """Receive, and so count, answers that are no longer waited for; return their number."""
        if not self._unanswered:
            return 0
        replies = list(self.pull_messages(list(self._unanswered)))
        for reply in replies:
            owed = self._unanswered.pop(reply.metadata.reply_to_message_id, None)
            if owed is not None and owed.take is not None:
                owed.take(reply)
        now = time.monotonic()
        self._unanswered = {
            key: owed for key, owed in self._unanswered.items() if owed.expires > now
        }
        return len(replies)


def _why_refused(message: Message, *, is_unknown: bool) -> Error:
    if is_unknown:
        return Error(NODE_UNAVAILABLE, "the SuperLink no longer knows this node; it has just gone")
    size = sum(count_bytes(record) for record in message.content.values()) / 2**20
    return Error(
        MESSAGE_UNAVAILABLE,
        f"the SuperLink, or a proxy in front of it, refused a message of {size:,.1f} MiB "
        "(HTTP 413: raise the proxy's limit on a request's body), or no longer knows the node",
    )
