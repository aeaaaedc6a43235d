"""A round in which some clients exchange their batches in step."""

from ..client_apps.split_fed import ExchangeReply
from ..messages import TrainReply
from ..rounds.question import Questions
from ..rounds.round import Round
from ..rounds.server.server_half import Gradients
from .exchange_questions import ExchangeQuestions


class Exchanges:
    """Clients in step: all answer with their next batch before any of them is served.

    Call :meth:`ask` until it returns nothing, and give every reply its :meth:`answer`; then
    :meth:`flushes` has the round's last messages.

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
        self.number = -1
        self.left = list(clients)
        self._round = round_
        self._questions = ExchangeQuestions(round_, batches_per_exchange, attempt)
        self._active = list(clients)
        self._promised: dict[int, int] = {}
        self._gradients: dict[int, Gradients] = {}
        self._answered = dict.fromkeys(clients, 0)
        self._waited_before = {client: round_.seconds_of(client) for client in clients}

    def ask(self) -> dict[int, ExchangeReply]:
        """Send the gradients, and return the next smashed data of all that have batches left."""
        self.leave_out_the_slow()
        self.number += 1
        questions = {
            client: self._questions.exchange(
                client, self.number, self._gradients.get(client, ()), self._promised.get(client)
            )
            for client in self._active
        }
        replies = self._round.ask(questions) if questions else {}
        for client, reply in list(replies.items()):
            if self._round.leave_out_if_many(client, reply.batches):
                del replies[client]
        for client in set(self._active) - set(replies):
            self.drop(client)
        self._promised = {client: reply.batches for client, reply in replies.items()}
        self._active = [
            client
            for client, batches in self._promised.items()
            if self._questions.are_left(self.number, batches)
        ]
        return replies

    def leave_out_the_slow(self) -> None:
        """Leave out clients that took longer than a round may."""
        for client in list(self._active):
            if self._questions.leave_out_if_slow(client, self._waited_before[client]):
                self.drop(client)

    def answer(self, client: int, gradients: Gradients) -> None:
        """Give a client the gradients of what it sent; they go down with the next message."""
        self._gradients[client] = gradients
        self._answered[client] = self.number + 1

    def flushes(self) -> Questions[TrainReply]:
        """Return the last messages: the last gradients down, for the client halves."""
        return {
            client: self._questions.flush(
                client, self._answered[client], self._gradients.get(client, ())
            )
            for client in self.left
        }

    def progress(
        self, reply: ExchangeReply, start: float = 0.0, length: float = 1.0
    ) -> list[float]:
        """Return the rounds done at each batch of a reply, as of :class:`ExchangeQuestions`."""
        return self._questions.progress(self.number, reply, start, length)

    def drop(self, client: int) -> None:
        """Ask a client that is left out nothing more."""
        self.left.remove(client)
        if client in self._active:
            self._active.remove(client)
