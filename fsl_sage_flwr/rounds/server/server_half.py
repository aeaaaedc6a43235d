"""The server half, its optimizer, and the steps on clients' batches."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import chain, repeat
from typing import Any

import torch
from torch import Tensor, nn

from ...algorithm_options import ServerStepsOptions
from ...config import check_arguments
from ...diverged import DivergedError
from ...messages import SmashedBatches, TrainReply
from ...schedules import set_rate
from ...splitting import (
    answer_step,
    load_trainable_state,
    server_step,
    trainable_state,
    true_gradients,
)
from ...splitting.layout import laid_out
from ...state import State, Transaction
from ...task import SplitTask
from ..asynchrony.generation import SmashedGenerator
from ..checks.finite_check import FiniteCheck
from ..checks.untrained import UntrainedServerWeights
from ..metrics.round_summary import StepLoss
from ..refused_work import NotFiniteWorkError, RefusedWorkError
from ..round import Round
from .smashed_pool import PooledRows

POOL = -1  # in place of a client, where a batch has samples of several
Gradients = tuple[Tensor, ...]
Half = tuple[nn.Module, torch.optim.Optimizer]


class ServerHalf(State, ABC):
    """The server half, its optimizer, and the steps on clients' batches.

    Parameters
    ----------
    task : SplitTask
        The server half in it is trained in place.
    steps : int
        Steps on each batch.

    Raises
    ------
    ValueError
        ``steps`` is less than 1, or above 1 for a task whose clients have the model's tail.
    """

    def __init__(self, task: SplitTask, steps: int = ServerStepsOptions.server_steps) -> None:
        check_arguments(ServerStepsOptions, server_steps=steps)
        if steps > 1 and task.model.tail is not None:
            raise ValueError(
                f"server_steps = {steps}: with a tail on the clients each step needs their "
                "gradients of new hidden states; it must be 1"
            )
        self.task, self.steps = task, steps
        self.sound = FiniteCheck(task)
        self.untrained = UntrainedServerWeights()

    @cached_property
    def _layouts(self) -> tuple[Tensor, ...]:
        """Smashed data with the memory layout of a client's."""
        return self.task.smashed_example()

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

        With several steps on a batch the gradients are those of the last one.

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
                batch = self.task.to_device(tensors), labels.to(self.task.device)
                how = self.task.objective, self.task.autocast
                with self.untrained.watching(half, optimizer):
                    for _ in range(self.steps - 1):
                        server_step(half, optimizer, *batch, *how)
                    loss, gradients = answer_step(half, optimizer, *batch, *how)
                problem = _problem_with_loss(loss) or self.sound.problem_with_server_half(
                    half, optimizer
                )
                if problem is not None:
                    raise NotFiniteWorkError(problem)
                samples = self.task.objective.count(labels)
                round_.losses.append(StepLoss(client, loss, samples, exchange))
                answers.append(gradients)
        return _joined(answers)

    def gradients(
        self, round_: Round, client: int, batches: SmashedBatches, *, exchange: int
    ) -> Gradients:
        """Return the gradients that answer a client's batches, without a step.

        The half is in training mode, and its running statistics do not change. Arguments and
        result are those of :meth:`step_and_get_gradients`.
        """
        half, _ = self.model_for(client)
        objective, answers = self.task.objective, []
        with round_.server_time(client):
            self.task.reseed("answer", round_.number, client, exchange)
            for tensors, labels in batches:
                with self.task.autocast():
                    total = true_gradients(
                        half,
                        self.task.to_device(tensors),
                        labels.to(self.task.device),
                        objective,
                        len(labels),
                    )
                counted = objective.count(labels)
                answers.append(tuple(gradient / counted for gradient in total))
        return _joined(answers)


