"""Quantise to 8, 4, 3 or 2 bits, ``q8`` to ``q2``, with a scale per channel."""

from math import prod

import torch
from torch import Tensor

from .codec import CODECS, Bits, Codec, Operations, over_groups
from .frame import framed, opened, packed, packed_bytes, unpacked

SIGNED, SQUARE_ROOT = 0, 1


class Quantised(Codec):
    """Rounds to the nearest of ``2**bits`` values, or one less, within each group's range.

    A tensor without negative values, such as activations behind a ReLU, is coded on a
    square-root scale, ``code = round(L √(x / max))``, whose steps are finer where values are
    dense. Other tensors are coded evenly from ``-max`` to ``max``, with zero among the values.

    Parameters
    ----------
    width : int
        Bits of a code before entropy coding: 2 to 8.
    measured : Bits
        Bits of a value after entropy coding.
    operations : Operations
        Work of a value.
    """

    def __init__(self, width: int, measured: Bits, operations: Operations) -> None:
        self.name, self.bits, self.operations = f"q{width}", measured, operations
        self._width = width
        # Codes do not cross bytes: three bits are stored in four, which entropy coding makes
        # free.
        self._stored = {8: 8, 4: 4, 3: 4, 2: 2}[width]

    def encode(self, values: Tensor, axes: tuple[int, ...]) -> bytes:
        flag = SQUARE_ROOT if bool((values >= 0).all()) else SIGNED
        scales = over_groups(values, axes, "max")
        # Scales of zero and NaN give codes of zero; the decoder sees the scale.
        relative = torch.nan_to_num(values / scales, nan=0.0, posinf=0.0, neginf=0.0)
        levels = self._levels(flag)
        if flag == SQUARE_ROOT:
            codes = relative.sqrt_().mul_(levels).round_()
        else:
            codes = relative.mul_(levels).round_().add_(levels)
        body = packed(codes.to(torch.uint8).contiguous().numpy(), self._stored)
        return framed(flag, scales, body)

    def decode(self, data: bytes, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
        count = prod(shape)
        size = packed_bytes(count, self._stored)
        flag, scales, body = opened(data, shape, axes, size, largest_flag=SQUARE_ROOT)
        codes = unpacked(body, count, self._stored)
        levels = self._levels(flag)
        largest = levels if flag == SQUARE_ROOT else 2 * levels
        if count and int(codes.max()) > largest:
            raise ValueError(f"it holds a code above {largest}")
        # Look up the few possible values, instead of arithmetic on each value.
        steps = torch.arange(largest + 1, dtype=torch.float32)
        table = (steps / levels).square() if flag == SQUARE_ROOT else (steps - levels) / levels
        values = torch.from_numpy(table.numpy()[codes]).view(shape)
        empty = scales == 0
        if bool(empty.any()) and bool((over_groups(values, axes, "max") * empty).any()):
            raise ValueError("a group of scale 0 holds values that are not")
        return values.mul_(scales)

    def _levels(self, flag: int) -> int:
        steps = 1 << (self._width if flag == SQUARE_ROOT else self._width - 1)
        return steps - 1


for _width, _bits, _operations in (
    (8, Bits(weights=7.4, activations=5.9, gradients=6.1), Operations(encode=1800, decode=1700)),
    (4, Bits(weights=3.2, activations=3.1, gradients=1.9), Operations(encode=1500, decode=700)),
    (3, Bits(weights=2.2, activations=2.4, gradients=0.9), Operations(encode=1500, decode=770)),
    (2, Bits(weights=0.9, activations=1.5, gradients=0.3), Operations(encode=1400, decode=710)),
):
    CODECS.register(f"q{_width}", Quantised(_width, _bits, _operations))
