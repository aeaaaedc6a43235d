"""Code tensors without loss: integers, and tensors that are too small to compress."""

from math import prod

import numpy as np
import torch
from torch import Tensor

from .frame import deflated, inflated


class Exact:
    """Entropy-codes the bytes of a tensor, beside every chosen codec.

    Not a :class:`Codec`, because it codes tensors of any dtype of NumPy's.
    """

    name = "exact"

    def encode(self, values: Tensor) -> bytes:
        """Return the code of a tensor."""
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
