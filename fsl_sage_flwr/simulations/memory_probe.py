"""Train a few rounds in this process to measure memory, with the algorithm's own code."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import count
from typing import Any

from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid

from ..algorithm_registry import ALGORITHMS
from ..app.assembly import build_strategy
from ..app.config import RunConfig
from ..messages import message_outside_a_run
from ..strategies import SplitStrategy
from ..task import SplitTask

# Clients keep state of a run in this process, so each probe has a separate run id.
_runs = count(1)

AroundClient = Callable[[Callable[[], Message]], Message]
"""Runs the given client's work, and may measure before and after it."""


class MemoryProbeGrid(Grid):
    """Runs a ClientApp for every message in this process, without a SuperLink.

    Parameters
    ----------
    app : ClientApp
        The app of the clients.
    nodes : int
        Number of participating clients, the first of ``clients``.
    clients : int
        Number of clients in the federation, which determines each client's amount of data.
    around : callable
        Called with each client's work.
    """

    def __init__(self, app: ClientApp, nodes: int, clients: int, around: AroundClient) -> None:
        self._app, self._around = app, around
        self._run = next(_runs)
        self._replies: dict[str, Message] = {}
        self._contexts = {
            node: Context(
                run_id=self._run,
                node_id=node,
                node_config={"partition-id": node - 1, "num-partitions": clients},
                state=RecordDict(),
                run_config={},
            )
            for node in range(1, nodes + 1)
        }

    def new_message(self, content: RecordDict, node: int, kind: str, ttl: float) -> Message:
        """Return a message with complete metadata, which Flower cannot add outside a run."""
        return message_outside_a_run(content, node, kind, ttl, self._run)

    def set_run(self, run: Any) -> None:
        """Do nothing, because there is no run."""

    @property
    def run(self) -> Any:
        """None, because there is no run."""
        return None

    def create_message(
        self,
        content: RecordDict,
        message_type: str,
        dst_node_id: int,
        group_id: str,
        ttl: float | None = None,
    ) -> Message:
        """Return a message; Flower requires this method of every Grid."""
        return self.new_message(content, dst_node_id, message_type, ttl or 3600.0)

    def get_node_ids(self) -> Iterable[int]:
        """Return the ids of the nodes."""
        return list(self._contexts)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Run the clients on the messages immediately, and store their replies."""
        ids = []
        for message in messages:
            key, context = message.metadata.message_id, self._contexts[message.metadata.dst_node_id]
            self._replies[key] = self._around(partial(self._app, message, context))
            ids.append(key)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies."""
        return [self._replies.pop(key) for key in list(message_ids) if key in self._replies]

    def send_and_receive(
        self, messages: Iterable[Message], *, timeout: float | None = None
    ) -> Iterable[Message]:
        """Send messages and return the replies."""
        return self.pull_messages(self.push_messages(messages))


def probe_memory(
    config: RunConfig,
    server_task: SplitTask,
    app: ClientApp,
    nodes: int,
    clients: int,
    around: AroundClient = lambda work: work(),
) -> SplitStrategy:
    """Train the rounds in which an algorithm needs the most memory.

    Parameters
    ----------
    config : RunConfig
        Configuration of the run.
    server_task : SplitTask
        Task of the server.
    app : ClientApp
        The app of the clients.
    nodes, clients : int
        Number of participating clients, and of clients in the federation.
    around : callable, optional
        Called with each client's work.

    Returns
    -------
    SplitStrategy
        The strategy after the last round.
    """
    options, rounds = config.options, 1
    rehearsal = ALGORITHMS[config.algorithm].rehearsal
    if rehearsal is not None:
        options, rounds = rehearsal(options)
    everybody = replace(
        config.strategy, fraction_train=1.0, fraction_evaluate=0.0, min_train_nodes=1
    )
    all_train = replace(config, options=options, strategy=everybody)
    strategy = build_strategy(all_train, server_task)
    strategy.registry.registration_timeout = 0.0  # the other clients never register
    grid = MemoryProbeGrid(app, nodes, clients, around)
    strategy.start(grid, strategy.initial_arrays(), num_rounds=rounds)
    return strategy
