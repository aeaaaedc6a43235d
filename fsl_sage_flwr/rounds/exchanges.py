"""SplitFed's exchanges: gradients of one exchange down, smashed data of the next up."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from ..algorithm_options import ExchangeOptions
from ..client_apps.split_fed import EXCHANGE, FLUSH, ExchangeReply, ExchangeRequest
from ..config import check_arguments
from ..messages import ReplySchema, TrainReply
from ..task import SplitTask
from .instruction import Instruction, Instructions
from .refused_work import RefusedWorkError
from .round import Round
from .server.server_half import Gradients


def check_batches_per_exchange(task: SplitTask, batches: int) -> None:
    """Refuse several batches an exchange where each step clips its own samples.

    Raises
    ------
    ValueError
        The number is wrong for the task.
    """
    check_arguments(ExchangeOptions, batches_per_exchange=batches)
    if batches > 1 and task.client_privacy is not None:
        raise ValueError(
            f"batches_per_exchange = {batches}: with client_privacy the samples of a step are "
            "those of one exchange; it must be 1"
        )


@dataclass(frozen=True)
class ExchangeProtocol:
    """Messages of an algorithm's exchanges.

    Attributes
    ----------
    exchange, flush : str
        Types of an exchange's message and of the last.
    request : callable
        Makes both requests.
    points : int
        Smashed data of a sample in an exchange: those of one half, or of several.
    """

    exchange: str = EXCHANGE
    flush: str = FLUSH
    request: Callable[..., ExchangeRequest] = ExchangeRequest
    points: int = 1


SPLIT_FED = ExchangeProtocol()


class Exchanges:
    """The exchanges of some clients in a round, each at its own number.

    Parameters
    ----------
    round_ : Round
        The clients' round.
    clients : iterable of int
        Partition ids.
    batches_per_exchange : int
        Batches that go forward with the same weights.
    attempt : int
        Number of times that these clients have started before in this round.
    start, length : float
        Part of the round that the exchanges take, for the learning rate.
    protocol : ExchangeProtocol
        The messages.
    """

    def __init__(
        self,
        round_: Round,
        clients: Iterable[int],
        batches_per_exchange: int,
        *,
        protocol: ExchangeProtocol = SPLIT_FED,
        attempt: int = 0,
        start: float = 0.0,
        length: float = 1.0,
    ) -> None:
        self._round, self._width, self._attempt = round_, batches_per_exchange, attempt
        self._start, self._length, self._protocol = start, length, protocol
        self._clients = list(clients)
        self._number = dict.fromkeys(self._clients, 0)  # of the next exchange
        self._batches: dict[int, int] = {}
        self._odd = dict.fromkeys(self._clients, 0)
        self._examples = dict.fromkeys(self._clients, 0)
        self._gradients: dict[int, Gradients] = {}
        self._seconds_before = {client: round_.seconds_of(client) for client in self._clients}

    @property
    def left(self) -> list[int]:
        """Clients that are not excluded, ascending."""
        return [client for client in self._clients if client not in self._round.failures]

    @property
    def active(self) -> list[int]:
        """Clients with batches left, ascending."""
        return [client for client in self.left if self.are_left(client)]

    def are_left(self, client: int) -> bool:
        """Tell whether a client has batches to exchange."""
        sent = self._number[client] * self._width
        return sent < self._batches.get(client, sent + 1)

    def number_of(self, client: int) -> int:
        """Return the number of a client's current exchange in the round, from 0."""
        return self._number[client]

    def exchange(self, client: int) -> Instruction[ExchangeReply]:
        """Return a client's next exchange."""
        number = self._number[client]
        equal = {
            "round": self._round.number,
            "exchange": number,
            "batches_per_exchange": self._width,
        }
        if client in self._batches:  # it may not change the number in mid-round
            equal["batches"] = self._batches[client]
        points = self._protocol.points
        smashed = replace(self._round.smashed, tensors=self._round.smashed.tensors * points)
        return Instruction(
            self._protocol.exchange,
            self._request(client),
            ExchangeReply,
            ReplySchema(equal=equal, smashed=smashed),
            # The first exchange counts for all: together they upload once in each epoch.
            sample_uploads=points * self._round.local_epochs if number == 0 else 0,
            problem=partial(self._problem, client),
        )

    def of_all(self) -> Instructions[ExchangeReply]:
        """Return the next exchange of each client that has batches left."""
        return {client: self.exchange(client) for client in self.active}

    def flush(self, client: int) -> Instruction[TrainReply]:
        """Return a client's last message: the last gradients down, for its client half."""
        expected = ReplySchema(
            equal={"round": self._round.number},
            weights={"client_half": self._round.client_half_like},
            weighted_by=self._round.weighted_by,
        )
        sent = self._examples[client] // self._round.local_epochs
        return Instruction(
            self._protocol.flush, self._request(client), TrainReply, expected,
            problem=lambda reply: (
                None if reply.num_examples == sent
                else f"num-examples is {reply.num_examples}; it has sent {sent} in each epoch"
            ),
        )  # fmt: skip

    def answer(self, client: int, gradients: Gradients) -> None:
        """Answer a client's current exchange; the gradients go down with its next message."""
        self._gradients[client] = gradients
        self._number[client] += 1

    def progress(self, client: int, reply: ExchangeReply) -> list[float]:
        """Return the rounds done at each batch of a reply, for the learning rate."""
        first = self._number[client] * self._width
        start, length = self._start, self._length
        return [
            self._round.number + start + length * k / reply.batches
            for k in range(first, first + len(reply.smashed.batch_sizes))
        ]

    def refuse_slow(self, client: int) -> None:
        """Refuse the work of a client that took longer than a round may.

        Raises
        ------
        RefusedWorkError
            It did: its own number of batches must not delay a round without bounds.
        """
        if self._round.is_slow(client, self._seconds_before[client]):
            timeout = self._round.settings.timeout
            raise RefusedWorkError(f"its exchanges took longer than {timeout:g} s")

    def refuse_many(self, client: int, reply: ExchangeReply, *, others_known: bool) -> None:
        """Refuse the work of a client with too many batches, compared with the others.

        Parameters
        ----------
        client : int
            Partition id.
        reply : ExchangeReply
            Tells the number of its batches in the round.
        others_known : bool
            Whether the others have told theirs; if not, only batches sent so far count.

        Raises
        ------
        RefusedWorkError
            There are too many.
        """
        sent = (self._number[client] + 1) * self._width
        self._round.refuse_many_batches(reply.batches if others_known else min(sent, reply.batches))

    def _problem(self, client: int, reply: ExchangeReply) -> str | None:
        """Return the problem with the batches of a valid reply, and count them."""
        limits, smashed = self._round.settings.batches, reply.smashed
        problem = limits.problem_with_sizes(smashed.batch_sizes, self._odd[client])
        self._odd[client] += limits.odd(smashed.batch_sizes)
        self._examples[client] += limits.task.objective.count(smashed.labels)
        self._batches[client] = reply.batches
        self._round.record_batches(client, reply.batches)
        return problem

    def _request(self, client: int) -> ExchangeRequest:
        number = self._number[client]
        return self._protocol.request(
            round=self._round.number,
            attempt=self._attempt,
            exchange=number,
            batches_per_exchange=self._width,
            keep_optimizer_state=self._round.keep_optimizer_state,
            trained_before=self._round.has_trained(client),
            client_half=self._round.client_half if number == 0 else None,
            gradients=self._gradients.pop(client, ()),
        )
