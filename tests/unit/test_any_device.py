"""Batches may be on any device: they are moved to the task's."""

import pytest
import torch

from fsl_sage_flwr.nodes.local_batches import batches_between

from ..tasks import client_of, small_task


@pytest.mark.parametrize("several", [False, True])
def test_a_batch_is_moved_whole(several):
    one = torch.zeros(2, 1, 6, 6)
    task = small_task(device=torch.device("meta"), example=(one, one) if several else one)
    inputs, labels = task.on_device(((one, one) if several else one, torch.zeros(2)))
    assert isinstance(inputs, tuple) == several
    assert {t.device.type for t in (*(inputs if several else [inputs]), labels)} == {"meta"}


def test_so_are_the_batches_of_an_exchange():
    batches, _ = batches_between(small_task(device=torch.device("meta")), client_of(0), 1, 0, 2)
    assert len(batches) == 2
    assert all(t.device.type == "meta" for batch in batches for t in batch)
