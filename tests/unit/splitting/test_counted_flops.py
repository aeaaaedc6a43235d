"""Floating-point operations of a block."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from fsl_sage_flwr.splitting.counted_flops import CountedFlops


def test_they_are_those_of_pytorchs_counter_with_a_backward_pass() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, 5))
    x = torch.randn(2, 3, 8, 8)
    with CountedFlops() as ours:
        model(x).sum().backward()
    with FlopCounterMode(display=False) as theirs:
        model(x).sum().backward()
    assert ours.total == theirs.get_total_flops() > 0


def test_gradients_of_some_tensors_alone_are_counted() -> None:
    layer, x = nn.Linear(6, 4), torch.randn(5, 6, requires_grad=True)
    with CountedFlops() as counted:
        torch.autograd.grad(layer(x).sum(), x)
    assert counted.total == 2 * (2 * 5 * 6 * 4)
