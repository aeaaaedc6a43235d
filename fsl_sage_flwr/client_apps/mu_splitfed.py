"""MU-SplitFed on the client: smashed data of three points up, one slope down for each batch.

The strategy is ``fsl_sage_flwr.strategies.MuSplitFed``.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from flwr.app import Context, Message
from torch import Tensor
from torch.func import functional_call

from ..messages import SmashedBatches, measure_field
from ..nodes.exchange_state import PendingForward
from ..nodes.exchanged_round import ExchangedRound
from ..nodes.local_batches import batches_between
from ..nodes.proximal_term import proximal_mu
from ..schedules import set_rate
from ..seeding import derive_seed
from ..splitting import as_sent, as_tensors, trainable_parameters
from ..task import Batch, SplitTask
from ..zeroth_order import directions, moved
from .split_fed import ExchangeReply, ExchangeRequest

EXCHANGE = "query.mu_splitfed_exchange"
FLUSH = "train.mu_splitfed"


@dataclass(frozen=True, kw_only=True)
class PerturbedRequest(ExchangeRequest):
    """Step along the direction of the batch before; answer with the next batch's smashed data.

    The request's ``gradients`` are one number: the slope of the loss along that direction.

    Attributes
    ----------
    perturbation_scale : float
        λ: distance by which the parameters are moved to either side.
    """

    perturbation_scale: float = measure_field()


def exchange(message: Message, context: Context, task: SplitTask) -> Message:
    """Step along the direction of the batch before; answer with smashed data of three points.

    These are the weights, and the weights moved by λ to either side along a random direction.
    """
    began = time.perf_counter()
    current = _Exchange(message, context, task)
    request, number = current.request, current.request.exchange
    client = current.node.client
    batches, total = batches_between(task, client, request.round, number, number + 1)
    forward = current.begin() if number == 0 else current.step(total)
    smashed = [(current.smashed(batch), batch[1]) for batch in batches]
    reply = ExchangeReply(
        round=request.round,
        exchange=number,
        batches=total,
        smashed=SmashedBatches.join(smashed),
    )
    forward.examples += sum(task.objective.count(labels) for _, labels in batches)
    forward.seconds += time.perf_counter() - began
    forward.save(current.node.state, request.version)
    return Message(reply.pack(), reply_to=message)


def flush(message: Message, context: Context, task: SplitTask) -> Message:
    """Step along the last direction, and answer with the client half."""
    began = time.perf_counter()
    current = _Exchange(message, context, task)
    request = current.request
    _, total = batches_between(task, current.node.client, request.round, 0, 0)
    forward, keep = current.step(total), request.keep_optimizer_state
    reply = current.node.end(forward, request.round, began, keep=keep)
    return Message(reply.pack(), reply_to=message)


class _Exchange:
    """One node's work for one exchange of a round."""

    def __init__(self, message: Message, context: Context, task: SplitTask) -> None:
        self.request = PerturbedRequest.unpack(message.content)
        self.node = ExchangedRound(context, task, proximal_mu(message.content))
        self._task, self._half = task, task.model.client

    def begin(self) -> PendingForward:
        """Start a round with the average, and the optimizer of the round before."""
        request = self.request
        keep, before = request.keep_optimizer_state, request.trained_before
        return self.node.begin(self._half, request.client_half, keep=keep, trained_before=before)

    def step(self, total: int) -> PendingForward:
        """Step by the slope along the direction of the batch before, of ``total`` batches."""
        before = self.request.exchange - 1
        forward = self.node.resume(self._half, before, self.request.version_of(before))
        (slope,) = self.request.gradients
        trained = trainable_parameters(self._half)
        along = directions(trained, self._seed(before))
        for parameter, direction in zip(trained.values(), along, strict=True):
            parameter.grad = slope.to(parameter) * direction
        progress = self.request.round + before / total
        set_rate(forward.optimizer, self._task.client_schedule, progress)
        forward.optimizer.step()
        forward.optimizer.zero_grad()
        return forward

    def smashed(self, batch: Batch) -> tuple[Tensor, ...]:
        """Return a batch's smashed data at the weights, and moved to either side.

        All three passes see the same dropout; running statistics move with the first alone.
        """
        request, half, number = self.request, self._half, self.request.exchange
        trained, found = trainable_parameters(half), list[Tensor]()
        for step in (0.0, request.perturbation_scale, -request.perturbation_scale):
            state: Mapping[str, Tensor] = {}
            if step:
                buffers = {name: buffer.clone() for name, buffer in half.named_buffers()}
                state = {**buffers, **moved(trained, step, self._seed(number))}
            self._task.reseed("client", request.round, self.node.client.partition_id, number)
            with torch.no_grad(), self._task.autocast():
                outputs = as_tensors(functional_call(half, dict(state), as_tensors(batch[0])))
            found += [as_sent(tensor) for tensor in outputs]
        return tuple(found)

    def _seed(self, exchange: int) -> int:
        round_, client = self.request.round, self.node.client.partition_id
        return derive_seed(self._task.seed, "perturbation", round_, client, exchange)


HANDLERS = {EXCHANGE: exchange, FLUSH: flush}
