"""Select a client's held-out samples, on which gradient estimates are measured."""

from collections.abc import Iterable
from functools import lru_cache

import torch
from torch import Tensor

from ..seeding import derive_seed
from ..task import Batch, ClientIdentity, NumberedBatches, SplitTask

SHARE = 11  # one sample in eleven


def held_out(
    task: SplitTask, client: ClientIdentity, batches: Iterable[Batch], k: int
) -> Tensor | None:
    """Return the mask of the held-out samples in batch ``k``.

    Sample numbers are divided into blocks of eleven, and the run's seed draws one sample per
    block. A sample is thus held out in all epochs and rounds or in none, whatever its augmentation,
    and the mask reveals nothing of its content.

    Parameters
    ----------
    task : SplitTask
        Task with the seed of the draw.
    client : ClientIdentity
        Client with these samples.
    batches : iterable
        Result of ``train_batches``.
    k : int
        Index of the batch.

    Returns
    -------
    Tensor or None
        ``(B,)``, bool, on the CPU; None if the task does not number its samples.
    """
    if not isinstance(batches, NumberedBatches):
        return None
    numbers = batches.sample_numbers(k).tolist()
    return torch.tensor([is_held_out(task.seed, client.partition_id, n) for n in numbers])


def is_held_out(seed: int, partition_id: int, number: int) -> bool:
    """Return whether the client's sample with this number is held out."""
    block, place = divmod(number, SHARE)
    return _place_in(seed, partition_id, block) == place


@lru_cache(maxsize=100_000)  # every batch of a run asks again
def _place_in(seed: int, partition_id: int, block: int) -> int:
    return derive_seed(seed, "held-out", partition_id, block) % SHARE
