"""Whether the client half computes each sample's smashed data from that sample alone."""

import torch
from torch import Tensor, nn

from .copying import copied
from .split_model import as_tensors

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def mixes_samples(client_half: nn.Module, example: tuple[Tensor, ...]) -> bool:
    """Tell whether in training one sample's input may change another's smashed data.

    BatchNorm mixes samples. Of other modules it is tried: a sample's floating-point inputs are
    changed, with the same dropout, and the others' smashed data are looked at.

    Parameters
    ----------
    client_half : nn.Module
        Is not changed.
    example : tuple of Tensor
        A batch of its inputs, on its device, of at least two samples.
    """
    if any(isinstance(module, BATCH_NORMS) for module in client_half.modules()):
        return True
    half = copied(client_half).train()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        first = tuple(torch.randn_like(t) if t.is_floating_point() else t for t in example)
        other = tuple(_with_another_last(t) if t.is_floating_point() else t for t in first)
        torch.manual_seed(1)
        before = as_tensors(half(*first))
        torch.manual_seed(1)
        after = as_tensors(half(*other))
    return not all(
        torch.allclose(a[:-1], b[:-1], rtol=1e-4, atol=1e-6)
        for a, b in zip(before, after, strict=True)
    )


def _with_another_last(inputs: Tensor) -> Tensor:
    return torch.cat([inputs[:-1], 3 * torch.randn_like(inputs[-1:])])
