"""Who owns the server half: one for all clients, or one for each client."""

import copy
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
    copy_sharing_frozen,
    flatten_state,
    load_trainable_state,
    restore_state,
    server_step,
    trainable_state,
)
from ...task import SplitTask
from ...tensor_store import TensorFile
from ..checks.finite_check import FiniteCheck
from ..metrics.round_summary import StepLoss
from ..part import AveragedPart, Part
from ..round import Round
from .rollback import Rollback

Gradients = tuple[Tensor, ...]
Half = tuple[nn.Module, torch.optim.Optimizer]

# Server halves of different clients in memory at a time. Two for each core: while one client
# computes there, the gradients of another are on their way.
MOST_AT_WORK = min(max(16, 2 * usable_cpus()), 64)


class ServerHalf(Part, ABC):
    """The server half, its optimizer, and what is done with them.

    Parameters
    ----------
    task : SplitTask
        The server half in it is trained in place.
    """

    def __init__(self, task: SplitTask) -> None:
        self.task = task
        self.sound = FiniteCheck(task)

    @abstractmethod
    def half_of(self, client: int) -> Half:
        """Return the half, and its optimizer, that a client's batches are trained with."""

    def answer(
        self,
        round_: Round,
        client: int,
        batches: SmashedBatches,
        *,
        exchange: int,
        progress: Sequence[float],
    ) -> Gradients | None:
        """Step on the batches of one exchange; return the gradients that answer them.

        When a loss, or what a step leaves, is not finite, the client is left out of the round;
        the steps are not undone.

        Parameters
        ----------
        round_ : Round
            Notes losses and time.
        client : int
            Partition id.
        batches : SmashedBatches
            What it sent.
        exchange : int
            Which exchange of the round it is.
        progress : sequence of float
            Rounds done when each batch is stepped on, for the learning rate.

        Returns
        -------
        tuple of Tensor or None
            Of each batch's mean loss with respect to the floating-point smashed tensors,
            batches one after the other, on the CPU. None when the client is left out.
        """
        half, optimizer = self.half_of(client)
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
                    round_.leave_out_as_not_finite(client, problem)
                    return None
                samples = self.task.objective.count(labels)
                round_.losses.append(StepLoss(client, loss, samples, exchange))
                answers.append(gradients)
        return tuple(torch.cat([t.cpu() for t in column]) for column in zip(*answers, strict=True))


