"""SplitFed on the client: every batch is exchanged for its gradient.

The strategies are ``fsl_sage_flwr.strategies.SplitFedV1`` and ``SplitFedV2``.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from flwr.app import Context, Message
from torch import Tensor, nn

from ..messages import (
    CLIENT_HALF,
    BadReplyError,
    MissingPayloadError,
    Reply,
    ReplySchema,
    Request,
    SmashedBatches,
    figure_field,
    flag_field,
    gradients_field,
    smashed_field,
    weights_field,
)
from ..messages.arrays import in_named_order, with_orders
from ..nodes.exchange_state import ForwardCache, PendingForward
from ..nodes.exchanged_round import ExchangedRound
from ..nodes.local_batches import batches_between
from ..nodes.proximal_term import proximal_mu
from ..schedules import set_rate
from ..splitting import client_forward, differentiable, tail_of
from ..splitting.layout import laid_out
from ..task import SplitTask

HIDDEN = "hidden"  # a file: hidden states of an exchange
EXCHANGE = "query.split_fed_exchange"
FLUSH = "train.split_fed"

# Larger than any number of attempts or exchanges: they make one version number of all three.
ATTEMPTS = EXCHANGES = 1_000_000

live_forwards = ForwardCache()


@dataclass(frozen=True, kw_only=True)
class PlaceInRound(Request):
    """The exchange that a request belongs to.

    Attributes
    ----------
    round, attempt, exchange : int
        Round ``t``, its restarts so far, and exchange ``k`` in it, from 0.
    batches_per_exchange : int
        Batches sent forward with the same weights.
    """

    round: int = figure_field()
    attempt: int = figure_field()
    exchange: int = figure_field()
    batches_per_exchange: int = figure_field()

    @property
    def version(self) -> int:
        """Version of the exchange, for its file and cached pass."""
        return self.version_of(self.exchange)

    def version_of(self, exchange: int) -> int:
        """Return the version of another exchange of this attempt."""
        return (self.round * ATTEMPTS + self.attempt) * EXCHANGES + exchange


@dataclass(frozen=True, kw_only=True)
class ExchangeRequest(PlaceInRound):
    """Step on these gradients; answer with the next smashed data or, to a flush, the client half.

    Attributes
    ----------
    keep_optimizer_state, trained_before : bool
        As in ``TrainRequest``.
    client_half : Mapping or None
        The average ``x_c``, in exchange 0.
    gradients : tuple of Tensor
        Of the mean loss of each batch of the exchange before, with respect to the
        floating-point smashed tensors, batches one after the other; empty in exchange 0.
    """

    keep_optimizer_state: bool = flag_field()
    trained_before: bool = flag_field()
    client_half: Mapping[str, Tensor] | None = weights_field(CLIENT_HALF, optional=True)
    gradients: tuple[Tensor, ...] = gradients_field()


@dataclass(frozen=True, kw_only=True)
class ExchangeReply(Reply):
    """Smashed data of the next batch or batches.

    Attributes
    ----------
    round, exchange : int
        The request's.
    batches : int
        Batches of the client's round in all.
    smashed : SmashedBatches
        One batch, or up to ``batches_per_exchange``.
    """

    round: int = figure_field()
    exchange: int = figure_field()
    batches: int = figure_field(at_least=1)
    smashed: SmashedBatches = smashed_field()

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Samples of each batch."""
        return self.smashed.batch_sizes

    def check(self, expected: ReplySchema) -> None:
        """Refuse fewer or more batches than this exchange of the round has."""
        width, present = expected.equal["batches_per_exchange"], len(self.smashed.batch_sizes)
        wanted = min(width, self.batches - self.exchange * width)
        if present != wanted:
            raise BadReplyError(
                f"{present} batches in exchange {self.exchange}, but {self.batches} in the "
                f"round: {wanted} expected"
            )


