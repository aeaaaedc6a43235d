"""A few rounds in this process, with the algorithm's own strategy and handlers."""

import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

from flwr.app import Context, Message, Metadata, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ..app.assembly import build_strategy
from ..app.config import RunConfig
from ..registry import ALGORITHMS
from ..strategies import SplitStrategy
from ..task import SplitTask

AroundClient = Callable[[Callable[[], Message]], Message]
"""Runs a client on a message, and does something before and after."""


class RehearsalGrid(Grid):
    """Run a ClientApp for every message, in this process; no SuperLink is there.

    Parameters
    ----------
    app : ClientApp
        What clients do.
    nodes : int
        Clients that are there: the first of ``clients``.
    clients : int
        Clients of the federation, for how much data each has.
    around : callable
        Around each client's work.
    """

    def __init__(self, app: ClientApp, nodes: int, clients: int, around: AroundClient) -> None:
        self._app, self._around = app, around
        self._replies: dict[str, Message] = {}
        self._contexts = {
            node: Context(
                run_id=1,
                node_id=node,
                node_config={"partition-id": node - 1, "num-partitions": clients},
                state=RecordDict(),
                run_config={},
            )
            for node in range(1, nodes + 1)
        }

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Make a message: outside of a run Flower does not know who sends it."""
        metadata = Metadata(
            run_id=1,
            message_id=uuid.uuid4().hex,
            src_node_id=0,
            dst_node_id=node,
            reply_to_message_id="",
            group_id="",
            created_at=time.time(),
            ttl=ttl,
            message_type=kind,
        )
        # Flower's types leave this argument out: it is meant for what moves messages, as this does.
        made: Message = Message(content, metadata=metadata)  # type: ignore[call-overload]
        return made

    def set_run(self, run: Any) -> None:
        """Do nothing: there is no run."""

    @property
    def run(self) -> Any:
        """There is none."""
        return None

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Make a message; Flower asks every Grid for this."""
        return self.new_message(content, dst_node_id, message_type, ttl or 3600.0)

    def get_node_ids(self) -> Iterable[int]:
        """Return the nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Have each message answered at once."""
        ids = []
        for message in messages:
            key, context = message.metadata.message_id, self._contexts[message.metadata.dst_node_id]
            self._replies[key] = self._around(partial(self._app, message, context))
            ids.append(key)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the answers."""
        return [self._replies.pop(key) for key in list(message_ids) if key in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the answers."""
        return self.pull_messages(self.push_messages(messages))


def rehearse(
    config: RunConfig,
    server_task: SplitTask,
    app: ClientApp,
    nodes: int,
    clients: int,
    around: AroundClient = lambda work: work(),
) -> SplitStrategy:
    """Train the rounds in which an algorithm reaches its largest memory.

    Parameters
    ----------
    config : RunConfig
        Names the algorithm.
    server_task : SplitTask
        The server's.
    app : ClientApp
        The clients'.
    nodes, clients : int
        Clients that take part, and clients of the federation.
    around : callable, optional
        Around each client's work.

    Returns
    -------
    SplitStrategy
        As it is after the last round.
    """
    options, rounds = config.options, 1
    rehearsal = ALGORITHMS[config.algorithm].rehearsal
    if rehearsal is not None:
        options, rounds = rehearsal(options)
    all_train = replace(config, options=options, fraction_train=1.0, fraction_evaluate=0.0)
    strategy = build_strategy(all_train, server_task)
    strategy.roster.registration_timeout = 0.0  # the other clients will not come
    grid = RehearsalGrid(app, nodes, clients, around)
    strategy.start(grid, strategy.initial_arrays(), num_rounds=rounds)
    return strategy
