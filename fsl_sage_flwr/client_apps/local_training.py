"""What handlers of a round of local training share."""

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from ..messages import MissingPayloadError
from ..seeding import derive_seed
from ..task import Batch, ClientIdentity, SplitTask
from .client_state import ClientState
from .optimizer_state import flatten_state, restore_state

OPTIMIZER = "optimizer"


def round_batches(task: SplitTask, client: ClientIdentity, round_: int) -> Iterator[Batch]:
    """Iterate over the round's batches; seeds torch, so that dropout repeats too."""
    torch.manual_seed(derive_seed(task.seed, "client", round_, client.partition_id))
    for epoch in range(task.local_epochs):
        yield from epoch_batches(task, client, round_, epoch)


def epoch_batches(
    task: SplitTask, client: ClientIdentity, round_: int, epoch: int
) -> Iterable[Batch]:
    """Return the batches of one local epoch of a round."""
    seed = derive_seed(task.seed, "batches", round_, client.partition_id, epoch)
    return task.train_batches(client, seed)


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
