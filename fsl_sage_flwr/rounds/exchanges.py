"""SplitFed's exchanges: gradients of one exchange down, smashed data of the next up."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..algorithm_options import ExchangeOptions
from ..client_apps.split_fed import EXCHANGE, FLUSH, ExchangeReply, ExchangeRequest
from ..client_apps.split_fed_tail import FRONT, TAIL, FrontReply, TailReply, TailRequest
from ..config import check_arguments
from ..messages import ReplySchema, SmashedSpec, TrainReply
from ..task import SplitTask
from .instruction import Instruction, Instructions
from .metrics.round_summary import StepLoss
from .refused_work import RefusedWorkError
from .round import Round
from .server.server_half import Gradients
from .server.tail_passes import Hidden


def check_batches_per_exchange(task: SplitTask, batches: int) -> None:
    """Refuse several batches an exchange where each step clips its own samples.

    Raises
    ------
    ValueError
        The number is wrong for the task.
    """
    check_arguments(ExchangeOptions, batches_per_exchange=batches)
    if batches > 1 and task.model.tail is not None:
        raise ValueError(
            f"batches_per_exchange = {batches}: with a tail on the clients each batch is one "
            "exchange; it must be 1"
        )
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
AnyReply = ExchangeReply | FrontReply


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
        self._has_tail = round_.settings.batches.task.model.tail is not None
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

    def exchange(self, client: int) -> Instruction[Any]:
        """Return a client's next exchange; of a client with a tail the first of two trips."""
        number = self._number[client]
        equal = {"round": self._round.number, "exchange": number}
        if not self._has_tail:
            equal["batches_per_exchange"] = self._width
        if client in self._batches:  # it may not change the number in mid-round
            equal["batches"] = self._batches[client]
        spec, points = self._round.smashed, self._protocol.points
        smashed = replace(spec, tensors=spec.tensors * points, free=spec.free * points)
        expected = ReplySchema(equal=equal, smashed=smashed)
        if self._has_tail:
            expected = ReplySchema(equal=equal, batch={"smashed": spec.tensors})
        return Instruction(
            FRONT if self._has_tail else self._protocol.exchange,
            self._request(client),
            FrontReply if self._has_tail else ExchangeReply,
            expected,
            # The first exchange counts for all: together they upload once in each epoch.
            sample_uploads=points * self._round.local_epochs if number == 0 else 0,
            problem=partial(self._problem, client),
        )

    def tail(self, client: int, hidden: Hidden) -> Instruction[TailReply]:
        """Return the second trip of a client's current exchange: hidden states down.

        The reply has the gradients of the floating-point ones.
        """
        number, floating = self._number[client], [h for h in hidden if h.is_floating_point()]
        return Instruction(
            TAIL,
            TailRequest(
                round=self._round.number,
                attempt=self._attempt,
                exchange=number,
                batches_per_exchange=self._width,
                hidden=hidden,
            ),
            TailReply,
            ReplySchema(
                equal={"round": self._round.number, "exchange": number, "samples": len(hidden[0])},
                batch={"gradients": floating},
            ),
            sample_uploads=0,
        )

    def of_all(self) -> Instructions[Any]:
        """Return the next exchange of each client that has batches left."""
        return {client: self.exchange(client) for client in self.active}

    def flush(self, client: int) -> Instruction[TrainReply]:
        """Return a client's last message: the last gradients down, for its client half."""
        expected = ReplySchema(
            equal={"round": self._round.number},
            weights={"client_half": self._round.client_half_like},
            figures=("train_loss",) if self._has_tail else (),
            weighted_by=self._round.weighted_by,
        )
        sent = self._examples[client] // self._round.local_epochs
        # Tokens that count are known to the client alone, if labels are.
        known = not self._has_tail or self._round.settings.batches.task.objective.count is len
        return Instruction(
            self._protocol.flush, self._request(client), TrainReply, expected,
            problem=lambda reply: (
                None if reply.num_examples == sent or not known
                else f"num-examples is {reply.num_examples}; it has sent {sent} in each epoch"
            ),
        )  # fmt: skip

    def answer(self, client: int, gradients: Gradients) -> None:
        """Answer a client's current exchange; the gradients go down with its next message."""
        self._gradients[client] = gradients
        self._number[client] += 1

    def progress(self, client: int, reply: AnyReply) -> list[float]:
        """Return the rounds done at each batch of a reply, for the learning rate."""
        first = self._number[client] * self._width
        start, length = self._start, self._length
        return [
            self._round.number + start + length * k / reply.batches
            for k in range(first, first + len(reply.batch_sizes))
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

    def refuse_many(self, client: int, reply: AnyReply, *, others_known: bool) -> None:
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

    def _problem(self, client: int, reply: AnyReply) -> str | None:
        """Return the problem with the batches of a valid reply, and count them."""
        limits, sizes = self._round.settings.batches, reply.batch_sizes
        problem = limits.problem_with_sizes(sizes, self._odd[client])
        self._odd[client] += limits.odd(sizes)
        if isinstance(reply, ExchangeReply):
            self._examples[client] += limits.task.objective.count(reply.smashed.labels)
        else:
            self._examples[client] += reply.samples
            problem = problem or _problem_with_size(reply.samples, self._round.smashed)
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


def _problem_with_size(samples: int, spec: SmashedSpec) -> str | None:
    """Return the problem with the size of a batch that BatchNorm is to normalise over."""
    if samples >= spec.smallest_batch:
        return None
    return (
        f"a batch of {samples} samples; BatchNorm needs two, so let train_batches drop a last "
        "batch of 1"
    )


def record_loss_of_tail(round_: Round, client: int, reply: TrainReply) -> None:
    """Record the loss that a client with a tail has computed; others' replies have none."""
    if reply.train_loss is not None:
        round_.losses.append(StepLoss(client, reply.train_loss, reply.num_examples))


def order_losses(round_: Round) -> None:
    """Drop the losses of excluded clients; order the others by exchange and client.

    The order of arrival must not decide the order in which losses are added up.
    """
    losses = [loss for loss in round_.losses if loss.client in round_.served]
    round_.losses[:] = sorted(losses, key=lambda loss: (loss.exchange, loss.client))
