"""SplitFed's exchanges with all clients in step, again without a client that is lost midway."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

from ..messages import TrainReply
from ..state import Transaction
from .exchanges import AnyReply, Exchanges
from .instruction import Instructions
from .round import Round
from .server.server_half import OneServerHalf

log = logging.getLogger("flwr.fsl_sage")


@dataclass(frozen=True)
class Step:
    """One exchange of all clients.

    Attributes
    ----------
    exchanges : Exchanges
        Takes the answers.
    number : int
        Number of the exchange in the round, from 0.
    replies : Mapping
        Valid replies, ascending by client.
    trained_on : set of int
        Clients whose batches the server half was stepped on; the algorithm adds to it.
    """

    exchanges: Exchanges
    number: int
    replies: Mapping[int, AnyReply]
    trained_on: set[int]

    @property
    def is_undone(self) -> bool:
        """Whether a client is lost after steps on its batches: all steps are then undone."""
        return not self.trained_on <= set(self.exchanges.left)


class ExchangesInStep:
    """Iterates over the exchanges of some clients; each must be answered for every client.

    Steps on some of a client's batches cannot be told from the rest. When a client is lost after
    them, the server half is restored, and the others' exchanges start again.

    Parameters
    ----------
    round_ : Round
        The clients' round.
    server : OneServerHalf
        The state to restore.
    clients : sequence of int
        Partition ids.
    batches_per_exchange : int
        Batches that go forward with the same weights.
    start, length : float
        Part of the round that the exchanges take, for the learning rate.
    """

    def __init__(
        self,
        round_: Round,
        server: OneServerHalf,
        clients: Sequence[int],
        batches_per_exchange: int,
        *,
        start: float = 0.0,
        length: float = 1.0,
    ) -> None:
        self._round, self._clients, self._width = round_, list(clients), batches_per_exchange
        self._start, self._length = start, length
        self._undo = round_.undo_states  # as the server half is at the start of the round
        if start > 0:
            self._undo = Transaction({"server": server})
            self._undo.save()
        self._last: Instructions[TrainReply] = {}

    @property
    def last(self) -> Instructions[TrainReply]:
        """Last messages of the clients, after the iteration: the last gradients down."""
        return self._last

    def __iter__(self) -> Iterator[Step]:
        round_, losses = self._round, len(self._round.losses)
        for attempt in count():
            exchanges = Exchanges(
                round_, self._clients, self._width, attempt=attempt, start=self._start,
                length=self._length,
            )  # fmt: skip
            trained_on = set[int]()
            yield from self._steps(exchanges, trained_on)
            lost = sorted(trained_on - set(exchanges.left))
            if not lost:
                break
            log.warning(
                "round %d: clients %s begin again, without the batches of %s",
                round_.number + 1, exchanges.left, lost,
            )  # fmt: skip
            self._undo.restore("server")
            del round_.losses[losses:]
            self._clients = exchanges.left
        self._last = {client: exchanges.flush(client) for client in exchanges.left}

    def _steps(self, exchanges: Exchanges, trained_on: set[int]) -> Iterator[Step]:
        """Iterate until no batch is left, or a client is lost after steps on its batches."""
        round_, number = self._round, 0
        while replies := dict(round_.ask(exchanges.of_all())):
            for client, reply in replies.items():
                with round_.transaction(client):
                    exchanges.refuse_many(client, reply, others_known=True)
            valid = {c: reply for c, reply in replies.items() if c not in round_.failures}
            step = Step(exchanges, number, valid, trained_on)
            yield step
            for client in exchanges.active:
                with round_.transaction(client):
                    exchanges.refuse_slow(client)
            if step.is_undone:
                break
            number += 1
