"""Detect client halves that mix the samples of a batch."""

import torch
from torch import Tensor, nn

from .copying import copy_sharing_frozen
from .errors import SplitError
from .inputs import as_tensors

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def mixes_samples(client_half: nn.Module, example: tuple[Tensor, ...]) -> bool:
    """Return whether one sample's input can change another's smashed data in training.

    BatchNorm mixes samples. Other modules are tested: the inputs of the first, the middle and the
    last sample are changed in turn, with the same dropout, and the other samples' smashed data are
    compared. One sample is not enough: a recurrent layer without ``batch_first`` mixes in one
    direction only.

    Parameters
    ----------
    client_half : nn.Module
        Client half; it is not changed.
    example : tuple of Tensor
        A batch of its inputs, on its device, of at least two samples. Integers are replaced by
        other values of the example.
    """
    if any(issubclass(type(module), BATCH_NORMS) for module in client_half.modules()):
        return True
    half, count = copy_sharing_frozen(client_half).train(), len(example[0])
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        first = tuple(torch.randn_like(t) if t.is_floating_point() else t for t in example)
        before = _smashed(half, first)
        if any(len(tensor) != count for tensor in before):
            raise SplitError(
                f"the inputs have {count} rows and the smashed data {len(before[0])}: per-sample "
                "gradients need samples on the first axis of every input, not batch_axis="
            )
        return any(
            _changes_others(half, first, before, place)
            for place in sorted({0, count // 2, count - 1})
        )


def _smashed(half: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return smashed data, with the same dropout at every call."""
    torch.manual_seed(1)
    return as_tensors(half(*inputs))


def _changes_others(
    half: nn.Module, inputs: tuple[Tensor, ...], before: tuple[Tensor, ...], place: int
) -> bool:
    """Return whether a changed input at ``place`` changes another sample's smashed data."""
    torch.manual_seed(2 + place)
    after = _smashed(half, tuple(_with_another(tensor, place) for tensor in inputs))
    others = torch.arange(len(inputs[0])) != place
    return not all(
        a.shape == b.shape and torch.allclose(a[others], b[others], rtol=1e-4, atol=1e-6)
        for a, b in zip(before, after, strict=True)
    )


def _with_another(inputs: Tensor, place: int) -> Tensor:
    """Return the inputs with the sample at ``place`` changed in each value."""
    changed = inputs.clone()
    if inputs.is_floating_point():
        changed[place] = 3 * torch.randn_like(inputs[place])
        return changed
    whole = inputs.long()
    values = torch.unique(whole)
    if len(values) == 1:  # 0 and 1 are valid in every vocabulary and mask
        values = torch.unique(torch.cat([values, (values == 0).long()]))
    old = torch.searchsorted(values, whole[place].contiguous())
    shift = torch.randint(1, len(values), old.shape).to(old.device)
    changed[place] = values[(old + shift) % len(values)].to(inputs.dtype)
    return changed
