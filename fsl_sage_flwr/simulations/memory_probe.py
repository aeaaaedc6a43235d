"""Train a few rounds in this process to measure memory, with the algorithm's own code."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

from flwr.app import Message
from flwr.clientapp import ClientApp

from ..algorithm_registry import ALGORITHMS
from ..app.assembly import build_strategy
from ..app.config import RunConfig
from ..rounds.grid.in_flight import MOST
from ..rounds.grid.inline_grid import InlineGrid
from ..strategies import SplitStrategy
from ..task import SplitTask

AroundClient = Callable[[Callable[[], Message]], Message]
"""Runs the given client's work, and may measure before and after it."""


class MemoryProbeGrid(InlineGrid):
    """Answers all messages as they are pushed, so that the replies wait in memory together.

    An exception of a client ends the measurement.

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

    most_in_flight = MOST

    def __init__(self, app: ClientApp, nodes: int, clients: int, around: AroundClient) -> None:
        super().__init__(app, clients, nodes=nodes)
        self._around = around
        self._replies: dict[str, Message] = {}

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        """Run the clients on the messages immediately, and store their replies."""
        replies = {message.metadata.message_id: self.answer(message) for message in messages}
        self._replies |= replies
        return list(replies)

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        """Return the replies."""
        return [self._replies.pop(key) for key in list(message_ids) if key in self._replies]

    def answer(self, message: Message) -> Message:
        """Return the reply to a message, measured."""
        return self._around(partial(self.run_client, message))


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