def exchange(message: Message, context: Context, task: SplitTask) -> Message:
    """Step on the gradients of the exchange before, and answer with the next smashed data."""
    began = time.perf_counter()
    request = ExchangeRequest.unpack(message.content)
    current = ExchangeWork(request, context, task, proximal_mu(message.content))
    forward, batches = current.advance(request, began)
    sent = [tuple(tensor.detach() for tensor in tensors) for tensors in forward.smashed]
    reply = ExchangeReply(
        round=request.round,
        exchange=request.exchange,
        batches=batches,
        smashed=SmashedBatches.join(list(zip(sent, forward.labels, strict=True))),
    )
    return Message(reply.pack(), reply_to=message)


def flush(message: Message, context: Context, task: SplitTask) -> Message:
    """Step on the round's last gradients, and answer with the client half."""
    began = time.perf_counter()
    request = ExchangeRequest.unpack(message.content)
    current = ExchangeWork(request, context, task, proximal_mu(message.content))
    forward = current.step(request)
    current.node.state.drop(HIDDEN)
    loss = None if task.model.tail is None else forward.total_loss / forward.examples
    keep = request.keep_optimizer_state
    reply = current.node.end(forward, request.round, began, keep=keep, train_loss=loss)
    live_forwards.release(forward)
    return Message(reply.pack(), reply_to=message)


