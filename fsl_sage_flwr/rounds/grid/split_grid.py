"""A Grid that counts bytes and hands replies over as they arrive."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from typing import Protocol, runtime_checkable

from flwr.app import Error, Message, RecordDict
from flwr.serverapp import Grid

from ...messages import CommunicationLedger, NodeDescription, SimulationError
from ...messages.reply import NOT_FROM_CLIENT_APP, count_bytes
from ...units import mib
from .in_flight import InFlightLimit
from .inline_grid import InlineGrid
from .late_replies import LateReplies
from .node_traffic import NodeTraffic
from .passing_time import KeepsTime, now_on, wait_on
from .simulation import is_simulation
from .virtual_clients import VirtualClients
from .virtual_time_grid import VirtualTimeGrid
from .wrapped_grid import WrappedGrid

# Seconds that a message lives beyond its timeout: its time to live counts from its making, and
# contains the server's work, which is no client's delay.
SERVER_TIME = 12 * 3600.0
ALL_AT_ONCE = 2**31
# Flower's codes of errors that this Grid reports itself.
MESSAGE_UNAVAILABLE, NODE_UNAVAILABLE = 3, 5

# A node's public key, and when Flower last let it in.
Life = tuple[bytes, str]

Receive = Callable[["SplitGrid", Iterable[Message], float | None], list[Message]]
"""From the grid, the messages and their timeout to the replies that Flower's loop gets."""


