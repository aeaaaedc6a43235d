"""A round in which every batch of some clients is exchanged for its gradient."""

from collections.abc import Callable

from torch import Tensor

from ..client_apps.split_fed import EXCHANGE, FLUSH, ExchangeReply, ExchangeRequest
from ..messages import Expected, TrainReply
from .question import Question, Questions
from .round import Round

Gradients = tuple[Tensor, ...]


class Exchanges:
    """Clients in step: gradients of the batch before down, smashed data of the next up.

    Call :meth:`ask` until it returns nothing, or :meth:`ask_and_serve` until it returns False, and
    give every reply its :meth:`answer`; then :meth:`flushes` has the round's last messages.

    Parameters
    ----------
    round_ : Round
        Whose clients they are.
    clients : list of int
        Partition ids.
    batches_per_exchange : int
        Batches that go forward with the same weights.
    attempt : int
        How often these clients have begun before in this round.

    Attributes
    ----------
    number : int
        The exchange that was asked for last, from 0.
    left : list of int
        Clients that have not been lost, ascending.
    """

    def __init__(
        self, round_: Round, clients: list[int], batches_per_exchange: int, attempt: int = 0
    ) -> None:
        self.number, self.attempt = -1, attempt
        self.left = list(clients)
        self._round, self._width = round_, batches_per_exchange
        self._active = list(clients)
        self._promised: dict[int, int] = {}
        self._gradients: dict[int, Gradients] = {}
        self._answered = dict.fromkeys(clients, 0)
        self._waited_before = {client: round_.seconds_of(client) for client in clients}

    def ask(self) -> dict[int, ExchangeReply]:
        """Send the gradients, and return the next smashed data of all that have batches left."""
        replies = dict[int, ExchangeReply]()
        self.ask_and_serve(replies.__setitem__)
        return {client: replies[client] for client in self._promised}

    def ask_and_serve(self, serve: Callable[[int, ExchangeReply], None]) -> bool:
        """Send the gradients, and have the next smashed data served while others compute them.

        Parameters
        ----------
        serve : callable
            Called with (client, reply), ascending; it may leave the client out of the round.

        Returns
        -------
        bool
            Whether anybody had batches left.
        """

        def number_of_batches(client: int, reply: ExchangeReply) -> int:
            serve(client, reply)
            return reply.batches

        self.leave_out_the_slow()
        self.number += 1
        questions = {client: self._question(client) for client in self._active}
        self._promised = (
            self._round.ask_and_serve(questions, number_of_batches) if questions else {}
        )
        for client in set(self._active) - set(self._promised):
            self.drop(client)
        sent = (self.number + 1) * self._width
        self._active = [client for client, number in self._promised.items() if sent < number]
        return bool(questions)

    def leave_out_the_slow(self) -> None:
        """Leave out clients that took longer than a round may: only they know their batches."""
        timeout = self._round.settings.timeout
        for client in list(self._active):
            if self._round.seconds_of(client) - self._waited_before[client] > timeout:
                self._round.leave_out(client, f"its exchanges took longer than {timeout:g} s")
                self.drop(client)

    def answer(self, client: int, gradients: Gradients) -> None:
        """Give a client the gradients of what it sent; they go down with the next message."""
        self._gradients[client] = gradients
        self._answered[client] = self.number + 1

    def flushes(self) -> Questions[TrainReply]:
        """Return the last messages: the last gradients down, for the client halves."""
        expected = Expected(
            equal={"round": self._round.number},
            weights={"client_half": self._round.client_half_like},
            weighted_by=self._round.weighted_by,
        )
        return {
            client: Question(
                FLUSH, self._request(client, self._answered[client]), TrainReply, expected
            )
            for client in self.left
        }

    def progress(
        self, reply: ExchangeReply, start: float = 0.0, length: float = 1.0
    ) -> list[float]:
        """Return the rounds done at each batch of a reply, for the learning rate.

        ``start`` and ``length`` say which part of the round these exchanges make.
        """
        first = self.number * self._width
        sizes = reply.smashed.batch_sizes
        return [
            self._round.number + start + length * k / reply.batches
            for k in range(first, first + len(sizes))
        ]

    def _question(self, client: int) -> Question[ExchangeReply]:
        equal = {
            "round": self._round.number,
            "exchange": self.number,
            "batches_per_exchange": self._width,
        }
        if client in self._promised:
            equal["batches"] = self._promised[client]
        expected = Expected(equal=equal, smashed=self._round.smashed)
        # The first exchange stands for all: in them each epoch is uploaded once.
        uploads = self._round.local_epochs if self.number == 0 else 0
        request = self._request(client, self.number)
        return Question(EXCHANGE, request, ExchangeReply, expected, sample_uploads=uploads)

    def _request(self, client: int, exchange: int) -> ExchangeRequest:
        first = exchange == 0
        return ExchangeRequest(
            round=self._round.number,
            attempt=self.attempt,
            exchange=exchange,
            batches_per_exchange=self._width,
            keep_optimizer_state=self._round.keep_optimizer_state,
            trained_before=self._round.has_trained(client),
            client_half=self._round.client_half if first else None,
            gradients=self._gradients.get(client, ()),
        )

    def drop(self, client: int) -> None:
        """Ask a client that is left out nothing more."""
        self.left.remove(client)
        if client in self._active:
            self._active.remove(client)
