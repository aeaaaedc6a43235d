"""Tensors that lose nothing: integers, and what is too small to be worth a loss."""

from math import prod

import numpy as np
import torch
from torch import Tensor

from .frame import deflated, inflated


class Exact:
    """The values themselves, entropy-coded; beside every codec, and not one to choose.

    It takes any dtype that NumPy has, so it is no :class:`Codec`.
    """

    name = "exact"

    def encode(self, values: Tensor) -> bytes:
        """Return the bytes of a tensor."""
        return deflated(values.detach().cpu().contiguous().numpy().tobytes())

    def decode(self, data: bytes, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Return the tensor.

        Raises
        ------
        ValueError
            The bytes are no code of such a tensor.
        """
        like = torch.empty(0, dtype=dtype).numpy().dtype
        found = inflated(data, prod(shape) * like.itemsize)
        return torch.from_numpy(np.frombuffer(bytearray(found), like).reshape(shape))
