"""Code one bit per value, ``sign``, for differences with error feedback."""

from math import prod

import torch
from torch import Tensor

from .codec import CODECS, Bits, Codec, Operations, over_groups
from .frame import framed, opened, packed, packed_bytes, unpacked


class Sign(Codec):
    """Codes signs, scaled by the mean magnitude of each group (arXiv 1802.04434, 1901.09847)."""

    name = "sign"
    bits = Bits(weights=1.0, activations=1.0, gradients=1.0)
    operations = Operations(encode=490, decode=290)
    needs_feedback = True

    def encode(self, values: Tensor, axes: tuple[int, ...]) -> bytes:
        codes = (values >= 0).to(torch.uint8).contiguous().numpy()
        return framed(0, over_groups(values, axes, "mean"), packed(codes, 1))

    def decode(self, data: bytes, shape: tuple[int, ...], axes: tuple[int, ...]) -> Tensor:
        count = prod(shape)
        _, scales, body = opened(data, shape, axes, packed_bytes(count, 1))
        codes = torch.from_numpy(unpacked(body, count, 1).copy())
        return codes.float().mul_(2).sub_(1).view(shape).mul_(scales)


CODECS.register(Sign.name, Sign())
