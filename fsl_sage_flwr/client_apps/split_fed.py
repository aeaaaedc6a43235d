"""SplitFed on the client; the strategies are ``SplitFedV1`` and ``SplitFedV2``."""

import copy
import time
from collections.abc import Iterable, Sequence

import torch
from flwr.app import Context, Message
from torch import Tensor

from ..messages import (
    ExchangeReply,
    ExchangeRequest,
    MissingPayloadError,
    SmashedBatches,
    TrainReply,
)
from ..schedules import set_rate
from ..seeding import derive_seed
from ..splitting import client_forward
from ..task import Batch, ClientIdentity, SplitTask
from .client_state import ClientState
from .exchange_state import Forward, LiveForwards
from .identity import identify
from .loading import load_weights
from .local_training import OPTIMIZER, KeptOptimizer, epoch_batches, need
from .optimizer_state import flatten_state, restore_state

live_forwards = LiveForwards()

HALF_BEFORE = "exchange-client-half"
OPTIMIZER_BEFORE = "exchange-optimizer"
TOTALS = "exchange-totals"


def exchange(message: Message, context: Context, task: SplitTask) -> Message:
    """Step on the gradients of the exchange before, and answer with the next smashed data."""
    began = time.perf_counter()
    request = ExchangeRequest.from_records(message.content)
    node = _Node(request, context, task)
    forward = node.begin() if request.exchange == 0 else node.step()
    labels, batches = node.forward(forward)
    node.count(labels, time.perf_counter() - began)
    smashed = [tuple(tensor.detach() for tensor in tensors) for tensors in forward.smashed]
    reply = ExchangeReply(
        round=request.round,
        exchange=request.exchange,
        batches=batches,
        smashed=SmashedBatches.join(list(zip(smashed, labels, strict=True))),
    )
    return Message(reply.to_records(), reply_to=message)


def flush(message: Message, context: Context, task: SplitTask) -> Message:
    """Step on the round's last gradients, and answer with the client half."""
    began = time.perf_counter()
    request = ExchangeRequest.from_records(message.content)
    node = _Node(request, context, task)
    forward = node.step()
    if request.keep_optimizer_state:
        node.state.save(OPTIMIZER, flatten_state(forward.optimizer))
    examples, lost, seconds = node.end()
    seconds += time.perf_counter() - began
    reply = TrainReply(
        round=request.round,
        num_examples=examples // task.local_epochs,
        optimizer_state_lost=lost,
        seconds=seconds,
        step_seconds=seconds,
        client_half=forward.half.state_dict(),
    )
    return Message(reply.to_records(), reply_to=message)


class _Node:
    """One node at one exchange."""

    def __init__(self, request: ExchangeRequest, context: Context, task: SplitTask) -> None:
        self.request, self.task = request, task
        self.client = identify(context)
        self.state = ClientState(context)
        self._node = (context.run_id, context.node_id)

    def begin(self) -> Forward:
        """Start a round: the average, and the optimizer of the round before."""
        request = self.request
        half = copy.deepcopy(self.task.model.client)
        weights = need(request.client_half, "client half")
        load_weights(half, weights, "client half", self.task)
        kept = KeptOptimizer(
            self.task.client_optimizer(half.parameters()),
            self.state,
            OPTIMIZER,
            keep=request.keep_optimizer_state,
            trained_before=request.trained_before,
        )
        self._save_totals(torch.tensor([0.0, float(kept.lost), 0.0], dtype=torch.float64))
        return Forward(half, kept.optimizer)

    def step(self) -> Forward:
        """Step on each batch's gradient, all of them taken at the weights of the pass."""
        forward = live_forwards.take(self._key(self.request.exchange - 1)) or self._replay()
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

    def forward(self, forward: Forward) -> tuple[list[Tensor], int]:
        """Send the next batches forward; keep the pass, and what it takes to repeat it.

        Returns
        -------
        tuple
            Each batch's labels, and how many batches the round has.
        """
        self.state.save_file(HALF_BEFORE, forward.half.state_dict(), self._version())
        self.state.save_file(OPTIMIZER_BEFORE, flatten_state(forward.optimizer), self._version())
        labels, total = self._pass(forward, self.request.exchange)
        live_forwards.put(self._key(self.request.exchange), forward)
        return labels, total

    def count(self, labels: list[Tensor], seconds: float) -> None:
        """Add to the round's examples and time."""
        totals = self._totals()
        totals += torch.tensor([float(sum(map(len, labels))), 0.0, seconds], dtype=torch.float64)
        self._save_totals(totals)

    def end(self) -> tuple[int, bool, float]:
        """End the round; return its examples, whether a state was lost, and its time."""
        examples, lost, seconds = self._totals().tolist()
        for name in (HALF_BEFORE, OPTIMIZER_BEFORE, TOTALS):
            self.state.drop(name)
        return int(examples), bool(lost), seconds

    def _replay(self) -> Forward:
        before = self.request.exchange - 1
        half_before = self.state.load(HALF_BEFORE, self._version(before))
        optimizer_before = self.state.load(OPTIMIZER_BEFORE, self._version(before))
        if half_before is None or optimizer_before is None:
            raise MissingPayloadError(f"exchange {before} of the round is gone from this node")
        half = copy.deepcopy(self.task.model.client)
        half.load_state_dict(half_before)
        optimizer = self.task.client_optimizer(half.parameters())
        restore_state(optimizer, optimizer_before)
        forward = Forward(half, optimizer)
        self._pass(forward, before)
        return forward

    def _pass(self, forward: Forward, exchange: int) -> tuple[list[Tensor], int]:
        task, round_, width = self.task, self.request.round, self.request.batches_per_exchange
        first = exchange * width
        batches, total = _rows(task, self.client, round_, first, first + width)
        torch.manual_seed(
            derive_seed(task.seed, "client", round_, self.client.partition_id, exchange)
        )
        forward.smashed = [client_forward(forward.half, x, task.autocast) for x, _ in batches]
        forward.progress = [round_ + (first + k) / total for k in range(len(batches))]
        return [labels for _, labels in batches], total

    def _key(self, exchange: int) -> tuple[int, int, int, int]:
        return (*self._node, self.request.round, exchange)

    def _version(self, exchange: int | None = None) -> int:
        number = self.request.exchange if exchange is None else exchange
        return self.request.round * 1_000_000 + number

    def _totals(self) -> Tensor:
        kept = self.state.load(TOTALS, version=self.request.round)
        if kept is None:
            raise MissingPayloadError("the round that this message belongs to is gone here")
        return kept["totals"]

    def _save_totals(self, totals: Tensor) -> None:
        self.state.save(TOTALS, {"totals": totals}, version=self.request.round)


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
