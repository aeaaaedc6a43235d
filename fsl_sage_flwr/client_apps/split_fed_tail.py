"""SplitFed on a client with the model's tail: two trips a batch, and labels that stay.

Smashed data go up and hidden states of the server half come down; gradients of the hidden states go
up, and gradients of the smashed data come down. The last message of a round is that of
``fsl_sage_flwr.client_apps.split_fed``.
"""

import time
from dataclasses import dataclass

from flwr.app import Context, Message
from torch import Tensor

from ..messages import GRADIENTS, SMASHED, BadReplyError, Reply, ReplySchema, batch_field
from ..messages import figure_field as figure
from ..nodes.proximal_term import proximal_mu
from ..task import SplitTask
from .split_fed import ExchangeRequest, ExchangeWork, PlaceInRound

FRONT = "query.split_fed_front"
TAIL = "query.split_fed_tail"


@dataclass(frozen=True, kw_only=True)
class FrontReply(Reply):
    """Smashed data of the next batch, without labels; the request is an ``ExchangeRequest``.

    Attributes
    ----------
    round, exchange : int
        The request's.
    batches : int
        Batches of the client's round in all.
    samples : int
        Samples of the batch.
    smashed : tuple of Tensor
        The tensors that cross the cut, each ``(B, …)``.
    """

    round: int = figure()
    exchange: int = figure()
    batches: int = figure(at_least=1)
    samples: int = figure(at_least=1)
    smashed: tuple[Tensor, ...] = batch_field(SMASHED)

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Samples of each batch."""
        return (self.samples,)

    def check(self, expected: ReplySchema) -> None:
        """Refuse more batches than the round has."""
        if self.exchange >= self.batches:
            raise BadReplyError(
                f"1 batch in exchange {self.exchange}, but {self.batches} in the round"
            )


@dataclass(frozen=True, kw_only=True)
class TailRequest(PlaceInRound):
    """Pass these hidden states through the tail; answer with their gradients.

    Attributes
    ----------
    hidden : tuple of Tensor
        What the server half computes from the exchange's smashed data, each ``(B, …)``.
    """

    hidden: tuple[Tensor, ...] = batch_field(SMASHED)


@dataclass(frozen=True, kw_only=True)
class TailReply(Reply):
    """Gradients of a batch's hidden states.

    Attributes
    ----------
    round, exchange, samples : int
        The request's.
    gradients : tuple of Tensor
        Of the batch's mean loss with respect to the floating-point hidden states.
    """

    round: int = figure()
    exchange: int = figure()
    samples: int = figure(at_least=1)
    gradients: tuple[Tensor, ...] = batch_field(GRADIENTS)


def front(message: Message, context: Context, task: SplitTask) -> Message:
    """Step on the gradients of the exchange before, and answer with the next smashed data."""
    began = time.perf_counter()
    request = ExchangeRequest.unpack(message.content)
    forward, batches = ExchangeWork(request, context, task, proximal_mu(message.content)).advance(
        request, began
    )
    [smashed] = forward.smashed
    reply = FrontReply(
        round=request.round,
        exchange=request.exchange,
        batches=batches,
        samples=len(smashed[0]),
        smashed=tuple(tensor.detach().cpu() for tensor in smashed),
    )
    return Message(reply.pack(), reply_to=message)


def tail(message: Message, context: Context, task: SplitTask) -> Message:
    """Compute the loss of a batch behind its hidden states, and answer with their gradients."""
    request = TailRequest.unpack(message.content)
    gradients = ExchangeWork(request, context, task, proximal_mu(message.content)).through_tail(
        request.hidden
    )
    reply = TailReply(
        round=request.round,
        exchange=request.exchange,
        samples=len(request.hidden[0]),
        gradients=tuple(gradient.cpu() for gradient in gradients),
    )
    return Message(reply.pack(), reply_to=message)


HANDLERS = {FRONT: front, TAIL: tail}
