"""The batches of a client's round, and the seeds that they are drawn with."""

from collections.abc import Iterable, Sequence

from ..seeding import derive_seed
from ..task import Batch, ClientIdentity, SplitTask


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
    """
    found: list[Batch] = []
    passed = 0
    for epoch in range(task.local_epochs):
        batches = epoch_batches(task, client, round_, epoch)
        if not isinstance(batches, Sequence):
            batches = list(batches)
        found += batches[max(0, start - passed) : max(0, stop - passed)]
        passed += len(batches)
    return [task.on_device(batch) for batch in found], passed


def seed_round(task: SplitTask, client: ClientIdentity, round_: int) -> None:
    """Seed torch for a client's round, so that dropout repeats."""
    task.reseed("client", round_, client.partition_id)