@runtime_checkable
class MakesMessages(Protocol):
    """A Grid that makes its messages: one outside of a run, where Flower cannot."""

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Return a message to a node."""


class SplitGrid(WrappedGrid):
    """Wrap a Grid for one strategy: count bytes, and hand over replies as they arrive.

    Parameters
    ----------
    grid : Grid
        The Grid that Flower handed to the ServerApp.
    ledger : CommunicationLedger
        Counts every message.
    receive : callable
        Does the work of :meth:`send_and_receive`: the strategy's, which iterates over a
        :class:`~fsl_sage_flwr.rounds.grid.reply_stream.ReplyStream`.

    Attributes
    ----------
    simulated : bool
        Flower simulates the nodes.
    registered : set of int
        Ids of the nodes that were connected when they were last looked for, busy ones too.
    under_way : InFlightLimit or None
        Limit on in-flight messages; None, outside of a simulation, for no limit.
    sent_to : set of int
        Nodes that got a message in the latest stream of replies.
    late : LateReplies
        Messages whose replies are no longer waited for.
    """

    def __init__(self, grid: Grid, ledger: CommunicationLedger, receive: Receive) -> None:
        super().__init__(grid)
        self._ledger, self._receive = ledger, receive
        self.simulated = is_simulation(grid)
        self.under_way = _limit_of(grid) if self.simulated else None
        self.sent_to = set[int]()
        self.registered: set[int] = set()
        self.late = LateReplies(self.now)
        self._asked: dict[str, int] = {}
        self._traffic: defaultdict[int, NodeTraffic] = defaultdict(NodeTraffic)

    def now(self) -> float:
        """Return the seconds since a fixed moment, on the clock of the Grid inside."""
        return now_on(self._grid)

    def wait(self, seconds: float, until: float | None = None) -> None:
        """Wait some seconds; on a virtual clock up to the next event, at the latest ``until``."""
        wait_on(self._grid, seconds, until)

    @property
    def answers_in_turn(self) -> bool:
        """Whether nodes compute one after another, and their order is that of the messages."""
        return self.simulated and not isinstance(self._grid, KeepsTime)

    def new_round(self) -> Mapping[int, NodeTraffic]:
        """Return the traffic by node until the next call; it grows as messages pass."""
        self._traffic = defaultdict(NodeTraffic)
        self._asked = {key: node for key, node in self._asked.items() if key in self.late}
        return self._traffic

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Return a message of a type to a node that lives for ``ttl`` seconds."""
        if isinstance(self._grid, MakesMessages):
            return self._grid.new_message(content, node, kind, ttl)
        return Message(content, node, kind, ttl=ttl)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the connected nodes that owe no late reply.

        Others may still compute: they would get a second message, and two messages in flight to
        one node race for its state.
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
        """Return what identifies each node's current start; nothing in a simulation."""
        if self.under_way is not None:
            return {}
        nodes = self._grid.get_nodes()
        return {node.node_id: (node.public_key, node.last_activated_at) for node in nodes}

    def clients_known(
        self, nodes: Iterable[int], question: RecordDict, package: str
    ) -> dict[int, NodeDescription]:
        """Return descriptions of the nodes that are virtual clients, without a message.

        Virtual clients skip registration: this process gives each its client, and they run the
        same ``package``. Bytes are counted as if each had answered the ``question``.
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
        """Nodes that owe a late reply."""
        return self.late.nodes

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Send messages, counted; return an id for each, empty where one was refused."""
        return ["" if isinstance(id_, Error) else id_ for id_ in self.push(list(messages))]

    def push(self, messages: list[Message]) -> list[str | Error]:
        """Send messages, counted; return the id of each, or the error that refused it."""
        found = self._ids_of(messages)
        if len(messages) > 1 and len(found) < len(messages):
            # One that is too large has all refused. The SuperLink takes again those that it has.
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
        """Return the Grid's ids; fewer than messages where some are refused."""
        return list(self._grid.push_messages(messages))

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return replies that have arrived, counted; mark the simulation's own errors."""
        replies = list(self._grid.pull_messages(message_ids))
        for reply in replies:
            if self.simulated and reply.has_error() and reply.error.code == NOT_FROM_CLIENT_APP:
                reply.error = SimulationError(reply.error.code, reply.error.reason)
            if reply.has_content():
                size = self._ledger.add("up", reply.content)
                # A sender can forge its own id, but not the id of the message that it answers.
                node = self._asked.get(reply.metadata.reply_to_message_id)
                if node is not None:
                    self._traffic[node].up_bytes += size
        return replies

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the replies when all have arrived or time is up.

        Parameters
        ----------
        messages : iterable of Message
            At most one per node.
        timeout : float, optional
            Seconds to wait for each reply; None waits as long as the messages live.

        Returns
        -------
        list of Message
            Replies that the strategy's average, or evaluation, may use, errors among them, in
            order of arrival.
        """
        return self._receive(self, messages, timeout)

    def add_seconds(self, request: Message, seconds: float) -> None:
        """Count the seconds in which a request waited for its reply."""
        self._traffic[request.metadata.dst_node_id].seconds += seconds

    def take_late_replies(self) -> int:
        """Receive, and so count, late replies; return their number."""
        ids = self.late.message_ids
        replies = list(self.pull_messages(ids)) if ids else []
        if ids:
            self.late.take(replies)
        return len(replies)


def _limit_of(grid: Grid) -> InFlightLimit:
    """Return a simulation's limit: nodes in this process answer one message at a time.

    On a virtual clock all messages are in flight at once, as between machines.
    """
    if isinstance(grid, VirtualTimeGrid):
        return InFlightLimit(cores=ALL_AT_ONCE, most=ALL_AT_ONCE)
    if isinstance(grid, InlineGrid):
        return InFlightLimit(most=grid.most_in_flight)
    return InFlightLimit()


def _why_refused(message: Message, *, is_unknown: bool) -> Error:
    if is_unknown:
        return Error(NODE_UNAVAILABLE, "the SuperLink no longer knows this node; it has just gone")
    size = sum(count_bytes(record) for record in message.content.values())
    return Error(
        MESSAGE_UNAVAILABLE,
        f"the SuperLink, or a proxy in front of it, refused a message of {mib(size)} MiB "
        "(HTTP 413: raise the proxy's limit on a request's body), or no longer knows the node",
    )