class ExchangeWork:
    """One node's work for one exchange of a round.

    Parameters
    ----------
    request : PlaceInRound
        Payload of the message.
    context : Context
        The node's.
    task : SplitTask
        Task to train.
    mu : float
        Weight of FedProx's term; 0 for none.

    Attributes
    ----------
    node : ExchangedRound
        The node's part in the round.
    """

    def __init__(self, request: PlaceInRound, context: Context, task: SplitTask, mu: float) -> None:
        self.request, self.task = request, task
        self.node = ExchangedRound(context, task, mu)
        self._id = (context.run_id, context.node_id)

    def advance(self, request: ExchangeRequest, began: float) -> tuple[PendingForward, int]:
        """Step on the gradients of the exchange before, and send the next batches forward.

        Returns
        -------
        tuple
            The pass, and the number of batches in the round.
        """
        forward = self._begin(request) if request.exchange == 0 else self.step(request)
        forward.seconds += time.perf_counter() - began
        forward.save(self.node.state, request.version)
        began = time.perf_counter()
        batches = self._forward(forward, request.exchange)
        forward.seconds += time.perf_counter() - began
        self._keep(forward)
        return forward, batches

    def _begin(self, request: ExchangeRequest) -> PendingForward:
        """Start a round with the average, and the optimizer of the round before."""
        keep, before = request.keep_optimizer_state, request.trained_before
        weights = request.client_half
        return self.node.begin(self._half(), weights, keep=keep, trained_before=before)

    def step(self, request: ExchangeRequest) -> PendingForward:
        """Step on each batch's gradient, all of them taken at the weights of the pass."""
        forward = self._pending(request.exchange - 1)
        tail = tail_of(forward.half)
        of_tail = {id(p) for p in tail.parameters()} if tail is not None else set[int]()
        trained = [p for p in forward.half.parameters() if p.requires_grad]
        parameters = [p for p in trained if id(p) not in of_tail]
        start, steps = 0, list[Sequence[Tensor | None]]()
        for k, smashed in enumerate(forward.smashed):
            floating = [tensor for tensor in smashed if tensor.is_floating_point()]
            rows = slice(start, start + len(smashed[0]))
            answer = request.gradients
            if len(answer) > len(floating):  # batches of several sizes, one after the other
                own = answer[k * len(floating) : (k + 1) * len(floating)]
            else:
                own = tuple(gradient[rows] for gradient in answer)
            # Of several batches' gradients: without gaps between the rows.
            true = [laid_out(gradient, gradient).to(self.task.device) for gradient in own]
            pairs = [(t, g) for t, g in zip(floating, true, strict=True) if t.requires_grad]
            # Without a trained parameter before the cut the server half is trained alone.
            found: Sequence[Tensor | None] = [None] * len(parameters)
            if parameters and pairs:
                found = torch.autograd.grad(
                    [t for t, _ in pairs], parameters, [g for _, g in pairs], allow_unused=True
                )
            steps.append([*found, *forward.of_tail])
            start = rows.stop
        # Those of the tail come last in a client half that has one.
        for gradients, progress in zip(steps, forward.progress, strict=True):
            for parameter, gradient in zip(trained, gradients, strict=True):
                parameter.grad = gradient
            set_rate(forward.optimizer, self.task.client_schedule, progress)
            forward.optimizer.step()
        return forward

    def _forward(self, forward: PendingForward, exchange: int) -> int:
        """Send an exchange's batches forward; return the number of batches in the round."""
        task, round_, width = self.task, self.request.round, self.request.batches_per_exchange
        first = exchange * width
        batches, total = batches_between(task, self.node.client, round_, first, first + width)
        task.reseed("client", round_, self.node.client.partition_id, exchange)
        with forward.counting_graph():
            forward.smashed = [client_forward(forward.half, x, task.autocast) for x, _ in batches]
        forward.labels, forward.of_tail = [labels for _, labels in batches], []
        forward.progress = [round_ + (first + k) / total for k in range(len(batches))]
        forward.examples += sum(task.objective.count(labels) for labels in forward.labels)
        return total

    def through_tail(self, hidden: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Pass a batch's hidden states through the tail.

        The gradients of the tail's parameters wait for those of the client half, and the step for
        both.

        Returns
        -------
        tuple of Tensor
            Gradients of the batch's mean loss with respect to the floating-point hidden states.
        """
        began = time.perf_counter()
        forward = self._pending(self.request.exchange, before_tail=True)
        self.node.state.save_file(HIDDEN, with_orders(hidden), self.request.version)
        gradients = self._tail_pass(forward, hidden, self.request.exchange)
        forward.seconds += time.perf_counter() - began
        self._keep(forward)
        return gradients

    def _tail_pass(
        self, forward: PendingForward, hidden: tuple[Tensor, ...], exchange: int
    ) -> tuple[Tensor, ...]:
        task, tail = self.task, tail_of(forward.half)
        if tail is None:
            raise MissingPayloadError("this node's model has no tail for the hidden states")
        task.reseed("tail", self.request.round, self.node.client.partition_id, exchange)
        leaves, [labels] = differentiable(task.to_device(hidden)), forward.labels
        with task.autocast():
            loss = task.objective.mean_loss(tail, leaves, labels)
        floating = [leaf for leaf in leaves if leaf.requires_grad]
        parameters = [p for p in tail.parameters() if p.requires_grad]
        found = torch.autograd.grad(loss, [*floating, *parameters], allow_unused=True)
        forward.of_tail = [*found[len(floating) :]]
        forward.total_loss += loss.item() * task.objective.count(labels)
        return tuple(
            torch.zeros_like(leaf) if gradient is None else gradient
            for leaf, gradient in zip(floating, found[: len(floating)], strict=True)
        )

    def _pending(self, exchange: int, *, before_tail: bool = False) -> PendingForward:
        """Return the pass of an exchange: the one of this process, or repeated."""
        return live_forwards.take(self._key(exchange)) or self._replay(exchange, before_tail)

    def _replay(self, exchange: int, before_tail: bool) -> PendingForward:
        version = self.request.version_of(exchange)
        forward = self.node.resume(self._half(), exchange, version)
        self._forward(forward, exchange)
        if self.task.model.tail is not None and not before_tail:
            hidden = self.node.state.load(HIDDEN, version)
            if hidden is None:
                raise MissingPayloadError(f"the hidden states of exchange {exchange} are gone")
            self._tail_pass(forward, tuple(in_named_order(hidden).values()), exchange)
        return forward

    def _half(self) -> nn.Module:
        return live_forwards.half(self._id[0], self.task.model.client)

    def _keep(self, forward: PendingForward) -> None:
        """Keep the request's pass in this process."""
        live_forwards.put(self._key(self.request.exchange), forward)

    def _key(self, exchange: int) -> tuple[int, int, int]:
        return (*self._id, self.request.version_of(exchange))


HANDLERS = {EXCHANGE: exchange, FLUSH: flush}
