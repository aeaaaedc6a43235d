"""The samples that a client's head is aligned on."""

from dataclasses import dataclass

import torch
from torch import Tensor

from ...splitting.joining import concatenated

FEWEST = 2  # samples that BatchNorm can normalise over


def measured_of(size: int) -> int:
    """Return the number of held-out samples in a set that fits ``size``: a tenth of it."""
    return -(-size // 10)


@dataclass(frozen=True)
class AlignmentSet:
    """The newest smashed data of a client, ``D_i`` in the paper.

    Attributes
    ----------
    tensors : tuple of Tensor
        Smashed data, each ``(N, …)``.
    labels : Tensor
        ``(N, …)``.
    held_out : Tensor
        ``(N,)``, bool: samples to measure on. Clients choose them by image, so that no epoch's
        copy of one is fitted.
    rounds : Tensor
        ``(N,)``, int64: round of each sample's upload.
    """

    tensors: tuple[Tensor, ...]
    labels: Tensor
    held_out: Tensor
    rounds: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def appended(self, new: "AlignmentSet", size: int) -> "AlignmentSet":
        """Return the newest samples of these and new ones."""
        both = zip(self.tensors, new.tensors, strict=True)
        joined = AlignmentSet(
            tuple(concatenated([a, b]) for a, b in both),
            torch.cat([self.labels, new.labels]),
            torch.cat([self.held_out, new.held_out]),
            torch.cat([self.rounds, new.rounds]),
        )
        return joined.newest(size)

    def newest(self, size: int) -> "AlignmentSet":
        """Return the newest samples: ``size`` to fit and a tenth of it to measure on."""
        held_out = self.held_out.nonzero().flatten()[-measured_of(size) :]
        return self._rows(torch.cat([self.to_fit()[-size:], held_out]).sort().values)

    def share(self, size: int, sharing: int, seed: int) -> "AlignmentSet":
        """Return an equal share of a set of ``size``, drawn at random, in its order."""
        generator = torch.Generator().manual_seed(seed)
        drawn = [
            rows[torch.randperm(len(rows), generator=generator)[: -(-count // sharing)]]
            for rows, count in (
                (self.to_fit(), size),
                (self.held_out.nonzero().flatten(), measured_of(size)),
            )
        ]
        return self._rows(torch.cat(drawn).sort().values)

    def to_fit(self) -> Tensor:
        """Return the places of the samples that are not held out."""
        return (~self.held_out).nonzero().flatten()

    def of_last_round(self) -> Tensor:
        """Return the places of the samples that were uploaded last, held out or not."""
        return (self.rounds == self.rounds.max()).nonzero().flatten()

    def _rows(self, rows: Tensor) -> "AlignmentSet":
        tensors = tuple(tensor[rows] for tensor in self.tensors)
        return AlignmentSet(tensors, self.labels[rows], self.held_out[rows], self.rounds[rows])
