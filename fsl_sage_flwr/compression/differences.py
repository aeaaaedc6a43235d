"""Code weights as differences to the copy that their receiver has."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from flwr.app import Array, ArrayRecord
from torch import Tensor

from ..messages.arrays import CODED
from .arrays import Layout, decoded, dtype_of, encoded, is_exact, scale_axes
from .codecs import CODECS, Codec

FINE = CODECS["q8"]


@dataclass(frozen=True)
class CodedWeights:
    """Weights, coded as differences to the receiver's copy.

    Attributes
    ----------
    record : ArrayRecord
        The coded differences.
    received : dict of str to Tensor
        The receiver's next copy: the weights, but for the codec's error.
    residual : dict of str to Tensor
        The codec's error, to be added to the next differences; without the exact tensors.
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
    """Code weights as differences to the receiver's copy.

    Parameters
    ----------
    weights, base : Mapping
        The weights to send, and the receiver's copy: the same names, shapes and dtypes.
    codec : Codec
        Codes the differences.
    residual : Mapping, optional
        The error of the previous differences (error feedback); zero by default.
    """
    arrays, received, left = {}, {}, {}
    for name, weight in weights.items():
        tensor, shape = weight.detach().cpu().contiguous(), tuple(weight.shape)
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
    """Return the weights that :func:`code_weights` coded against the same base.

    Raises
    ------
    ValueError
        An array cannot be decoded as such a difference.
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
    """Code weights for a receiver without a copy: as differences to zeros.

    Weights tolerate less error than their differences, so the codec is ``q8`` or a finer one.
    """
    nothing = {name: torch.zeros_like(t, device="cpu") for name, t in weights.items()}
    finest = FINE if codec.bits.weights < FINE.bits.weights else codec
    return code_weights(weights, nothing, finest)


def decode_whole(arrays: Mapping[str, Array]) -> dict[str, Tensor]:
    """Return the weights that :func:`code_whole` coded, with their trusted sender's shapes.

    Raises
    ------
    ValueError
        An array cannot be decoded.
    """
    found = {}
    for name, array in arrays.items():
        shape, dtype = tuple(array.shape), dtype_of(array)
        codec = CODECS.get(array.stype.removeprefix(CODED), FINE)
        found[name] = decoded(array, codec, Layout.WEIGHTS, shape, dtype)
    return found
