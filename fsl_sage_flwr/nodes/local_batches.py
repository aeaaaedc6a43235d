"""The batches of a client's round, and the seeds that they are drawn with."""

from collections.abc import Iterable, Sequence

from ..seeding import derive_seed
from ..task import Batch, ClientIdentity, SplitTask


class NoExamplesError(ValueError):
    """A client has nothing to train on.

    Parameters
    ----------
    client : ClientIdentity
        Who.
    what : str
        What there is instead.
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
    """Return batches ``start`` to ``stop`` of a round, epoch after epoch, and their number.

    They are on the task's device.

    Raises
    ------
    NoExamplesError
        There is no batch in the round.
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
    """Seed torch for a client's round, so that dropout repeats."""
    task.reseed("client", round_, client.partition_id)
