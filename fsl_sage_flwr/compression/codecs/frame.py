"""Frame a code: one byte of flags, the scales, and the entropy-coded values."""

import zlib
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .codec import group_shape

# The square of a larger value is not finite in float32, so training on it would diverge.
LARGEST_SCALE = 1.8e19

_RAW_DEFLATE = -15  # no zlib header and no checksum, because the transport has its own
# Huffman codes only: a search for repetitions takes fifty times longer and finds none.
_HUFFMAN_LEVEL = 1


def deflated(data: bytes) -> bytes:
    """Entropy-code bytes."""
    coder = zlib.compressobj(
        _HUFFMAN_LEVEL, zlib.DEFLATED, _RAW_DEFLATE, zlib.DEF_MEM_LEVEL, zlib.Z_HUFFMAN_ONLY
    )
    return coder.compress(data) + coder.flush()


def inflated(data: bytes, size: int) -> bytes:
    """Return exactly ``size`` bytes; allocates at most one byte more.

    Raises
    ------
    ValueError
        The data decode to fewer or more bytes, or cannot be decoded.
    """
    decoder = zlib.decompressobj(_RAW_DEFLATE)
    try:
        found = decoder.decompress(data, size + 1)
    except zlib.error as error:
        raise ValueError(f"its values cannot be decoded: {error}") from error
    if len(found) != size or not decoder.eof:
        raise ValueError(f"its values are not the {size} bytes that its shape needs")
    if decoder.unused_data:
        raise ValueError(f"{len(decoder.unused_data)} bytes follow its values")
    return found


def packed(codes: NDArray[np.uint8], bits: int) -> bytes:
    """Pack whole numbers below ``2**bits``, the same number of them in each byte."""
    per_byte = 8 // bits
    flat = codes.reshape(-1)
    if per_byte == 1:
        return flat.tobytes()
    missing = -len(flat) % per_byte
    rows = np.pad(flat, (0, missing)).reshape(-1, per_byte)
    result = rows[:, 0].copy()
    for place in range(1, per_byte):
        result |= rows[:, place] << (bits * place)
    return result.tobytes()


def unpacked(data: bytes, count: int, bits: int) -> NDArray[np.uint8]:
    """Return the whole numbers that :func:`packed` packed."""
    per_byte = 8 // bits
    found = np.frombuffer(data, np.uint8)
    if per_byte == 1:
        return found
    mask = np.uint8(2**bits - 1)
    places = [(found >> (bits * place)) & mask for place in range(per_byte)]
    return np.stack(places, axis=1).reshape(-1)[:count]


def packed_bytes(count: int, bits: int) -> int:
    """Return the number of bytes of ``count`` packed numbers."""
    return -(-count // (8 // bits))


def framed(flag: int, scales: Tensor, body: bytes) -> bytes:
    """Join flag, scales and values."""
    return bytes([flag]) + scales.contiguous().numpy().astype("<f4").tobytes() + deflated(body)


def opened(
    data: bytes,
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    body_bytes: int,
    largest_flag: int = 0,
) -> tuple[int, Tensor, bytes]:
    """Split a code: flag, scales in a shape that broadcasts, and ``body_bytes`` of values.

    Raises
    ------
    ValueError
        The code is truncated or too long, the flag is above ``largest_flag``, or a scale is
        negative, too large or not finite.
    """
    scale_shape = group_shape(shape, axes)
    start = 1 + 4 * prod(scale_shape)
    if len(data) < start:
        raise ValueError(f"it ends after {len(data)} bytes, within the {start} of its scales")
    if data[0] > largest_flag:
        raise ValueError(f"its first byte is {data[0]}; at most {largest_flag} is valid")
    scales = torch.from_numpy(np.frombuffer(data, "<f4", prod(scale_shape), 1).astype(np.float32))
    if not bool(((scales >= 0) & (scales <= LARGEST_SCALE)).all()):
        raise ValueError(f"a scale is negative, NaN or above {LARGEST_SCALE:g}")
    return data[0], scales.view(scale_shape), inflated(data[start:], body_bytes)
