"""A server half for each client, averaged each round."""

from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...algorithm_options import ServerStepsOptions
from ...cpus import usable_cpus
from ...splitting import (
    copy_sharing_frozen,
    flatten_state,
    load_trainable_state,
    restore_state,
    trainable_parameters,
    trainable_state,
)
from ...task import SplitTask
from ...tensor_store import TensorFile
from ..averaged_state import AveragedState
from .server_half import Half, ServerHalf

# Server halves of different clients in memory at a time. Two for each core: while one client
# computes, the gradients of another are on their way.
MOST_AT_WORK = min(max(16, 2 * usable_cpus()), 64)


@dataclass(frozen=True)
class OffloadedModel:
    """Files of a server half, and of its optimizer's state while that is needed."""

    weights: TensorFile
    optimizer: TensorFile | None


class ServerHalfPerClient(ServerHalf, AveragedState):
    """A copy of the server half, with an optimizer, for each client.

    Each round begins at the average, which is the task's server half. A few halves are in memory
    at a time; the others, and between rounds all optimizers' states, are in files. Files are read
    and written least where at most ``MOST_AT_WORK`` clients exchange batches at a time.

    Parameters
    ----------
    task : SplitTask
        Its server half holds the average.
    keep_optimizer_state : bool
        Optimizers keep their state from round to round.
    steps : int
        Steps on each batch.
    """

    def __init__(
        self,
        task: SplitTask,
        *,
        keep_optimizer_state: bool,
        steps: int = ServerStepsOptions.server_steps,
    ) -> None:
        super().__init__(task, steps)
        self._keep = keep_optimizer_state
        self._optimizers: dict[int, TensorFile] = {}
        self._at_work = OrderedDict[int, Half]()
        self._at_rest: dict[int, OffloadedModel] = {}
        self._finished = set[int]()
        self._halfway = set[int]()

    @property
    def parameters(self) -> Collection[str]:
        """Names of the server half's trained parameters."""
        return trainable_parameters(self.task.model.server).keys()

    def begin(self) -> None:
        """Reset every client's half to the average, as a round begins."""
        self._at_work, self._at_rest, self._finished = OrderedDict(), {}, set()
        self._halfway = set()

    def model_for(self, client: int) -> Half:
        """Return the client's half."""
        half = self._at_work.pop(client, None) or self._read(client)
        self._at_work[client] = half
        resting = (c for c in list(self._at_work) if c not in self._halfway and c != client)
        while len(self._at_work) > MOST_AT_WORK and (longest := next(resting, None)) is not None:
            self._at_rest[longest] = self._written(longest, *self._at_work.pop(longest))
        return half

    def hold(self, client: int) -> None:
        """Keep a client's half in memory, with the graph of its pass, until :meth:`release`."""
        self._halfway.add(client)

    def release(self, client: int) -> None:
        """Let a client's half be offloaded again."""
        self._halfway.discard(client)

    def finish(self, client: int) -> None:
        """Record that a client's half gets no more steps in this round."""
        self._finished.add(client)
        self._at_work.move_to_end(client, last=False)  # the first to go

    def discard(self, client: int) -> None:
        """Discard the half of a client that is excluded from the round."""
        self._at_work.pop(client, None)
        self._at_rest.pop(client, None)
        self._halfway.discard(client)

    def average(self, weights: Mapping[int, float], trained: Iterable[int]) -> None:
        """Make the server half the weighted average; keep the optimizers of valid replies."""
        halves = (self.trained_by(client) for client in weights)
        before = trainable_state(self.task.model.server)
        mean = self.combined(before, halves, list(weights.values()))
        for client in trained:
            self._keep_optimizer(client)
        load_trainable_state(self.task.model.server, mean)
        self.begin()

    def trained_by(self, client: int) -> Mapping[str, Tensor]:
        """Return the weights of a client's half in this round."""
        if client in self._at_work:
            return trainable_state(self._at_work[client][0])
        return self._at_rest[client].weights.load()

    def state_dict(self) -> dict[str, Any]:
        """Return the average, and every client's optimizer as a file."""
        return {
            "half": trainable_state(self.task.model.server),
            "optimizers": dict(self._optimizers),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them; clients' halves begin at the average."""
        load_trainable_state(self.task.model.server, state["half"])
        saved = state["optimizers"].items()
        self._optimizers = {client: self.files.adopt(file) for client, file in saved}
        self.begin()

    def _read(self, client: int) -> Half:
        """Return a client's half: the average, before its first step in the round."""
        half = copy_sharing_frozen(self.task.model.server)
        optimizer = self.task.optimizer_of_server(half)
        resting = self._at_rest.get(client)
        state = self._optimizers.get(client) if self._keep else None
        if resting is not None:
            load_trainable_state(half, resting.weights.load())
            state = resting.optimizer
        if state is not None:
            restore_state(optimizer, state.load())
        return half, optimizer

    def _written(
        self, client: int, half: nn.Module, optimizer: torch.optim.Optimizer
    ) -> OffloadedModel:
        needed = self._keep or client not in self._finished
        return OffloadedModel(
            self.files.write(trainable_state(half)),
            self.files.write(flatten_state(optimizer)) if needed else None,
        )

    def _keep_optimizer(self, client: int) -> None:
        if not self._keep:
            return
        if client in self._at_work:
            state = flatten_state(self._at_work[client][1])
            self._optimizers[client] = self.files.write(state)
        elif (resting := self._at_rest[client].optimizer) is not None:
            self._optimizers[client] = resting
