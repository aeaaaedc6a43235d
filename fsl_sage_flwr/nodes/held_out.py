"""Which of a client's samples estimates are measured on, and never fitted to."""

from collections.abc import Iterable

import torch
from torch import Tensor

from ..seeding import derive_seed
from ..task import Batch, ClientIdentity, NumberedBatches, SplitTask

SHARE = 11  # one sample in eleven


def held_out(
    task: SplitTask, client: ClientIdentity, batches: Iterable[Batch], k: int
) -> Tensor | None:
    """Return the mask of the held-out samples in batch ``k``.

    The numbers of the samples are divided into blocks of eleven, and the run's seed draws one
    of each block: so a sample is held out in all epochs and rounds or in none, whatever
    augmentation makes of it, and the mask says nothing of its content.

    Parameters
    ----------
    task : SplitTask
        Its seed draws.
    client : ClientIdentity
        Whose samples they are.
    batches : iterable
        What ``train_batches`` returned.
    k : int
        Place of the batch.

    Returns
    -------
    Tensor or None
        ``(B,)``, bool, on the CPU; None where the task does not number its samples.
    """
    if not isinstance(batches, NumberedBatches):
        return None
    numbers = batches.sample_numbers(k).tolist()
    return torch.tensor([is_held_out(task.seed, client.partition_id, n) for n in numbers])


def is_held_out(seed: int, partition_id: int, number: int) -> bool:
    """Tell whether a client's sample of this number is held out."""
    block, place = divmod(number, SHARE)
    return derive_seed(seed, "held-out", partition_id, block) % SHARE == place