class OneServerHalf(ServerHalf):
    """One server half and one optimizer for all clients.

    Parameters
    ----------
    task, steps
        As of :class:`ServerHalf`.
    generator : SmashedGenerator, optional
        Completes the batches of each step.
    """

    def __init__(
        self,
        task: SplitTask,
        steps: int = ServerStepsOptions.server_steps,
        generator: SmashedGenerator | None = None,
    ) -> None:
        super().__init__(task, steps)
        self._generator = generator
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
        weight: float = 1.0,
    ) -> None:
        """Step on each of a client's uploaded batches; inside a transaction, on all or on none.

        Several steps on each batch are as many passes over the upload.

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
        weight : float
            Factor of the learning rate.

        Raises
        ------
        NotFiniteWorkError
            A loss, or the half after the steps, is not finite.
        RefusedWorkError
            The steps take the server longer than is left of the client's time.
        """
        half, optimizer = self.model_for(client)
        losses, problem, is_slow = [], None, False
        self._learn(round_, client, batches)
        self.task.reseed(purpose, round_.number, client)
        count = self.steps * len(batches.batch_sizes)
        for k, (tensors, labels) in enumerate(chain.from_iterable(repeat(batches, self.steps))):
            with round_.server_time(client):
                progress = round_.number + start + length * k / count
                loss = self._stepped(tensors, labels, progress, weight)
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

    def _stepped(
        self, tensors: tuple[Tensor, ...], labels: Tensor, progress: float, weight: float = 1.0
    ) -> float:
        """Step on one batch, at the learning rate of ``progress`` rounds; return its loss."""
        half, optimizer = self.task.model.server, self._optimizer
        schedule = self.task.server_schedule
        if self._generator is not None:
            tensors, labels = self._generator.completed(tensors, labels)
        set_rate(optimizer, lambda now: weight * schedule(now), progress)
        with self.untrained.watching(half, optimizer):
            return server_step(
                half,
                optimizer,
                self.task.to_device(tensors),
                labels.to(self.task.device),
                self.task.objective,
                self.task.autocast,
            )

    @property
    def completes_batches(self) -> bool:
        """Whether samples that batches lack are drawn."""
        return self._generator is not None

    def _learn(self, round_: Round, client: int, batches: SmashedBatches) -> None:
        """Add a client's batches to the distributions that others are completed from."""
        if self._generator is not None:
            self._generator.add(batches, round_.round_of(client))

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
            weight = round_.upload_weight(client)
            self.step(round_, client, reply.smashed, start=start, length=share, weight=weight)

    def try_upload(self, round_: Round, client: int, reply: TrainReply) -> SmashedBatches:
        """Step on the upload in a client's last reply on trial, and return it to be kept.

        The half and the round's losses stay as they were. Once a batch is drawn across clients,
        an infinite loss cannot be traced to its samples.

        Raises
        ------
        RefusedWorkError
            As of :meth:`step`; or the reply has no smashed data.
        """
        if reply.smashed is None:
            raise RefusedWorkError("its reply has no smashed data")
        self.try_batches(round_, client, reply.smashed)
        self._learn(round_, client, reply.smashed)
        return reply.smashed

    def try_batches(self, round_: Round, client: int, batches: SmashedBatches) -> None:
        """Step on a client's batches on trial: the half and the round's losses stay as they were.

        Raises
        ------
        RefusedWorkError
            As of :meth:`step`.
        """
        before, losses = Transaction({"half": self}), len(round_.losses)
        before.save()
        try:
            self.step(round_, client, batches, purpose="trial")
        finally:
            before.restore()
            del round_.losses[losses:]

    def step_on_pool(
        self,
        round_: Round,
        batches: Sequence[PooledRows],
        *,
        start: float = 0.0,
        length: float = 1.0,
    ) -> None:
        """Step on batches drawn across clients, in their order.

        Parameters
        ----------
        round_ : Round
            Records losses and time.
        batches : sequence of PooledRows
            Of :meth:`SmashedPool.batches`.
        start, length : float
            Where in the round the learning rate is, and how much of the round it passes.

        Raises
        ------
        DivergedError
            A loss, or the half after the steps, is not finite. No client is excluded: a batch
            has samples of several.
        """
        half, optimizer = self.model_for(POOL)
        losses, problem = [], None
        self.task.reseed("pool", round_.number, str(start))
        with round_.server_time():
            for k, batch in enumerate(batches):
                tensors, labels = batch.load(self._layouts)
                progress = round_.number + start + length * k / len(batches)
                loss = self._stepped(tensors, labels, progress)
                problem = _problem_with_loss(loss)
                if problem is not None:
                    break
                losses.append(StepLoss(POOL, loss, self.task.objective.count(labels)))
            problem = problem or self.sound.problem_with_server_half(half, optimizer)
        if problem is not None:
            raise DivergedError(f"pooled smashed data: {problem}. Lower server-learning-rate")
        round_.losses.extend(losses)

    def state_dict(self) -> dict[str, Any]:
        """Return the server half and its optimizer."""
        state = {
            "half": trainable_state(self.task.model.server),
            "optimizer": self._optimizer.state_dict(),
        }
        if self._generator is not None:
            state["generator"] = self._generator.state_dict()
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore both."""
        load_trainable_state(self.task.model.server, state["half"])
        self._optimizer.load_state_dict(state["optimizer"])
        if self._generator is not None:
            self._generator.load_state_dict(state["generator"])


def _problem_with_loss(loss: float) -> str | None:
    return None if math.isfinite(loss) else f"the server half's loss is {loss} on a batch of it"


def _joined(answers: Sequence[Gradients]) -> Gradients:
    """Return the gradients of all batches; batch after batch if their shapes differ."""
    columns = list(zip(*answers, strict=True))
    if any(len({t.shape[1:] for t in column}) > 1 for column in columns):
        return tuple(tensor.cpu() for answer in answers for tensor in answer)
    return tuple(laid_out(torch.cat([t.cpu() for t in column]), column[0]) for column in columns)
