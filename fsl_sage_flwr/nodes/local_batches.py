"""Draw the batches of a client's round and their seeds."""

from collections.abc import Iterable, Sequence

from ..seeding import derive_seed
from ..task import Batch, ClientIdentity, SplitTask


class NoExamplesError(ValueError):
    """The client has no examples to train on.

    Parameters
    ----------
    client : ClientIdentity
        Client without examples.
    what : str
        Description of its data.
    """

    def __init__(self, client: ClientIdentity, what: str = "no training examples") -> None:
        super().__init__(
            f"client {client.partition_id} of {client.num_partitions} has {what}; give its node "
            "data, or let fewer clients share the dataset"
        )


def epoch_batches(
    task: SplitTask, client: ClientIdentity, round_: int, epoch: int
) -> Iterable[Batch]:
    """Return the batches of one local epoch of a round."""
    seed = derive_seed(task.seed, "batches", round_, client.partition_id, epoch)
    return task.train_batches(client, seed)


def batches_between(
    task: SplitTask, client: ClientIdentity, round_: int, start: int, stop: int
) -> tuple[list[Batch], int]:
    """Return batches ``start`` to ``stop`` of a round, over all epochs, and their total number.

    The batches are on the task's device.

    Raises
    ------
    NoExamplesError
        The round has no batches.
    """
    found: list[Batch] = []
    passed = 0
    for epoch in range(task.local_epochs):
        batches = epoch_batches(task, client, round_, epoch)
        if not isinstance(batches, Sequence):
            batches = list(batches)
        found += batches[max(0, start - passed) : max(0, stop - passed)]
        passed += len(batches)
    if not passed:
        raise NoExamplesError(client)
    return [task.on_device(batch) for batch in found], passed


def seed_round(task: SplitTask, client: ClientIdentity, round_: int) -> None:
    """Seed torch for a client's round, which makes dropout repeatable."""
    task.reseed("client", round_, client.partition_id)
