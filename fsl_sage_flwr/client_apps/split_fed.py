"""SplitFed on the client; the strategies are ``SplitFedV1`` and ``SplitFedV2``."""

import time
from collections.abc import Iterable, Sequence

import torch
from flwr.app import Context, Message
from torch import Tensor, nn

from ..messages import (
    ExchangeReply,
    ExchangeRequest,
    MissingPayloadError,
    SmashedBatches,
    TrainReply,
)
from ..schedules import set_rate
from ..splitting import client_forward
from ..task import Batch, ClientIdentity, SplitTask
from .client_state import ClientState
from .exchange_state import FILE, Forward, LiveForwards
from .identity import identify
from .loading import load_weights
from .local_training import OPTIMIZER, KeptOptimizer, epoch_batches, need
from .optimizer_state import flatten_state

# More than any round has; what makes a version of a round, an attempt and an exchange.
ATTEMPTS = EXCHANGES = 1_000_000

live_forwards = LiveForwards()


def exchange(message: Message, context: Context, task: SplitTask) -> Message:
    """Step on the gradients of the exchange before, and answer with the next smashed data."""
    began = time.perf_counter()
    request = ExchangeRequest.from_records(message.content)
    node = _Node(request, context, task)
    forward = node.begin() if request.exchange == 0 else node.step()
    forward.seconds += time.perf_counter() - began
    forward.save(node.state, node.version(request.exchange))
    began = time.perf_counter()
    labels, batches = node.forward(forward, request.exchange)
    smashed = [tuple(tensor.detach() for tensor in tensors) for tensors in forward.smashed]
    reply = ExchangeReply(
        round=request.round,
        exchange=request.exchange,
        batches=batches,
        smashed=SmashedBatches.join(list(zip(smashed, labels, strict=True))),
    )
    forward.seconds += time.perf_counter() - began
    live_forwards.put(node.key(request.exchange), forward)
    return Message(reply.to_records(), reply_to=message)


def flush(message: Message, context: Context, task: SplitTask) -> Message:
    """Step on the round's last gradients, and answer with the client half."""
    began = time.perf_counter()
    request = ExchangeRequest.from_records(message.content)
    node = _Node(request, context, task)
    forward = node.step()
    if request.keep_optimizer_state:
        # In a file: it would travel with every message of the next round.
        node.state.save_file(OPTIMIZER, flatten_state(forward.optimizer))
    node.state.drop(FILE)
    seconds = forward.seconds + time.perf_counter() - began
    reply = TrainReply(
        round=request.round,
        num_examples=forward.examples // task.local_epochs,
        optimizer_state_lost=forward.lost,
        seconds=seconds,
        step_seconds=seconds,
        client_half=forward.half.state_dict(),
    ).to_records()
    live_forwards.release(forward)
    return Message(reply, reply_to=message)


class _Node:
    """One node at one exchange."""

    def __init__(self, request: ExchangeRequest, context: Context, task: SplitTask) -> None:
        self.request, self.task = request, task
        self.client = identify(context)
        self.state = ClientState(context)
        self._node = (context.run_id, context.node_id)

    def begin(self) -> Forward:
        """Start a round: the average, and the optimizer of the round before."""
        half = self._half()
        weights = need(self.request.client_half, "client half")
        load_weights(half, weights, "client half", self.task)
        kept = KeptOptimizer(
            self.task.client_optimizer(half.parameters()),
            self.state,
            OPTIMIZER,
            keep=self.request.keep_optimizer_state,
            trained_before=self.request.trained_before,
        )
        return Forward(half, kept.optimizer, lost=kept.lost)

    def step(self) -> Forward:
        """Step on each batch's gradient, all of them taken at the weights of the pass."""
        forward = live_forwards.take(self.key(self.request.exchange - 1)) or self._replay()
        parameters = [p for p in forward.half.parameters() if p.requires_grad]
        start, steps = 0, []
        for smashed in forward.smashed:
            floating = [tensor for tensor in smashed if tensor.is_floating_point()]
            rows = slice(start, start + len(smashed[0]))
            true = [gradient[rows].to(self.task.device) for gradient in self.request.gradients]
            pairs = [(t, g) for t, g in zip(floating, true, strict=True) if t.requires_grad]
            steps.append(
                torch.autograd.grad(
                    [t for t, _ in pairs], parameters, [g for _, g in pairs], allow_unused=True
                )
            )
            start = rows.stop
        for gradients, progress in zip(steps, forward.progress, strict=True):
            for parameter, gradient in zip(parameters, gradients, strict=True):
                parameter.grad = gradient
            set_rate(forward.optimizer, self.task.client_schedule, progress)
            forward.optimizer.step()
        return forward

    def forward(self, forward: Forward, exchange: int) -> tuple[list[Tensor], int]:
        """Send an exchange's batches forward.

        Returns
        -------
        tuple
            Each batch's labels, and how many batches the round has.
        """
        task, round_, width = self.task, self.request.round, self.request.batches_per_exchange
        first = exchange * width
        batches, total = _rows(task, self.client, round_, first, first + width)
        task.reseed("client", round_, self.client.partition_id, exchange)
        with forward.counting_graph():
            forward.smashed = [client_forward(forward.half, x, task.autocast) for x, _ in batches]
        forward.progress = [round_ + (first + k) / total for k in range(len(batches))]
        forward.examples += sum(len(labels) for _, labels in batches)
        return [labels for _, labels in batches], total

    def _replay(self) -> Forward:
        half, before = self._half(), self.request.exchange - 1
        forward = Forward(half, self.task.client_optimizer(half.parameters()))
        if not forward.load(self.state, self.version(before)):
            raise MissingPayloadError(f"exchange {before} of the round is gone from this node")
        self.forward(forward, before)
        return forward

    def _half(self) -> nn.Module:
        return live_forwards.half(self._node[0], self.task.model.client)

    def key(self, exchange: int) -> tuple[int, int, int]:
        """Return where an exchange's live pass is kept."""
        return (*self._node, self.version(exchange))

    def version(self, exchange: int) -> int:
        """Return which file, and which live pass, belongs to an exchange of this attempt."""
        begun = self.request.round * ATTEMPTS + self.request.attempt
        return begun * EXCHANGES + exchange


def _rows(
    task: SplitTask, client: ClientIdentity, round_: int, start: int, stop: int
) -> tuple[list[Batch], int]:
    """Return batches ``start`` to ``stop`` of a round, epoch after epoch, and their number."""
    found: list[Batch] = []
    passed = 0
    for epoch in range(task.local_epochs):
        batches: Iterable[Batch] = epoch_batches(task, client, round_, epoch)
        if not isinstance(batches, Sequence):
            batches = list(batches)
        found += batches[max(0, start - passed) : max(0, stop - passed)]
        passed += len(batches)
    return found, passed
