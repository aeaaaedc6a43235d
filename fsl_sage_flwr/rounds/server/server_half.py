"""The server half: one for all clients, or one for each client."""

import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...cpus import usable_cpus
from ...messages import SmashedBatches, TrainReply
from ...schedules import set_rate
from ...splitting import (
    answer_step,
    copied,
    flatten_state,
    load_trained_state,
    restore_state,
    server_step,
    trained_state,
)
from ...task import SplitTask
from ...tensor_store import TensorFile
from ..checks.finite_check import FiniteCheck
from ..metrics.round_summary import StepLoss
from ..refused_work import NotFiniteWorkError, RefusedWorkError
from ..round import Round
from ..state import AveragedState, State

Gradients = tuple[Tensor, ...]
Half = tuple[nn.Module, torch.optim.Optimizer]

# Server halves of different clients in memory at a time. Two for each core: while one client
# computes, the gradients of another are on their way.
MOST_AT_WORK = min(max(16, 2 * usable_cpus()), 64)


class ServerHalf(State, ABC):
    """The server half, its optimizer, and the steps on clients' batches.

    Parameters
    ----------
    task : SplitTask
        The server half in it is trained in place.
    """

    def __init__(self, task: SplitTask) -> None:
        self.task = task
        self.sound = FiniteCheck(task)

    @abstractmethod
    def model_for(self, client: int) -> Half:
        """Return the half, and its optimizer, that a client's batches are trained with."""

    def step_and_get_gradients(
        self,
        round_: Round,
        client: int,
        batches: SmashedBatches,
        *,
        exchange: int,
        progress: Sequence[float],
    ) -> Gradients:
        """Step on the batches of one exchange; return the gradients that answer them.

        Parameters
        ----------
        round_ : Round
            Records losses and time.
        client : int
            Partition id.
        batches : SmashedBatches
            The exchange's batches.
        exchange : int
            Number of the exchange in the round.
        progress : sequence of float
            Rounds done when each batch is stepped on, for the learning rate.

        Returns
        -------
        tuple of Tensor
            Of each batch's mean loss with respect to the floating-point smashed tensors,
            batches one after the other, on the CPU.

        Raises
        ------
        NotFiniteWorkError
            A loss, or the half after a step, is not finite.
        """
        half, optimizer = self.model_for(client)
        answers = []
        with round_.server_time(client):
            self.task.reseed("server", round_.number, client, exchange)
            for (tensors, labels), now in zip(batches, progress, strict=True):
                set_rate(optimizer, self.task.server_schedule, now)
                loss, gradients = answer_step(
                    half,
                    optimizer,
                    self.task.to_device(tensors),
                    labels.to(self.task.device),
                    self.task.objective,
                    self.task.autocast,
                )
                problem = _problem_with_loss(loss) or self.sound.problem_with_server_half(
                    half, optimizer
                )
                if problem is not None:
                    raise NotFiniteWorkError(problem)
                samples = self.task.objective.count(labels)
                round_.losses.append(StepLoss(client, loss, samples, exchange))
                answers.append(gradients)
        return tuple(torch.cat([t.cpu() for t in column]) for column in zip(*answers, strict=True))


