"""Tensors as coded arrays of a message, and back.

A coded array says what it will be: its ``dtype`` and ``shape`` are the tensor's, its ``stype``
names the codec, and all the rest is inside ``data``, so that Flower's byte count is right.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from math import prod

import numpy as np
import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

from ..codecs import CODECS, Codec, Exact
from .records import shown

STYPE = "fsl-sage."
# Fewer values than this share a scale with others: it takes four bytes.
SMALLEST_GROUP = 64
MOST_AXES = 64  # as many as NumPy has
MOST_BYTES = 2**62

FINE = CODECS["q8"]
_EXACT = Exact()
# By name, and not by asking NumPy: it would read a dtype that a sender made up as a little program.
_ITEM_BYTES = {
    **{"float64": 8, "float32": 4, "float16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1},
    **{"uint64": 8, "uint32": 4, "uint16": 2, "uint8": 1, "bool": 1},
}


class Layout(Enum):
    """What tensors are, which decides along which axes they have scales of their own."""

    WEIGHTS = "weights"  # per output channel
    SMASHED = "smashed"  # per channel, over all samples
    GRADIENTS = "gradients"  # per sample and channel


def scale_axes(layout: Layout, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return the axes along which a tensor has scales of its own; it follows from the shape."""
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
    """Tell whether a tensor travels without loss.

    Whole numbers and masks do. Of weights all vectors do as well: the statistics of BatchNorm,
    whose variances must not become negative, scales and biases. They are few.
    """
    vector = layout is Layout.WEIGHTS and len(shape) < 2
    return vector or not dtype.is_floating_point or prod(shape) == 0


def encoded(tensor: Tensor, codec: Codec, layout: Layout) -> Array:
    """Return the array of a tensor, on the CPU."""
    shape = tuple(tensor.shape)
    if is_exact(layout, shape, tensor.dtype):
        name, data = _EXACT.name, _EXACT.encode(tensor)
    else:
        values = tensor.detach().cpu().float()
        name, data = codec.name, codec.encode(values, scale_axes(layout, shape))
    return Array(dtype=_numpy_name(tensor.dtype), shape=shape, stype=STYPE + name, data=data)


def decoded(
    array: Array, codec: Codec, layout: Layout, shape: tuple[int, ...], dtype: torch.dtype
) -> Tensor:
    """Return the tensor of an array that must be of this codec, shape and dtype.

    Raises
    ------
    ValueError
        It is not, or its data are no code of such a tensor. That is found out before more
        memory is taken than the tensor needs.
    """
    exact = is_exact(layout, shape, dtype)
    wanted = STYPE + (_EXACT.name if exact else codec.name)
    if array.stype != wanted:
        raise ValueError(f"it is serialized as {shown(array.stype)}; {wanted!r} is needed")
    if tuple(array.shape) != shape or array.dtype != _numpy_name(dtype):
        says = f"{shown(array.dtype)} {shown(tuple(array.shape))}"
        raise ValueError(f"it says {says}; {_numpy_name(dtype)} {shape} is needed")
    if exact:
        return _EXACT.decode(array.data, shape, dtype)
    return codec.decode(array.data, shape, scale_axes(layout, shape)).to(dtype)


@dataclass(frozen=True)
class CodedWeights:
    """Weights, coded as differences to what the receiver holds.

    Attributes
    ----------
    record : ArrayRecord
        What travels.
    received : dict of str to Tensor
        What the receiver then holds: the weights, but for the codec's error.
    residual : dict of str to Tensor
        That error, for the sender to add to the next differences; exact tensors have none.
    """

    record: ArrayRecord
    received: dict[str, Tensor]
    residual: dict[str, Tensor]


