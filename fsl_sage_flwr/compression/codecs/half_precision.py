"""Code in half precision, ``f16``, with a scale against overflow and underflow."""

from math import prod

import numpy as np
import torch
from torch import Tensor

from .codec import CODECS, Bits, Codec, Operations, over_groups
from .frame import framed, opened


class HalfPrecision(Codec):
    """Codes values in IEEE half precision, divided by a power of two, the tensor's magnitude.

    The scale keeps eleven significant bits for values of any size; gradients of 1e-7 would
    underflow without it.
    """

    name = "f16"
    bits = Bits(weights=13.5, activations=10.1, gradients=13.9)
    operations = Operations(encode=2700, decode=1900)

    def encode(self, values: Tensor, axes: tuple[int, ...]) -> bytes:
        # The high bytes of all values first, because these compress well.
        scale = power_of_two_above(over_groups(values, (), "max"))
        halves = (values / scale).to(torch.float16).contiguous().numpy().astype("<f2")
        planes = np.frombuffer(halves.tobytes(), np.uint8).reshape(-1, 2)
        return framed(0, scale, planes[:, 1].tobytes() + planes[:, 0].tobytes())

    def decode(self, data: bytes, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
        count = prod(shape)
        _, scale, body = opened(data, shape, (), 2 * count)
        planes = np.frombuffer(body, np.uint8).reshape(2, count)
        halves = np.stack([planes[1], planes[0]], axis=1).reshape(-1).view("<f2")
        return torch.from_numpy(halves.astype(np.float32)).view(shape) * scale


def power_of_two_above(magnitude: Tensor) -> Tensor:
    """Return the least larger power of two; 1 for zero, the value itself if it is not finite."""
    _, exponent = torch.frexp(magnitude)
    power = torch.ldexp(torch.ones_like(magnitude), exponent.clamp(min=-126, max=127))
    power = torch.where(magnitude == 0, torch.ones_like(power), power)
    return torch.where(torch.isfinite(magnitude), power, magnitude)


CODECS.register(HalfPrecision.name, HalfPrecision())