class OneServerHalf(ServerHalf):
    """One server half and one optimizer for all clients."""

    def __init__(self, task: SplitTask) -> None:
        super().__init__(task)
        self._optimizer = task.optimizer_of_server(task.model.server)

    def model_for(self, client: int) -> Half:
        """Return the one there is."""
        return self.task.model.server, self._optimizer

    def step(
        self,
        round_: Round,
        client: int,
        batches: SmashedBatches,
        *,
        purpose: str = "server",
        start: float = 0.0,
        length: float = 0.0,
    ) -> None:
        """Step on each of a client's uploaded batches; inside a transaction, on all or on none.

        Parameters
        ----------
        round_ : Round
            Records losses and time.
        client : int
            Partition id.
        batches : SmashedBatches
            Its upload.
        purpose : str
            Part of the seed: two uploads of one client in a round draw differently.
        start, length : float
            Where in the round the learning rate is, and how much of the round it passes.

        Raises
        ------
        NotFiniteWorkError
            A loss, or the half after the steps, is not finite.
        RefusedWorkError
            The steps take the server longer than is left of the client's time.
        """
        half, optimizer = self.model_for(client)
        losses, problem, is_slow = [], None, False
        self.task.reseed(purpose, round_.number, client)
        for k, (tensors, labels) in enumerate(batches):
            with round_.server_time(client):
                progress = round_.number + start + length * k / len(batches.batch_sizes)
                set_rate(optimizer, self.task.server_schedule, progress)
                loss = server_step(
                    half,
                    optimizer,
                    self.task.to_device(tensors),
                    labels.to(self.task.device),
                    self.task.objective,
                    self.task.autocast,
                )
            problem, is_slow = _problem_with_loss(loss), round_.is_slow(client)
            if problem is not None or is_slow:
                break
            losses.append(StepLoss(client, loss, self.task.objective.count(labels)))
        with round_.server_time(client):
            problem = problem or self.sound.problem_with_server_half(half, optimizer)
        if problem is not None:
            raise NotFiniteWorkError(problem)
        if is_slow:
            timeout = round_.settings.timeout
            raise RefusedWorkError(f"it, and the server on its batches, took over {timeout:g} s")
        round_.losses.extend(losses)

    def step_on_upload(self, round_: Round, client: int, reply: TrainReply) -> None:
        """Step on the upload in a client's last reply, in its part of the round.

        Raises
        ------
        RefusedWorkError
            As of :meth:`step`.
        """
        if reply.smashed is not None:
            place, share = round_.asked.index(client), 1 / len(round_.asked)
            start = place / len(round_.asked)
            self.step(round_, client, reply.smashed, start=start, length=share)

    def state_dict(self) -> dict[str, Any]:
        """Return the server half and its optimizer."""
        return {
            "half": trained_state(self.task.model.server),
            "optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both."""
        load_trained_state(self.task.model.server, state["half"])
        self._optimizer.load_state_dict(state["optimizer"])


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
    """

    def __init__(self, task: SplitTask, *, keep_optimizer_state: bool) -> None:
        super().__init__(task)
        self._keep = keep_optimizer_state
        self._optimizers: dict[int, TensorFile] = {}
        self._at_work = OrderedDict[int, Half]()
        self._at_rest: dict[int, OffloadedModel] = {}
        self._finished = set[int]()

    def begin(self) -> None:
        """Reset every client's half to the average, as a round begins."""
        self._at_work, self._at_rest, self._finished = OrderedDict(), {}, set()

    def model_for(self, client: int) -> Half:
        """Return the client's half."""
        half = self._at_work.pop(client, None) or self._read(client)
        self._at_work[client] = half
        while len(self._at_work) > MOST_AT_WORK:
            longest, half_at_work = self._at_work.popitem(last=False)
            self._at_rest[longest] = self._written(longest, *half_at_work)
        return half

    def finish(self, client: int) -> None:
        """Record that a client's half gets no more steps in this round."""
        self._finished.add(client)
        self._at_work.move_to_end(client, last=False)  # the first to go

    def discard(self, client: int) -> None:
        """Discard the half of a client that is excluded from the round."""
        self._at_work.pop(client, None)
        self._at_rest.pop(client, None)

    def average(self, weights: Mapping[int, float], trained: Iterable[int]) -> None:
        """Make the server half the weighted average; keep the optimizers of valid replies."""
        halves = (self.trained_by(client) for client in weights)
        mean = self.aggregation.of_states(halves, list(weights.values()))
        for client in trained:
            self._keep_optimizer(client)
        load_trained_state(self.task.model.server, mean)
        self.begin()

    def trained_by(self, client: int) -> Mapping[str, Tensor]:
        """Return the weights of a client's half in this round."""
        if client in self._at_work:
            return trained_state(self._at_work[client][0])
        return self._at_rest[client].weights.load()

    def state_dict(self) -> dict[str, Any]:
        """Return the average, and every client's optimizer as a file."""
        return {
            "half": trained_state(self.task.model.server),
            "optimizers": dict(self._optimizers),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore them; clients' halves begin at the average."""
        load_trained_state(self.task.model.server, state["half"])
        saved = state["optimizers"].items()
        self._optimizers = {client: self.files.take(file) for client, file in saved}
        self.begin()

    def _read(self, client: int) -> Half:
        """Return a client's half: the average, before its first step in the round."""
        half = copied(self.task.model.server)
        optimizer = self.task.optimizer_of_server(half)
        resting = self._at_rest.get(client)
        state = self._optimizers.get(client) if self._keep else None
        if resting is not None:
            load_trained_state(half, resting.weights.load())
            state = resting.optimizer
        if state is not None:
            restore_state(optimizer, state.load())
        return half, optimizer

    def _written(
        self, client: int, half: nn.Module, optimizer: torch.optim.Optimizer
    ) -> OffloadedModel:
        needed = self._keep or client not in self._finished
        return OffloadedModel(
            self.files.write(trained_state(half)),
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


def _problem_with_loss(loss: float) -> str | None:
    return None if math.isfinite(loss) else f"the server half's loss is {loss} on a batch of it"
