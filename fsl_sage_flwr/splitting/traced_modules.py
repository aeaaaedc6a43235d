"""Modules in the graphs of traced halves: shapes and sizes that cross."""

import torch
from torch import Tensor, nn

from .crossing import TensorSpec, sizes_in


class Sizes(nn.Module):
    """Returns a tensor's sizes beyond the first axis, once per sample: ``(B, ndim - 1)``, int64."""

    def forward(self, tensor: Tensor) -> Tensor:
        """Return the sizes."""
        sizes = torch.tensor(tensor.shape[1:], dtype=torch.int64, device=tensor.device)
        return sizes.expand(len(tensor), tensor.dim() - 1)


class OfSizes(nn.Module):
    """Returns a tensor of the sizes that :class:`Sizes` has read, without values.

    Parameters
    ----------
    dtype : torch.dtype
        Its dtype.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, sizes: Tensor) -> Tensor:
        """Return zeros of one element's memory."""
        zero = torch.zeros((), dtype=self.dtype, device=sizes.device)
        return zero.expand(len(sizes), *sizes.amax(dim=0).tolist())


class Pack(nn.Module):
    """Returns a tensor as it crosses.

    Parameters
    ----------
    spec : TensorSpec
        Its shape.
    """

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, tensor: Tensor) -> Tensor:
        """Return one row per sample."""
        return self.spec.pack(tensor, len(tensor))


class Unpack(nn.Module):
    """Returns a tensor from its rows, with the batch's free sizes.

    Parameters
    ----------
    spec : TensorSpec
        Its shape.
    """

    def __init__(self, spec: TensorSpec) -> None:
        super().__init__()
        self.spec = spec

    def forward(self, packed: Tensor, sizes: Tensor | None = None) -> Tensor:
        """Return the tensor; ``sizes`` are those of each sample's batch."""
        return self.spec.unpack(packed, () if sizes is None else sizes.amax(dim=0).tolist())


class FreeSizes(nn.Module):
    """Returns a batch's free sizes, once per sample: ``(B, k)``, int64.

    Parameters
    ----------
    specs : tuple of TensorSpec
        Shapes of the tensors that cross.
    pairs : tuple of (int, int)
        The example's and the smaller batch's sizes.
    """

    def __init__(self, specs: tuple[TensorSpec, ...], pairs: tuple[tuple[int, int], ...]) -> None:
        super().__init__()
        self.specs, self.pairs = specs, pairs

    def forward(self, *tensors: Tensor) -> Tensor:
        """Return the sizes."""
        batch, device = len(tensors[0]), tensors[0].device
        named = [("a tensor at the cut", *both) for both in zip(tensors, self.specs, strict=True)]
        sizes = torch.tensor(sizes_in(named, batch, self.pairs), dtype=torch.int64, device=device)
        return sizes.expand(batch, len(sizes))
