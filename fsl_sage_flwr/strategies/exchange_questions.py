"""What a client is asked in a round in which its batches are exchanged for their gradients."""

from collections import Counter
from functools import partial

from ..client_apps.split_fed import EXCHANGE, FLUSH, ExchangeReply, ExchangeRequest
from ..messages import ReplySchema, TrainReply
from ..rounds.question import Question
from ..rounds.round import Round
from ..rounds.server.server_half import Gradients


class ExchangeQuestions:
    """Gradients of the exchange before down, smashed data of the next up.

    Parameters
    ----------
    round_ : Round
        Whose clients are asked.
    batches_per_exchange : int
        Batches that go forward with the same weights.
    attempt : int
        How often these clients have begun before in this round.
    """

    def __init__(self, round_: Round, batches_per_exchange: int, attempt: int = 0) -> None:
        self._round, self._width, self._attempt = round_, batches_per_exchange, attempt
        self._odd, self._examples = Counter[int](), Counter[int]()

    def exchange(
        self, client: int, number: int, gradients: Gradients = (), batches: int | None = None
    ) -> Question[ExchangeReply]:
        """Return what is asked at an exchange.

        Parameters
        ----------
        client : int
            Partition id.
        number : int
            Which exchange of the round, from 0.
        gradients : tuple of Tensor
            Of the exchange before; none in the first.
        batches : int, optional
            How many the client has said that it has in the round; it may not say otherwise.
        """
        equal = {
            "round": self._round.number,
            "exchange": number,
            "batches_per_exchange": self._width,
        }
        if batches is not None:
            equal["batches"] = batches
        expected = ReplySchema(equal=equal, smashed=self._round.smashed)
        # The first exchange stands for all: in them each epoch is uploaded once.
        uploads = self._round.local_epochs if number == 0 else 0
        request = self._request(client, number, gradients)
        return Question(
            EXCHANGE, request, ExchangeReply, expected, sample_uploads=uploads,
            problem=partial(self._problem, client),
        )  # fmt: skip

    def flush(self, client: int, exchanges: int, gradients: Gradients) -> Question[TrainReply]:
        """Return the last message after so many exchanges: it asks for the client half."""
        expected = ReplySchema(
            equal={"round": self._round.number},
            weights={"client_half": self._round.client_half_like},
            weighted_by=self._round.weighted_by,
        )
        sent = self._examples[client] // self._round.local_epochs
        return Question(
            FLUSH, self._request(client, exchanges, gradients), TrainReply, expected,
            problem=lambda reply: (
                None if reply.num_examples == sent
                else f"num-examples is {reply.num_examples}; it has sent {sent} in each epoch"
            ),
        )  # fmt: skip

    def _problem(self, client: int, reply: ExchangeReply) -> str | None:
        """Return what is wrong with the batches of a good reply; they are counted."""
        limits, smashed = self._round.settings.batches, reply.smashed
        problem = limits.problem_with_sizes(smashed.batch_sizes, self._odd[client])
        self._odd[client] += limits.odd(smashed.batch_sizes)
        self._examples[client] += limits.task.objective.count(smashed.labels)
        self._round.note_batches(client, reply.batches)
        return problem

    def are_left(self, number: int, batches: int) -> bool:
        """Tell whether a client with so many batches in the round has some after an exchange."""
        return (number + 1) * self._width < batches

    def progress(
        self, number: int, reply: ExchangeReply, start: float = 0.0, length: float = 1.0
    ) -> list[float]:
        """Return the rounds done at each batch of a reply, for the learning rate.

        ``start`` and ``length`` say which part of the round the client's exchanges make.
        """
        first = number * self._width
        return [
            self._round.number + start + length * k / reply.batches
            for k in range(first, first + len(reply.smashed.batch_sizes))
        ]

    def leave_out_if_slow(self, client: int, waited_before: float = 0.0) -> bool:
        """Leave a client out that owed answers for longer than a round may take.

        Parameters
        ----------
        client : int
            Only it knows how many batches it has.
        waited_before : float
            Seconds in which it owed answers before these exchanges.

        Returns
        -------
        bool
            Whether it is left out.
        """
        timeout = self._round.settings.timeout
        is_slow = self._round.is_slow(client, waited_before)
        if is_slow:
            self._round.leave_out(client, f"its exchanges took longer than {timeout:g} s")
        return is_slow

    def _request(self, client: int, number: int, gradients: Gradients) -> ExchangeRequest:
        return ExchangeRequest(
            round=self._round.number,
            attempt=self._attempt,
            exchange=number,
            batches_per_exchange=self._width,
            keep_optimizer_state=self._round.keep_optimizer_state,
            trained_before=self._round.has_trained(client),
            client_half=self._round.client_half if number == 0 else None,
            gradients=gradients,
        )
