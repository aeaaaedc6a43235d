"""Record which node runs which client."""

import logging
import random
import time
from collections.abc import Collection, Iterable

from flwr.app import Message

from ...classes import Classes
from ...messages import (
    DESCRIBE,
    BadReplyError,
    NodeDescription,
    ReplySchema,
    describe_request,
    open_reply,
)
from ...running_code import package_code
from ...seeding import derive_seed
from ..grid.reply_stream import ReplyStream
from ..grid.split_grid import Life, SplitGrid

log = logging.getLogger("flwr.fsl_sage")

LARGEST_DESCRIPTION = 2**16

DESCRIBE_TIMEOUT = 300.0
# Seconds after which a node that gave no usable description is asked again.
ASK_AGAIN_AFTER = 60.0
LOOK_EVERY = 0.2


class NodesDisagreeError(RuntimeError):
    """Nodes contradict each other at the start of a run; one line names them."""


class ClientRegistry:
    """Clients of the federation, by partition id.

    Node ids are drawn for every run; partition ids stay. Everything that must be the same in two
    runs depends on the partition id, which each node is asked for once.

    A client belongs to the first node that claims it, while that node is registered, and again
    when it returns. With authentication a node has the same key and id after a restart. Another
    node that claims the client meanwhile is refused.

    Parameters
    ----------
    classes : Classes, optional
        Classes of the run's labels; a node with other classes is excluded.
    absence_timeout : float
        Seconds for which a round with too few clients waits for absent, busy or silent ones, and
        the first round for every registered node.

    Attributes
    ----------
    nodes : dict of int to int
        Node ids of the connected clients, by partition id.
    unfit : dict of int to str
        Connected clients whose data do not fit the run, with the reason.
    unidentified : dict of int to str
        Connected nodes without a client, with the reason.
    returned : set of int
        Clients on another or a restarted node; the strategy empties it.
    trained_on : dict of int to int
        Node on which each client last trained in this run, by partition id.
    registration_timeout : float
        Seconds to wait for unregistered nodes before the first round.
    answer_timeout : float
        Seconds without any answer that end the wait for descriptions, in a round with enough
        clients. Nodes without one are added when they answer, and not waited for again.
    """

    def __init__(self, classes: Classes | None, absence_timeout: float) -> None:
        self.registration_timeout = 60.0
        self.answer_timeout = 60.0
        self.absence_timeout = absence_timeout
        self.nodes: dict[int, int] = {}
        self.unfit: dict[int, str] = {}
        self.unidentified: dict[int, str] = {}
        self.returned: set[int] = set()
        self.trained_on: dict[int, int] = {}
        self._classes = classes
        self._known: dict[int, NodeDescription] = {}
        self._expected = 0
        self._refused_at: dict[int, float] = {}
        self._lives: dict[int, Life] = {}
        self._life_when_known: dict[int, Life | None] = {}
        self._first_key: dict[int, bytes | int] = {}
        self._seen: dict[int, tuple[int, Life | None]] = {}
        self._code: dict[str, dict[str, int]] = {"package": {package_code(): 0}, "app": {}}
        self._gone: set[int] = set()
        self._silent: set[int] = set()

    def refresh(self, grid: SplitGrid, min_available_nodes: int) -> None:
        """Ask new nodes for their clients, and remove nodes that are gone.

        The first time it waits, within limits, for the number of nodes that the nodes report.

        Raises
        ------
        NodesDisagreeError
            Before the first round two nodes claim one partition id, or differ in
            ``num-partitions``.
        """
        self._refused_at.clear()
        before = dict(self._seen)
        try:
            self._wait(grid, min_available_nodes, first=self._expected == 0)
        finally:
            self.returned |= self._gone & set(self.nodes)
            self._report_changes(grid.busy_nodes)
        now = {client: self._seen[client] for client in self.nodes}
        self.returned |= {
            client for client in now if before.get(client, now[client]) != now[client]
        }

    def _wait(self, grid: SplitGrid, needed: int, *, first: bool) -> None:
        deadline = grid.now() + self.registration_timeout
        while True:
            connected = dict.fromkeys(grid.get_node_ids())  # in their order, and quick to look up
            self._lives = grid.lives_of_nodes()
            self._describe(grid, self._to_describe(connected), needed, first=first)
            self._assign(connected, grid.registered, first=first)
            wanted = max(needed, self._expected if first else 1)
            if len(self.nodes) + len(self.unfit) >= wanted:
                return
            if grid.now() > deadline:
                log.warning(
                    "%d of %d clients are connected; continuing with these", len(self.nodes), wanted
                )
                return
            grid.wait(LOOK_EVERY)

    def _to_describe(self, connected: Iterable[int]) -> list[int]:
        """Return the nodes to ask: new ones, and restarted ones whose data were unfit."""
        for client in self.unfit:
            node, _ = self._seen[client]
            if self._lives.get(node) != self._life_when_known.get(node):
                self._known.pop(node, None)
        soon = time.monotonic() - ASK_AGAIN_AFTER
        return [
            node
            for node in connected
            if node not in self._known and self._refused_at.get(node, soon) <= soon
        ]

    def _report_changes(self, busy: set[int]) -> None:
        here, there = len(self.nodes), max(self._expected, len(self.nodes))
        for client in sorted(self._gone & set(self.nodes)):
            log.info("client %d is back: %d of %d clients are connected", client, here, there)
        # A node that owes a reply is late, not gone.
        known = {about.partition_id for node, about in self._known.items() if node not in busy}
        present = {*self.nodes, *self.unfit}
        for client in sorted(known - present - self._gone):
            log.warning("client %d is gone: %d of %d clients are connected", client, here, there)
        self._gone = known - present

    def sample(
        self,
        count: int,
        seed: int,
        round_: int,
        purpose: str = "sample",
        without: Collection[int] = (),
    ) -> list[int]:
        """Draw a round's clients, except those in ``without``; return their ids, ascending."""
        clients = sorted(client for client in self.nodes if client not in without)
        draw = random.Random(derive_seed(seed, purpose, round_))
        return sorted(draw.sample(clients, min(count, len(clients))))

    def last_node_of(self, client: int) -> int:
        """Return the latest node of a client; 0 without one."""
        node, _ = self._seen.get(client, (0, None))
        return node

    # Asking -----------------------------------------------------------------------------

    def _describe(self, grid: SplitGrid, nodes: list[int], needed: int, *, first: bool) -> None:
        fingerprint = "" if self._classes is None else self._classes.fingerprint
        known = grid.clients_known(nodes, describe_request(fingerprint), package_code())
        for node, description in known.items():
            self._record(node, description)
        nodes = [node for node in nodes if node not in known]
        if not nodes:
            return
        # Made when they are sent: the last of a simulation's ten thousand nodes wait for minutes.
        ttl = max(DESCRIBE_TIMEOUT, self.absence_timeout)
        questions = (
            grid.new_message(describe_request(fingerprint), node, DESCRIBE, ttl) for node in nodes
        )
        awaited, heard = set(nodes) - self._silent, grid.now()
        is_short = first or len(self.nodes) < needed
        patience = (
            max(self.absence_timeout, self.answer_timeout) if is_short else self.answer_timeout
        )

        def has_enough() -> bool:
            return not awaited or grid.now() - heard > patience

        for question, reply in ReplyStream(
            grid, questions, has_enough, on_late=self._take_description
        ):
            heard = grid.now()
            self._take_description(question, reply)
            awaited.discard(question.metadata.dst_node_id)
        # In a simulation some may not have been asked before the others fell silent.
        for node in awaited & grid.busy_nodes:
            self._silent.add(node)
            silent = f"no answer for {patience:g} s"
            self._refuse(node, f"{silent}; if it stays so and its SuperNode runs, restart that")

    def _take_description(self, question: Message, reply: Message) -> None:
        node = question.metadata.dst_node_id
        self._silent.discard(node)
        try:
            description = open_reply(reply, NodeDescription, ReplySchema(), LARGEST_DESCRIPTION)
        except BadReplyError as error:
            self._refuse(node, str(error))
            return
        self._record(node, description)

    def _record(self, node: int, description: NodeDescription) -> None:
        self.unidentified.pop(node, None)
        self._known[node] = description
        self._life_when_known[node] = self._lives.get(node)
        self._compare_code(node, description)

    def _refuse(self, node: int, reason: str) -> None:
        self._refused_at[node] = time.monotonic()
        self._report(node, f"does not identify its client: {reason}", reason)

    def _report(self, node: int, line: str, reason: str) -> None:
        if self.unidentified.get(node) != reason:
            log.warning("node %d %s", node, line)
        self.unidentified[node] = reason

    def _compare_code(self, node: int, description: NodeDescription) -> None:
        """Warn once of each version of the package, or of the app, that differs."""
        of_node = {"package": description.package or "an earlier version", "app": description.app}
        for kind, code in of_node.items():
            seen = self._code[kind]
            if code is None or code in seen:
                continue
            if seen:
                first, whose = next(iter(seen.items()))
                log.warning(
                    "node %d runs another version of the %s: %.100r, and %s runs %.100r; results "
                    "may differ: install one version on all machines",
                    node, kind, code, f"node {whose}" if whose else "the server", first,
                )  # fmt: skip
            seen[code] = node

    # Assigning --------------------------------------------------------------------------

    def _assign(
        self, connected: Collection[int], registered: Collection[int], *, first: bool
    ) -> None:
        """Assign each client to the first node that claimed it, while that is registered.

        A node that owes a reply is registered but not ``connected``: it keeps its client.
        """
        claims: dict[int, list[int]] = {}
        self.unidentified = {n: why for n, why in self.unidentified.items() if n in registered}
        for node, about in self._known.items():
            if node not in registered:
                continue
            self._expected = self._expected or about.num_partitions
            if about.num_partitions == self._expected:
                claims.setdefault(about.partition_id, []).append(node)
            else:
                self._refuse_other_federation(node, about.num_partitions, first=first)
        self.nodes, self.unfit = {}, {}
        for client, nodes in claims.items():
            mine = self._first_key.get(client)
            holder = min(nodes, key=lambda node: self._key_of(node) != mine)
            for other in nodes:
                if other != holder:
                    self._refuse_second(other, holder, client, first=first)
            self.unidentified.pop(holder, None)
            if holder in connected:
                self._put(client, holder)

    def _put(self, client: int, node: int) -> None:
        self._first_key.setdefault(client, self._key_of(node))
        former, _ = self._seen.get(client, (node, None))
        if former != node:
            log.warning("client %d: node %d replaces node %d, which is gone", client, node, former)
        self._seen[client] = node, self._lives.get(node)
        problem = self._problem_with_classes(self._known[node])
        if problem is None:
            self.nodes[client] = node
        else:
            self.unfit[client] = f"{problem}; correct the data and restart its SuperNode"

    def _problem_with_classes(self, description: NodeDescription) -> str | None:
        if self._classes is None or not description.classes:
            return None
        try:
            return self._classes.difference(Classes.from_texts(description.classes))
        except ValueError:
            return "its description of its classes cannot be read"

    def _refuse_second(self, node: int, holder: int, client: int, *, first: bool) -> None:
        if first:
            raise NodesDisagreeError(
                f"nodes {holder} and {node} both claim partition-id {client}: start each SuperNode "
                "with a partition-id that no other has"
            )
        reason = f"claims partition-id {client}, which node {holder} has"
        self._report(node, f"{reason}; it is refused while that one is registered", reason)

    def _refuse_other_federation(self, node: int, partitions: int, *, first: bool) -> None:
        if first:
            whose = next(n for n, d in self._known.items() if d.num_partitions == self._expected)
            raise NodesDisagreeError(
                f"node {whose} says num-partitions {self._expected} and node {node} says "
                f"{partitions}: start all SuperNodes with the same num-partitions"
            )
        reason = f"says num-partitions {partitions}, and the run has {self._expected}"
        self._report(node, f"{reason}; it is refused", reason)

    def _key_of(self, node: int) -> bytes | int:
        """Return the identity of a node that survives a restart: its key, or else its id."""
        key, _ = self._lives.get(node, (b"", ""))
        return key or node
