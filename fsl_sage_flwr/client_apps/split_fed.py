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
    TrainReply,
    figure_field,
    flag_field,
    gradients_field,
    smashed_field,
    weights_field,
)
from ..nodes.client_state import ClientState
from ..nodes.exchange_state import FILE, ForwardCache, PendingForward
from ..nodes.identity import identify
from ..nodes.loading import load_weights
from ..nodes.local_batches import batches_between
from ..nodes.persistent_optimizer import OPTIMIZER, PersistentOptimizer
from ..schedules import set_rate
from ..splitting import client_forward, flatten_state
from ..task import SplitTask

EXCHANGE = "query.split_fed_exchange"
FLUSH = "train.split_fed"

# Larger than any number of attempts or exchanges: they make one version number of all three.
ATTEMPTS = EXCHANGES = 1_000_000

live_forwards = ForwardCache()


@dataclass(frozen=True, kw_only=True)
class ExchangeRequest(Request):
    """Step on these gradients; answer with the next smashed data or, to a flush, the client half.

    Attributes
    ----------
    round, attempt, exchange : int
        Round ``t``, its restarts so far, and exchange ``k`` in it, from 0.
    batches_per_exchange : int
        Batches sent forward with the same weights.
    keep_optimizer_state, trained_before : bool
        As in ``TrainRequest``.
    client_half : Mapping or None
        The average ``x_c``, in exchange 0.
    gradients : tuple of Tensor
        Of the mean loss of each batch of the exchange before, with respect to the
        floating-point smashed tensors, batches one after the other; empty in exchange 0.
    """

    round: int = figure_field()
    attempt: int = figure_field()
    exchange: int = figure_field()
    batches_per_exchange: int = figure_field()
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
    current = _Exchange(request, context, task)
    forward = current.begin() if request.exchange == 0 else current.step()
    forward.seconds += time.perf_counter() - began
    forward.save(current.state, current.version(request.exchange))
    began = time.perf_counter()
    labels, batches = current.forward(forward, request.exchange)
    sent = [tuple(tensor.detach() for tensor in tensors) for tensors in forward.smashed]
    reply = ExchangeReply(
        round=request.round,
        exchange=request.exchange,
        batches=batches,
        smashed=SmashedBatches.join(list(zip(sent, labels, strict=True))),
    )
    forward.seconds += time.perf_counter() - began
    live_forwards.put(current.key(request.exchange), forward)
    return Message(reply.pack(), reply_to=message)


def flush(message: Message, context: Context, task: SplitTask) -> Message:
    """Step on the round's last gradients, and answer with the client half."""
    began = time.perf_counter()
    request = ExchangeRequest.unpack(message.content)
    current = _Exchange(request, context, task)
    forward = current.step()
    if request.keep_optimizer_state:
        # In a file, since context.state travels with every message of the next round.
        current.state.save_file(OPTIMIZER, flatten_state(forward.optimizer))
    current.state.drop(FILE)
    seconds = forward.seconds + time.perf_counter() - began
    reply = TrainReply(
        round=request.round,
        num_examples=forward.examples // task.local_epochs,
        optimizer_state_lost=forward.lost,
        seconds=seconds,
        step_seconds=seconds,
        client_half=task.weights_of(forward.half),
    )
    live_forwards.release(forward)
    return Message(reply.pack(), reply_to=message)


class _Exchange:
    """One node's work for one exchange of a round."""

    def __init__(self, request: ExchangeRequest, context: Context, task: SplitTask) -> None:
        self.request, self.task = request, task
        self.client = identify(context)
        self.state = ClientState(context)
        self._node = (context.run_id, context.node_id)

    def begin(self) -> PendingForward:
        """Start a round with the average, and the optimizer of the round before."""
        half = self._half()
        load_weights(half, self.request.client_half, "client half", self.task)
        kept = PersistentOptimizer(
            self.task.optimizer_of_client(half),
            self.state,
            OPTIMIZER,
            keep=self.request.keep_optimizer_state,
            trained_before=self.request.trained_before,
        )
        return PendingForward(half, kept.optimizer, lost=kept.lost)

    def step(self) -> PendingForward:
        """Step on each batch's gradient, all of them taken at the weights of the pass."""
        forward = live_forwards.take(self.key(self.request.exchange - 1)) or self._replay()
        parameters = [p for p in forward.half.parameters() if p.requires_grad]
        start, steps = 0, list[Sequence[Tensor | None]]()
        for k, smashed in enumerate(forward.smashed):
            floating = [tensor for tensor in smashed if tensor.is_floating_point()]
            rows = slice(start, start + len(smashed[0]))
            answer = self.request.gradients
            if len(answer) > len(floating):  # batches of several sizes, one after the other
                own = answer[k * len(floating) : (k + 1) * len(floating)]
            else:
                own = tuple(gradient[rows] for gradient in answer)
            true = [gradient.to(self.task.device) for gradient in own]
            pairs = [(t, g) for t, g in zip(floating, true, strict=True) if t.requires_grad]
            # Without a trained parameter before the cut the server half is trained alone.
            found: Sequence[Tensor | None] = [None] * len(parameters)
            if parameters and pairs:
                found = torch.autograd.grad(
                    [t for t, _ in pairs], parameters, [g for _, g in pairs], allow_unused=True
                )
            steps.append(found)
            start = rows.stop
        for gradients, progress in zip(steps, forward.progress, strict=True):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            set_rate(forward.optimizer, self.task.client_schedule, progress)
            forward.optimizer.step()
        return forward

    def forward(self, forward: PendingForward, exchange: int) -> tuple[list[Tensor], int]:
        """Send an exchange's batches forward.

        Returns
        -------
        tuple
            Each batch's labels, and the number of batches in the round.
        """
        task, round_, width = self.task, self.request.round, self.request.batches_per_exchange
        first = exchange * width
        batches, total = batches_between(task, self.client, round_, first, first + width)
        task.reseed("client", round_, self.client.partition_id, exchange)
        with forward.counting_graph():
            forward.smashed = [client_forward(forward.half, x, task.autocast) for x, _ in batches]
        forward.progress = [round_ + (first + k) / total for k in range(len(batches))]
        forward.examples += sum(task.objective.count(labels) for _, labels in batches)
        return [labels for _, labels in batches], total

    def _replay(self) -> PendingForward:
        half, before = self._half(), self.request.exchange - 1
        forward = PendingForward(half, self.task.optimizer_of_client(half))
        if not forward.load(self.state, self.version(before)):
            raise MissingPayloadError(f"exchange {before} of the round is gone from this node")
        self.forward(forward, before)
        return forward

    def _half(self) -> nn.Module:
        return live_forwards.half(self._node[0], self.task.model.client)

    def key(self, exchange: int) -> tuple[int, int, int]:
        """Return the cache key of an exchange's pass."""
        return (*self._node, self.version(exchange))

    def version(self, exchange: int) -> int:
        """Return the version of an exchange of this attempt, for its file and cached pass."""
        begun = self.request.round * ATTEMPTS + self.request.attempt
        return begun * EXCHANGES + exchange


HANDLERS = {EXCHANGE: exchange, FLUSH: flush}
