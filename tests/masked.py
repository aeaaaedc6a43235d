"""Make a task with two floating-point tensors and an integer mask across the cut."""

import copy
from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from fsl_sage_flwr.splitting import SplitModel, split
from fsl_sage_flwr.task import Batch, ClientIdentity, SplitTask

WIDTH = 6


class Masked(nn.Module):
    """A skip connection and a mask, both made in front of ``back``."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.front, self.skip = nn.Linear(4, WIDTH), nn.Linear(4, WIDTH)
        self.drop = nn.Dropout(dropout)
        self.back, self.scores = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 3)
        self.last = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        hidden, skip = self.drop(self.front(x)), torch.tanh(self.skip(x))
        mask = (hidden > 0).long()
        return self.scores(self.last(torch.relu(self.back(hidden) * mask)) + skip)


def batches(client: ClientIdentity, seed: int) -> Iterable[Batch]:
    generator = torch.Generator().manual_seed(seed)
    made = []
    for _ in range(3):
        labels = torch.randint(3, (6,), generator=generator)
        noise = torch.randn(6, 4, generator=generator)
        made.append((noise + 2 * nn.functional.one_hot(labels, 4), labels))
    return made


@cache
def _model(dropout: float) -> tuple[SplitModel, Tensor]:
    """Cut it once; to be copied."""
    with torch.random.fork_rng():
        torch.manual_seed(5)
        example = torch.randn(4, 4)
        return split(Masked(dropout), "back", example), example


def masked_task(dropout: float = 0.0, **changes: Any) -> SplitTask:
    model, example = copy.deepcopy(_model(dropout))
    return SplitTask(model, example, 3, batches, **changes)
