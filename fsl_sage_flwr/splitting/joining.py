"""Join tensors of batches, which may have several sizes."""

from collections.abc import Sequence

import torch
from torch import Tensor


def concatenated(parts: Sequence[Tensor]) -> Tensor:
    """Concatenate along the first axis; on the other axes, fill smaller parts with zeros."""
    if len({part.shape[1:] for part in parts}) == 1:
        return torch.cat(list(parts))
    sizes = [max(lengths) for lengths in zip(*(part.shape[1:] for part in parts), strict=True)]
    joined = parts[0].new_zeros((sum(map(len, parts)), *sizes))
    start = 0
    for part in parts:
        joined[(slice(start, start + len(part)), *map(slice, part.shape[1:]))] = part
        start += len(part)
    return joined