def code_weights(
    weights: Mapping[str, Tensor],
    base: Mapping[str, Tensor],
    codec: Codec,
    residual: Mapping[str, Tensor] | None = None,
) -> CodedWeights:
    """Code weights against what the receiver holds.

    Parameters
    ----------
    weights, base : Mapping
        What is sent, and what the receiver holds: the same names, shapes and dtypes.
    codec : Codec
        Of the differences.
    residual : Mapping, optional
        The error of the differences before (error feedback); none by default.
    """
    arrays, received, left = {}, {}, {}
    for name, weight in weights.items():
        tensor, shape = weight.detach().cpu(), tuple(weight.shape)
        if is_exact(Layout.WEIGHTS, shape, tensor.dtype):
            arrays[name] = encoded(tensor, codec, Layout.WEIGHTS)
            received[name] = tensor.clone()
            continue
        difference = (tensor - base[name]).float()
        if residual is not None and name in residual:
            difference += residual[name]
        arrays[name] = encoded(difference.to(tensor.dtype), codec, Layout.WEIGHTS)
        arrived = codec.decode(arrays[name].data, shape, scale_axes(Layout.WEIGHTS, shape))
        left[name] = difference - arrived
        received[name] = base[name] + arrived.to(tensor.dtype)
    return CodedWeights(ArrayRecord(arrays), received, left)


def decode_weights(
    arrays: Mapping[str, Array], base: Mapping[str, Tensor], codec: Codec
) -> dict[str, Tensor]:
    """Return the weights of arrays that :func:`code_weights` made against the same base.

    Raises
    ------
    ValueError
        An array is no code of such a difference.
    """
    found = {}
    for name, array in arrays.items():
        like = base[name]
        shape = tuple(like.shape)
        try:
            tensor = decoded(array, codec, Layout.WEIGHTS, shape, like.dtype)
        except ValueError as error:
            raise ValueError(f"array {name!r}: {error}") from error
        exact = is_exact(Layout.WEIGHTS, shape, like.dtype)
        found[name] = tensor if exact else like + tensor
    return found


def code_whole(weights: Mapping[str, Tensor], codec: Codec) -> CodedWeights:
    """Code weights for receivers that hold nothing yet: against zeros.

    Weights themselves bear less than their differences do, so a coarse codec is not used.
    """
    nothing = {name: torch.zeros_like(t, device="cpu") for name, t in weights.items()}
    finest = FINE if codec.bits.weights < FINE.bits.weights else codec
    return code_weights(weights, nothing, finest)


def decode_whole(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Return what :func:`code_whole` coded, of a sender that is trusted with the shapes.

    Raises
    ------
    ValueError
        An array is no code.
    """
    found = {}
    for name, array in arrays.items():
        shape, dtype = tuple(array.shape), dtype_of(array)
        codec = CODECS.get(array.stype.removeprefix(STYPE), FINE)
        found[name] = decoded(array, codec, Layout.WEIGHTS, shape, dtype)
    return found


def declared_bytes(array: Array) -> int:
    """Return the bytes that a coded array says its tensor has.

    Raises
    ------
    ValueError
        It names no dtype, or a shape that none has.
    """
    if array.dtype not in _ITEM_BYTES:
        raise ValueError(f"{shown(array.dtype)} is no dtype of a tensor")
    too_many = len(array.shape) > MOST_AXES
    if too_many or any(not 0 <= length <= MOST_BYTES for length in array.shape):
        raise ValueError(f"{shown(array.shape[:MOST_AXES])} is no shape")
    size = prod(array.shape) * _ITEM_BYTES[array.dtype]
    if size > MOST_BYTES:
        raise ValueError(f"{shown(tuple(array.shape))} is more than any memory holds")
    return size


def dtype_of(array: Array) -> torch.dtype:
    """Return the dtype that an array says its tensor has."""
    return torch.from_numpy(np.empty(0, array.dtype)).dtype


def is_coded(array: Array) -> bool:
    """Tell whether an array is coded, or in NumPy's format."""
    return array.stype.startswith(STYPE)


def _numpy_name(dtype: torch.dtype) -> str:
    return str(torch.empty(0, dtype=dtype).numpy().dtype)
