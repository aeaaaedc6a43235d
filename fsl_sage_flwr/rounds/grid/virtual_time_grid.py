"""A Grid of nodes in this process whose replies arrive by a virtual clock."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from flwr.app import Message, RecordDict

from ...clock.fleet import Fleet
from ...clock.presence import Presence
from ...clock.simulate import BITS
from ...messages.reply import count_bytes
from ...seeding import derive_seed
from ...splitting.counted_flops import CountedFlops
from .inline_grid import InlineGrid
from .wrapped_grid import WrappedGrid

# The least time that a wait takes: sums of seconds are rounded.
TICK = 1e-6


@dataclass(frozen=True)
class _Arrival:
    seconds: float
    reply: Message


class VirtualTimeGrid(WrappedGrid):
    """Nodes in this process with the devices and links of a fleet.

    A node answers a message when it is pushed, and the reply arrives when it would on the node's
    device and link: half a round trip, the message's bytes, the node's floating-point operations,
    half a round trip, the reply's bytes. Time passes in :meth:`wait` alone, up to the next arrival
    or the end of the wait; so two runs have one order of replies, and slow clients cost no waiting.
    The server's own work takes no time here.

    The floating-point operations of the ClientApp are those that PyTorch's formulas count.

    Parameters
    ----------
    grid : InlineGrid
        The nodes.
    fleet : Fleet
        Devices and links; all devices have FLOP/s.
    presence : Presence
        When clients are connected. The reply of a client that has left by its arrival is lost.
    """

    def __init__(self, grid: InlineGrid, fleet: Fleet, presence: Presence) -> None:
        super().__init__(grid)
        self._inline, self._fleet, self._presence = grid, fleet, presence
        self._now = 0.0
        self._arrivals: dict[str, _Arrival] = {}
        self._messages = dict[int, int]()

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Return a message with complete metadata."""
        return self._inline.new_message(content, node, kind, ttl)

    def now(self) -> float:
        """Return the virtual seconds since the start."""
        return self._now

    def wait(self, seconds: float, until: float | None = None) -> None:
        """Let time pass up to the next arrival, at the latest ``until``.

        Without an arrival and without an end, ``seconds`` pass.
        """
        coming = [a.seconds for a in self._arrivals.values() if a.seconds > self._now]
        ends = [*coming, *([] if until is None else [until])]
        target = min(ends, default=self._now + seconds)
        self._now = max(target, self._now + TICK)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes whose clients are connected now."""
        return [
            node
            for node in self._inline.get_node_ids()
            if self._presence.is_present(self._client_of(node), self._now)
        ]

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Answer messages; return the id of each. Replies are handed over when they arrive."""
        ids = []
        for message in messages:
            ids.append(message.metadata.message_id)
            reply, flops = self._answer(message)
            client = self._client_of(message.metadata.dst_node_id)
            arrival = self._now + self._seconds(client, message, reply, flops)
            if self._presence.is_present(client, arrival):
                self._arrivals[message.metadata.message_id] = _Arrival(arrival, reply)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies that have arrived by now, in their order."""
        wanted = [key for key in message_ids if key in self._arrivals]
        there = [key for key in wanted if self._arrivals[key].seconds <= self._now]
        there.sort(key=lambda key: self._arrivals[key].seconds)
        return [self._arrivals.pop(key).reply for key in there]

    def _client_of(self, node: int) -> int:
        return int(self._inline.contexts[node].node_config["partition-id"])

    def _answer(self, message: Message) -> tuple[Message, int]:
        """Return a node's reply, and the floating-point operations that it took."""
        with CountedFlops() as counted:
            reply = self._inline.answer(message)
        return reply, counted.total

    def _seconds(self, client: int, message: Message, reply: Message, flops: int) -> float:
        device, link = self._fleet.of(client)
        sent = sum(count_bytes(record) for record in message.content.values())
        answered = 0
        if reply.has_content():
            answered = sum(count_bytes(record) for record in reply.content.values())
        number = self._messages[client] = self._messages.get(client, 0) + 1
        seed = derive_seed(self._fleet.seed, "message", client, number)
        jitter = np.random.default_rng(seed).standard_normal(2) if link.jitter else np.zeros(2)
        delay = sum(link.latency / 2 * math.exp(link.jitter * value) for value in jitter)
        computing = flops * device.factor / (device.flops or math.inf)
        return float(delay + sent * BITS / link.down + computing + answered * BITS / link.up)
