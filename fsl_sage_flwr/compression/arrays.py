"""Code tensors as arrays of a message, and decode them: ``messages.arrays`` has the format."""

from collections.abc import Mapping
from enum import Enum
from math import prod

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

from ..messages.arrays import CODED, numpy_name
from ..messages.records import shown
from .codecs import Codec, Exact

# The smallest number of values that share one scale, because a scale takes four bytes.
SMALLEST_GROUP = 64

_EXACT = Exact()


class Layout(Enum):
    """Kinds of tensors, each with scales along other axes."""

    WEIGHTS = "weights"  # per output channel
    SMASHED = "smashed"  # per channel, over all samples
    GRADIENTS = "gradients"  # per sample and channel


def scale_axes(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes along which scales differ; the receiver derives them from the shape too."""
    if not shape:
        return ()
    channel = 1 if len(shape) in (2, 4, 5) else len(shape) - 1
    finest = {Layout.WEIGHTS: (0,), Layout.SMASHED: (channel,), Layout.GRADIENTS: (0, channel)}
    for axes in (finest[layout], (0,) if layout is Layout.GRADIENTS else ()):
        scales = prod(shape[axis] for axis in set(axes))
        if prod(shape) >= SMALLEST_GROUP * scales:
            return tuple(sorted(set(axes)))
    return ()


def is_exact(layout: Layout, shape: tuple[int, ...], dtype: torch.dtype) -> bool:
    """Tell whether a tensor is coded without loss.

    Integers and masks are, and the vectors among weights: biases, scales, and the statistics of
    BatchNorm, whose variances must not become negative. Vectors are a small share of a model.
    """
    vector = layout is Layout.WEIGHTS and len(shape) < 2
    return vector or not dtype.is_floating_point or prod(shape) == 0


def encoded(tensor: Tensor, codec: Codec, layout: Layout) -> Array:
    """Return the coded array of a tensor."""
    shape = tuple(tensor.shape)
    if is_exact(layout, shape, tensor.dtype):
        name, data = _EXACT.name, _EXACT.encode(tensor)
    else:
        values = tensor.detach().cpu().float().contiguous()
        name, data = codec.name, codec.encode(values, scale_axes(layout, shape))
    return Array(dtype=numpy_name(tensor.dtype), shape=shape, stype=CODED + name, data=data)


def decoded(
    array: Array, codec: Codec, layout: Layout, shape: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    """Return the tensor of an array of a given codec, shape and dtype.

    Memory is allocated for the given shape only, whatever the sender declares.

    Raises
    ------
    ValueError
        The array is of another codec, shape or dtype, or its data cannot be decoded.
    """
    exact = is_exact(layout, shape, dtype)
    wanted = CODED + (_EXACT.name if exact else codec.name)
    if array.stype != wanted:
        raise ValueError(f"it is serialized as {shown(array.stype)}; {wanted!r} is needed")
    if tuple(array.shape) != shape or array.dtype != numpy_name(dtype):
        says = f"{shown(array.dtype)} {shown(tuple(array.shape))}"
        raise ValueError(f"it says {says}; {numpy_name(dtype)} {shape} is needed")
    if exact:
        return _EXACT.decode(array.data, shape, dtype)
    return codec.decode(array.data, shape, scale_axes(layout, shape)).to(dtype)


def dtype_of(array: Array) -> torch.dtype:
    """Return the dtype that an array declares."""
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


def coded_values(tensors: Mapping[str, Tensor], codec: Codec, layout: Layout) -> ArrayRecord:
    """Return the record of tensors, each coded by itself."""
    return ArrayRecord({name: encoded(t, codec, layout) for name, t in tensors.items()})


def decoded_values(record: ArrayRecord, codec: Codec, layout: Layout) -> dict[str, Tensor]:
    """Return the tensors of a record, with the shapes that its trusted sender declares.

    Raises
    ------
    ValueError
        An array is of another codec or cannot be decoded.
    """
    return {
        name: decoded(array, codec, layout, tuple(array.shape), dtype_of(array))
        for name, array in record.items()
    }
