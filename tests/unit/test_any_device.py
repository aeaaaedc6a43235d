"""Batches may be on any device: they are moved to the task's."""

import pytest
import torch
from torch import Tensor, nn

from fsl_sage_flwr.nodes.local_batches import batches_between
from fsl_sage_flwr.splitting import split

from ..tasks import client_of, small_task


class Sums(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.front, self.back = nn.Conv2d(1, 2, 6), nn.Conv2d(2, 3, 1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        return self.back(self.front(x if y is None else x + y)).flatten(1)


@pytest.mark.parametrize("several", [False, True])
def test_a_batch_is_moved_whole(several):
    one = torch.zeros(2, 1, 6, 6)
    example = (one, one) if several else one
    halves = split(Sums(), "back", example)
    task = small_task(device=torch.device("meta"), model=halves, example=example)
    inputs, labels = task.on_device(((one, one) if several else one, torch.zeros(2)))
    assert isinstance(inputs, tuple) == several
    assert {t.device.type for t in (*(inputs if several else [inputs]), labels)} == {"meta"}


def test_so_are_the_batches_of_an_exchange():
    batches, _ = batches_between(small_task(device=torch.device("meta")), client_of(0), 1, 0, 2)
    assert len(batches) == 2
    assert all(t.device.type == "meta" for batch in batches for t in batch)
