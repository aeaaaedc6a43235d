"""The samples of one client that its head is aligned on."""

from dataclasses import dataclass

import torch
from torch import Tensor

HELD_OUT_SHARE = 11  # one sample in eleven: a full set holds 110 % of its size


def kept_of(size: int) -> int:
    """Return how many samples a set has to fit ``size`` of them."""
    return size + (size + 9) // 10


@dataclass(frozen=True)
class AlignmentSet:
    """The newest smashed data of a client, ``D_i`` in the paper.

    Attributes
    ----------
    tensors : tuple of Tensor
        Smashed data, each ``(N, …)``.
    labels : Tensor
        ``(N, …)``.
    """

    tensors: tuple[Tensor, ...]
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def appended(self, new: "AlignmentSet", size: int) -> "AlignmentSet":
        """Return the newest samples of these and new ones."""
        both = zip(self.tensors, new.tensors, strict=True)
        joined = AlignmentSet(
            tuple(torch.cat([a, b]) for a, b in both), torch.cat([self.labels, new.labels])
        )
        return joined.newest(size)

    def newest(self, size: int) -> "AlignmentSet":
        """Return the newest samples: ``size`` to fit and a tenth of it to measure on."""
        keep = kept_of(size)
        return AlignmentSet(tuple(t[-keep:] for t in self.tensors), self.labels[-keep:])

    def sample(self, count: int, seed: int) -> "AlignmentSet":
        """Return at most so many of the samples, drawn at random, in their order."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        return self._rows(order[:count].sort().values)

    def divided(self, generator: torch.Generator) -> tuple["AlignmentSet", "AlignmentSet"]:
        """Return (to fit, held out): one sample in eleven, at random, is kept out.

        BatchNorm needs two samples on either side; a set of fewer than four serves both.
        """
        if len(self) < 4:
            return self, self
        order = torch.randperm(len(self), generator=generator)
        held_out = max(2, -(-len(self) // HELD_OUT_SHARE))
        return self._rows(order[held_out:]), self._rows(order[:held_out])

    def _rows(self, rows: Tensor) -> "AlignmentSet":
        rows = rows.to(self.labels.device)
        return AlignmentSet(tuple(tensor[rows] for tensor in self.tensors), self.labels[rows])
