"""Draw the batches of a client's round and their seeds."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

from ..batch_check import check_iterable
from ..seeding import derive_seed
from ..task import Batch, ClientIdentity, SplitTask

_ONE_VALUE_PER_CHANNEL = "Expected more than 1 value per channel"  # begins torch's error


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
    batches = task.train_batches(client, seed)
    check_iterable(batches, "train_batches")
    return batches


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


@contextmanager
def explaining_single_samples() -> Iterator[None]:
    """Explain torch's error of a BatchNorm that is trained on a batch of one sample.

    Raises
    ------
    ValueError
        Names the batch and what to do.
    """
    try:
        yield
    except ValueError as error:
        if not str(error).startswith(_ONE_VALUE_PER_CHANNEL):
            raise
        raise ValueError(
            "train_batches gives a batch of 1 sample, which BatchNorm cannot normalise; drop it "
            "(DataLoader(…, drop_last=True)), add it to the batch before, or use GroupNorm or "
            f"LayerNorm ({error})"
        ) from error


def seed_round(task: SplitTask, client: ClientIdentity, round_: int) -> None:
    """Seed torch for a client's round, which makes dropout repeatable."""
    task.reseed("client", round_, client.partition_id)
