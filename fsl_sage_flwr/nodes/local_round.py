"""Run a client's round of local training from request to reply."""

import time
from collections.abc import Iterator, Mapping, Sized
from typing import Generic, TypeVar

import torch
from flwr.app import Context, Message
from torch import Tensor

from ..messages import SmashedBatches, TrainReply, TrainRequest
from ..schedules import Schedule, set_rate
from ..task import Batch, SplitTask
from .client_state import ClientState
from .held_out import held_out
from .identity import identify
from .local_batches import NoExamplesError, epoch_batches, seed_round
from .persistent_optimizer import (
    AUXILIARY_OPTIMIZER,
    OPTIMIZER,
    SERVER_OPTIMIZER,
    PersistentOptimizer,
)
from .proximal_term import ProximalTerm, proximal_mu

TrainRequestT = TypeVar("TrainRequestT", bound=TrainRequest)


class LocalRound(Generic[TrainRequestT]):
    """A client's round of local training.

    Parameters
    ----------
    message, context : Message, Context
        Arguments of the handler.
    task : SplitTask
        Task to train.
    kind : type
        Payload of the message, a :class:`TrainRequest` or a subclass.
    marks_held_out : bool
        Mark the samples in uploads that the server must hold out from the fit of estimates.

    Attributes
    ----------
    request : TrainRequest
        Payload of the message.
    client : ClientIdentity
        Client of this node.
    state : ClientState
        Stored state of the node.
    """

    def __init__(
        self,
        message: Message,
        context: Context,
        task: SplitTask,
        kind: type[TrainRequestT],
        *,
        marks_held_out: bool = False,
    ) -> None:
        self._began = time.perf_counter()
        self.request = kind.unpack(message.content)
        self.client, self.state = identify(context), ClientState(context)
        self._message, self._task = message, task
        self._proximal_mu = proximal_mu(message.content)
        self._optimizers: list[tuple[PersistentOptimizer, Schedule]] = []
        self._marks_held_out = marks_held_out
        self._kept: list[tuple[tuple[Tensor, ...], Tensor]] = []
        self._held_out: list[Tensor] = []
        self._mask: Tensor | None = None
        self._epochs = task.local_epochs
        self._batch, self._examples, self._step_seconds = -1, 0, 0.0

    def client_optimizer(self, parts: int = 1) -> torch.optim.Optimizer:
        """Return the client half's optimizer with its saved state, once its weights are loaded.

        Parameters
        ----------
        parts : int
            Number of optimizers that take each step together, for ``ClientPrivacy``.
        """
        task = self._task
        optimizer = task.optimizer_of_client(task.model.client, parts)
        return self._persistent(OPTIMIZER, optimizer, task.client_schedule)

    def server_optimizer(self) -> torch.optim.Optimizer:
        """Return the optimizer of a server half trained on the client."""
        task = self._task
        optimizer = task.optimizer_of_server(task.model.server)
        return self._persistent(SERVER_OPTIMIZER, optimizer, task.server_schedule)

    def auxiliary_optimizer(self, parts: int = 1) -> torch.optim.Optimizer:
        """Return the optimizer of a head trained on the client."""
        task = self._task
        optimizer = task.optimizer_of_auxiliary(task.head, parts)
        return self._persistent(AUXILIARY_OPTIMIZER, optimizer, task.auxiliary_schedule)

    def _persistent(
        self, name: str, optimizer: torch.optim.Optimizer, schedule: Schedule
    ) -> torch.optim.Optimizer:
        kept = PersistentOptimizer(
            optimizer,
            self.state,
            name,
            keep=self.request.keep_optimizer_state,
            trained_before=self.request.trained_before,
        )
        if self._proximal_mu:
            ProximalTerm(kept.optimizer, self._proximal_mu)
        self._optimizers.append((kept, schedule))
        return kept.optimizer

    def batches(self, epochs: int | None = None) -> Iterator[Batch]:
        """Yield the round's batches, with the learning rates of each batch set.

        Parameters
        ----------
        epochs : int, optional
            Passes over the client's data; by default ``local-epochs``.

        Raises
        ------
        NoExamplesError
            The round has no batch, or none with a label that counts.
        """
        task, round_ = self._task, self.request.round
        self._epochs = task.local_epochs if epochs is None else epochs
        seed_round(task, self.client, round_)
        for epoch in range(self._epochs):
            batches = epoch_batches(task, self.client, round_, epoch)
            count = len(batches) if isinstance(batches, Sized) else None
            for k, batch in enumerate(batches):
                inputs, labels = task.on_device(batch)
                self._batch += 1
                if self._batch == 0:
                    self._check_labels(labels)
                share = (epoch + k / count) / self._epochs if count else 0.0
                for kept, schedule in self._optimizers:
                    set_rate(kept.optimizer, schedule, round_ + share)
                self._examples += task.objective.count(labels)
                if self._marks_held_out and self.uploads_this_batch:
                    self._mask = held_out(task, self.client, batches, k)
                began = time.perf_counter()
                yield inputs, labels
                self._step_seconds += time.perf_counter() - began
        if self._batch < 0:
            raise NoExamplesError(self.client)
        if not self._examples:
            raise NoExamplesError(self.client, "no label that counts in its training examples")

    def _check_labels(self, labels: Tensor) -> None:
        problem = self._task.objective.problem_with(labels)
        if problem is not None:
            raise ValueError(
                f"train_batches of client {self.client.partition_id}: {problem}; for other labels "
                "give SplitTask an objective"
            )

    @property
    def uploads_this_batch(self) -> bool:
        """Whether the current batch is uploaded, as every q-th batch is; none is if q is 0."""
        interval = self.request.server_update_interval
        return interval > 0 and self._batch % interval == 0

    def keep_for_upload(
        self, smashed: tuple[Tensor, ...], labels: Tensor, *, sent: bool = False
    ) -> None:
        """Keep the smashed data of the current batch if it is a q-th one.

        ``sent`` tells that the server already has the round's first batch.
        """
        if self.uploads_this_batch and not (sent and self._batch == 0):
            self._kept.append((smashed, labels))
            if self._mask is not None:
                self._held_out.append(self._mask)

    def reply(
        self,
        client_half: Mapping[str, Tensor] | None = None,
        *,
        auxiliary: Mapping[str, Tensor] | None = None,
        train_loss: float | None = None,
    ) -> Message:
        """Finish the round: save the optimizers' states and return the reply.

        Parameters
        ----------
        client_half : Mapping, optional
            The trained weights; None where clients do not train.
        auxiliary : Mapping, optional
            The trained head.
        train_loss : float, optional
            Mean loss of the steps.
        """
        for kept, _ in self._optimizers:
            kept.save()
        reply = TrainReply(
            round=self.request.round,
            num_examples=self._examples // self._epochs,
            optimizer_state_lost=any(kept.lost for kept, _ in self._optimizers),
            seconds=time.perf_counter() - self._began,
            step_seconds=self._step_seconds,
            client_half=client_half,
            smashed=SmashedBatches.join(self._kept, self._held_out) if self._kept else None,
            auxiliary=auxiliary,
            train_loss=train_loss,
        )
        return Message(reply.pack(), reply_to=self._message)
