"""What handlers of a round of local training share."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sized

import torch
from flwr.app import Context, Message
from torch import Tensor, nn

from ..messages import MissingPayloadError, SmashedBatches, TrainReply, TrainRequest
from ..schedules import Schedule, set_rate
from ..seeding import derive_seed
from ..task import Batch, ClientIdentity, SplitTask
from .client_state import ClientState
from .identity import identify
from .optimizer_state import flatten_state, restore_state

OPTIMIZER = "optimizer"
SERVER_OPTIMIZER = "server-optimizer"
AUXILIARY_OPTIMIZER = "auxiliary-optimizer"


def epoch_batches(
    task: SplitTask, client: ClientIdentity, round_: int, epoch: int
) -> Iterable[Batch]:
    """Return the batches of one local epoch of a round."""
    seed = derive_seed(task.seed, "batches", round_, client.partition_id, epoch)
    return task.train_batches(client, seed)


def seed_round(task: SplitTask, client: ClientIdentity, round_: int) -> None:
    """Seed torch for a client's round, so that dropout repeats."""
    task.reseed("client", round_, client.partition_id)


def need(tensors: Mapping[str, Tensor] | None, what: str) -> Mapping[str, Tensor]:
    """Return what a message must carry.

    Raises
    ------
    MissingPayloadError
        It does not.
    """
    if tensors is None:
        raise MissingPayloadError(f"the message carries no {what}")
    return tensors


class KeptOptimizer:
    """An optimizer whose state lasts from round to round.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Fresh; its state is restored here.
    state : ClientState
        Where it is kept.
    name : str
        Under which name.
    keep : bool
        False starts every round fresh.
    trained_before : bool
        There should be a state.

    Attributes
    ----------
    lost : bool
        There should have been one and was not.
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        state: ClientState,
        name: str,
        *,
        keep: bool,
        trained_before: bool,
    ) -> None:
        self.optimizer = optimizer
        self._state, self._name, self._keep = state, name, keep
        kept = state.load(name) if keep else None
        self.lost = keep and trained_before and kept is None
        if kept is not None:
            restore_state(optimizer, kept)

    def save(self) -> None:
        """Keep the state for the next round."""
        if self._keep:
            self._state.save(self._name, flatten_state(self.optimizer))


class LocalRound:
    """A client's round of training, from the request to the reply.

    Parameters
    ----------
    message, context : Message, Context
        As the handler was given them.
    task : SplitTask
        What is trained.

    Attributes
    ----------
    request : TrainRequest
        What the message says.
    client : ClientIdentity
        Who trains.
    state : ClientState
        What the node keeps.
    """

    def __init__(self, message: Message, context: Context, task: SplitTask) -> None:
        self._began = time.perf_counter()
        self.request = TrainRequest.from_records(message.content)
        self.client, self.state = identify(context), ClientState(context)
        self._message, self._task = message, task
        self._optimizers: list[tuple[KeptOptimizer, Schedule]] = []
        self._kept: list[tuple[tuple[Tensor, ...], Tensor]] = []
        self._batch, self._examples, self._step_seconds = -1, 0, 0.0

    def optimizer(
        self,
        name: str,
        make: Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer],
        module: nn.Module,
        schedule: Schedule,
    ) -> torch.optim.Optimizer:
        """Make a module's optimizer, with the state that the node has kept under a name."""
        kept = KeptOptimizer(
            make(module.parameters()),
            self.state,
            name,
            keep=self.request.keep_optimizer_state,
            trained_before=self.request.trained_before,
        )
        self._optimizers.append((kept, schedule))
        return kept.optimizer

    def batches(self) -> Iterator[Batch]:
        """Iterate over the round's batches, each with its learning rates set."""
        task, round_ = self._task, self.request.round
        seed_round(task, self.client, round_)
        for epoch in range(task.local_epochs):
            batches = epoch_batches(task, self.client, round_, epoch)
            count = len(batches) if isinstance(batches, Sized) else None
            for k, (inputs, labels) in enumerate(batches):
                self._batch += 1
                share = (epoch + k / count) / task.local_epochs if count else 0.0
                for kept, schedule in self._optimizers:
                    set_rate(kept.optimizer, schedule, round_ + share)
                self._examples += len(labels)
                began = time.perf_counter()
                yield inputs, labels
                self._step_seconds += time.perf_counter() - began

    def offer(self, smashed: tuple[Tensor, ...], labels: Tensor, *, sent: bool = False) -> None:
        """Keep the smashed data of the batch at hand for upload, when its turn has come.

        ``sent`` says that the round's first batch is on the server already.
        """
        due = self._batch % self.request.server_update_interval == 0
        if due and not (sent and self._batch == 0):
            self._kept.append((smashed, labels))

    def reply(
        self,
        client_half: Mapping[str, Tensor],
        *,
        auxiliary: Mapping[str, Tensor] | None = None,
        train_loss: float | None = None,
    ) -> Message:
        """End the round: keep the optimizers' states, and answer."""
        for kept, _ in self._optimizers:
            kept.save()
        reply = TrainReply(
            round=self.request.round,
            num_examples=self._examples // self._task.local_epochs,
            optimizer_state_lost=any(kept.lost for kept, _ in self._optimizers),
            seconds=time.perf_counter() - self._began,
            step_seconds=self._step_seconds,
            client_half=client_half,
            smashed=SmashedBatches.join(self._kept) if self._kept else None,
            auxiliary=auxiliary,
            train_loss=train_loss,
        )
        return Message(reply.to_records(), reply_to=self._message)