class OneServerHalf(ServerHalf):
    """One server half and one optimizer, whichever client's batch they are stepped on."""

    def __init__(self, task: SplitTask) -> None:
        super().__init__(task)
        self._optimizer = task.optimizer_of_server(task.model.server)
        self._undo = Rollback(task.model.server, self._optimizer)

    def half_of(self, client: int) -> Half:
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
    ) -> bool:
        """Step on each of a client's uploaded batches, on all or on none.

        When a loss, or what the steps leave, is not finite, or when they take the server longer
        than is left of the client's time, they are undone and the client is left out of the round.

        Parameters
        ----------
        round_ : Round
            Notes losses and time.
        client : int
            Partition id.
        batches : SmashedBatches
            What it uploaded.
        purpose : str
            Of the seed: two uploads of one client in a round draw differently.
        start, length : float
            Where in the round the learning rate is, and how much of the round it passes.

        Returns
        -------
        bool
            Whether the client is still in the round.
        """
        half, optimizer = self.half_of(client)
        losses, problem, is_slow = [], None, False
        self._undo.mark()
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
        if problem is None and not is_slow:
            round_.losses.extend(losses)
            return True
        self._undo.undo()
        if problem is not None:
            round_.leave_out_as_not_finite(client, problem)
        else:
            timeout = round_.settings.timeout
            round_.leave_out(client, f"it, and the server on its batches, took over {timeout:g} s")
        return False

    def step_on_upload(self, round_: Round, client: int, reply: TrainReply) -> bool:
        """Step on what a client uploaded with its reply, in its part of the round."""
        if reply.smashed is None:
            return True
        place, share = round_.asked.index(client), 1 / len(round_.asked)
        start = place / len(round_.asked)
        return self.step(round_, client, reply.smashed, start=start, length=share)

    def snapshot(self) -> Any:
        """Return values and optimizer state, copied."""
        weights = trainable_state(self.task.model.server)
        return copy.deepcopy((weights, self._optimizer.state_dict()))

    def restore(self, saved: Any) -> None:
        """Put both back, as copies: an optimizer steps on the very tensors that it loads."""
        self._load(*copy.deepcopy(saved))

    def _load(self, weights: Mapping[str, Any], optimizer: dict[str, Any]) -> None:
        load_trainable_state(self.task.model.server, weights)
        self._optimizer.load_state_dict(optimizer)

    def state_dict(self) -> dict[str, Any]:
        """Return the server half and its optimizer."""
        return {
            "server_half": trainable_state(self.task.model.server),
            "server_optimizer": self._optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        self._load(state["server_half"], state["server_optimizer"])


@dataclass(frozen=True)
class OffloadedModel:
    """The files of a server half, and of its optimizer's state if that is still needed."""

    weights: TensorFile
    optimizer: TensorFile | None


class ServerHalfPerClient(ServerHalf, AveragedPart):
    """A copy of the server half, with an optimizer of its own, for every client.

    Each round begins at the average, which is the task's server half. A few halves are in memory
    at a time, and the others, and all optimizers' states between rounds, in files. Files are read
    and written least where at most ``MOST_AT_WORK`` clients are at work at a time.

    Parameters
    ----------
    task : SplitTask
        Its server half holds the average.
    keep_optimizer_state : bool
        Optimizers go on with their state from round to round.
    """

    def __init__(self, task: SplitTask, *, keep_optimizer_state: bool) -> None:
        super().__init__(task)
        self._keep = keep_optimizer_state
        self._optimizers: dict[int, TensorFile] = {}
        self._at_work = OrderedDict[int, Half]()
        self._at_rest: dict[int, OffloadedModel] = {}
        self._finished = set[int]()

    def begin(self) -> None:
        """Let every client's half be the average, as a round begins."""
        self._at_work, self._at_rest, self._finished = OrderedDict(), {}, set()

    def half_of(self, client: int) -> Half:
        """Return the client's own."""
        half = self._at_work.pop(client, None) or self._read(client)
        self._at_work[client] = half
        while len(self._at_work) > MOST_AT_WORK:
            longest, half_at_work = self._at_work.popitem(last=False)
            self._at_rest[longest] = self._written(longest, *half_at_work)
        return half

    def finish(self, client: int) -> None:
        """Take it that a client's half is stepped on no more in this round."""
        self._finished.add(client)
        self._at_work.move_to_end(client, last=False)  # the first to go

    def drop(self, client: int) -> None:
        """Forget the half of a client that is left out of the round."""
        self._at_work.pop(client, None)
        self._at_rest.pop(client, None)

    def average(self, weights: Mapping[int, float], trained: Iterable[int]) -> None:
        """Make the server half the weighted average of clients' halves; end the round.

        Parameters
        ----------
        weights : Mapping
            Of the clients whose halves are averaged.
        trained : iterable of int
            Clients whose optimizers go on: those whose replies are good, averaged or not.
        """
        halves = (self.trained_by(client) for client in weights)
        mean = self.aggregation.of_states(halves, list(weights.values()))
        for client in trained:
            self._keep_optimizer(client)
        load_trainable_state(self.task.model.server, mean)
        self.begin()

    def trained_by(self, client: int) -> Mapping[str, Tensor]:
        """Return what a client's half has come to in this round."""
        if client in self._at_work:
            return trainable_state(self._at_work[client][0])
        return self._at_rest[client].weights.load()

    def snapshot(self) -> Any:
        """Return the optimizers' files; the halves begin each round at the average."""
        return dict(self._optimizers)

    def restore(self, saved: Any) -> None:
        """Put all optimizers back."""
        self._optimizers = dict(saved)
        self.begin()

    def state_dict(self) -> dict[str, Any]:
        """Return the average and every client's optimizer."""
        return {
            "server_half": trainable_state(self.task.model.server),
            "server_optimizers": dict(self._optimizers),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a checkpoint."""
        load_trainable_state(self.task.model.server, state["server_half"])
        saved = state["server_optimizers"].items()
        self._optimizers = {client: self.files.adopt(file) for client, file in saved}

    def _read(self, client: int) -> Half:
        """Return a client's half as it is: at the average, if it has not been trained yet."""
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


def _problem_with_loss(loss: float) -> str | None:
    return None if math.isfinite(loss) else f"the server half's loss is {loss} on a batch of it"
