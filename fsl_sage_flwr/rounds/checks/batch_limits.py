"""Limit the batches, and the samples in each, that a client trains the server half with."""

import math
from collections.abc import Collection, Container
from dataclasses import dataclass
from statistics import median

from ...messages import SmashedBatches
from ...task import SplitTask

# Largest number of a client's batches: a multiple of the round's median, but at least the other.
TIMES_THE_MEDIAN, ALWAYS_TAKEN = 20, 100
MOST_RULE = f"{TIMES_THE_MEDIAN} times the round's median, or {ALWAYS_TAKEN}"


def most_batches(counts: Collection[int]) -> int:
    """Return the largest number of batches of a client, given those of the round's clients."""
    return max(ALWAYS_TAKEN, int(TIMES_THE_MEDIAN * median(counts or [0])))


class BatchCounts:
    """Batches of a round's clients, each compared with the others'.

    Parameters
    ----------
    excluded : container of int
        Clients that are excluded from the round: their batches do not count.
    """

    def __init__(self, excluded: Container[int]) -> None:
        self._excluded = excluded
        self._batches: dict[int, int] = {}

    def __contains__(self, client: int) -> bool:
        """Tell whether a client's number of batches is known."""
        return client in self._batches

    def record(self, client: int, batches: int) -> None:
        """Record the number of batches that a client has in the round."""
        self._batches[client] = batches

    def problem_with(self, batches: int, unknown: int = 0) -> str | None:
        """Return the problem with a client's number of batches so far.

        Parameters
        ----------
        batches : int
            Number of batches.
        unknown : int
            Clients whose number is not known; they count as 0.
        """
        if batches <= ALWAYS_TAKEN:
            return None
        known = [n for client, n in self._batches.items() if client not in self._excluded]
        most = most_batches(known + [0] * unknown)
        if batches <= most:
            return None
        return f"{batches} batches; at most {most} are taken: {MOST_RULE}"


@dataclass(frozen=True)
class BatchLimits:
    """Limits on a client's batches that follow from its number of examples.

    Batches are those of the task: of ``batch_size`` samples each, where that is known, except
    the last one of each local epoch, which is smaller, or larger by the single sample that
    BatchNorm cannot be trained on.

    Parameters
    ----------
    task : SplitTask
        Defines the batches.
    """

    task: SplitTask

    def problem_with_sizes(
        self, sizes: Collection[int], odd: int = 0, epochs: int | None = None
    ) -> str | None:
        """Return the problem with the sizes of a client's batches.

        Parameters
        ----------
        sizes : collection of int
            Samples of each batch.
        odd : int
            Number of earlier batches of the round of another size than ``batch_size``.
        epochs : int, optional
            Passes of the client over its data; by default the task's ``local_epochs``.
        """
        size, epochs = self.task.batch_size, epochs or self.task.local_epochs
        if size is None:
            return None
        largest, odd = max(sizes), odd + self.odd(sizes)
        if largest > size + 1:
            return f"a batch of {largest} samples; at most {size + 1} are taken (batch-size)"
        if odd > epochs:
            return (
                f"{odd} batches that are not of {size} samples (batch-size); only the last one of "
                f"each of {epochs} epochs may be"
            )
        return None

    def odd(self, sizes: Collection[int]) -> int:
        """Return the number of batches of another size than ``batch_size``."""
        return sum(size != self.task.batch_size for size in sizes)

    def problem_with_upload(
        self,
        smashed: SmashedBatches,
        num_examples: int,
        interval: int,
        epochs: int | None = None,
    ) -> str | None:
        """Return the problem with the batches in a reply.

        Parameters
        ----------
        smashed : SmashedBatches
            Every ``interval``-th batch of the client's round.
        num_examples : int
            Examples of an epoch, as the objective counts.
        interval : int
            q: batches per upload.
        epochs : int, optional
            Passes of the client over its data; by default the task's ``local_epochs``.
        """
        sizes, epochs = smashed.batch_sizes, epochs or self.task.local_epochs
        problem = self.problem_with_sizes(sizes, epochs=epochs)
        if problem is not None:
            return problem
        # num_examples is the mean over the epochs, rounded down.
        most, sent = num_examples * epochs + epochs - 1, self.task.objective.count(smashed.labels)
        if sent > most:
            return f"{sent} examples uploaded, of {num_examples} in each of {epochs} epochs"
        if self.task.objective.count is not len:
            return None
        # Batches in between have samples too: at least one each where their size is not known.
        batches = most - sent + len(sizes)
        if self.task.batch_size is not None:
            batches = epochs * math.ceil(num_examples / self.task.batch_size)
        allowed = math.ceil(batches / interval)
        if len(sizes) > allowed:
            return (
                f"{len(sizes)} batches uploaded; {num_examples} examples in {epochs} epochs give "
                f"at most {allowed} (every {interval}th)"
            )
        return None

    def problem_with_probe(self, smashed: SmashedBatches) -> str | None:
        """Return the problem with a reply that must have one batch."""
        if len(smashed.batch_sizes) != 1:
            return f"{len(smashed.batch_sizes)} batches; one was asked for"
        return self.problem_with_sizes(smashed.batch_sizes)
