"""Clip smashed data, and hide them in Gaussian noise."""

import math
import os
from collections.abc import Callable

import torch
from torch import Tensor

Normal = Callable[[int], Tensor]
"""From a number ``n`` to as many standard normal values: ``(n,)``, float64, on the CPU."""

AT_ONCE = 2**20


def sample_norms(tensors: tuple[Tensor, ...]) -> Tensor:
    """Return each sample's L2 norm over all floating-point tensors together.

    Parameters
    ----------
    tensors : tuple of Tensor
        Smashed data, each ``(N, …)``.

    Returns
    -------
    Tensor
        ``(N,)``, float64.
    """
    # [:, None]: a tensor may have nothing but its samples' axis.
    flat = [t[:, None].flatten(1).double() for t in tensors if t.is_floating_point()]
    norms: Tensor = torch.linalg.vector_norm(torch.cat(flat, dim=1), dim=1)
    return norms


def clip_samples(tensors: tuple[Tensor, ...], clip_norm: float) -> tuple[Tensor, ...]:
    """Scale down each sample whose norm (:func:`sample_norms`) is above ``clip_norm``.

    A sample below it keeps its bits. Tensors of whole numbers and truth values, masks, are
    left as they are. What is not finite stays not finite, for the server to refuse.
    """
    if not any(t.is_floating_point() for t in tensors):
        return tensors
    factors = (clip_norm / sample_norms(tensors)).clamp(max=1.0)

    def clipped(tensor: Tensor) -> Tensor:
        return tensor * factors.to(tensor.dtype).view(-1, *[1] * (tensor.dim() - 1))

    return tuple(clipped(t) if t.is_floating_point() else t for t in tensors)


def add_noise(tensors: tuple[Tensor, ...], sigma: float, normal: Normal) -> tuple[Tensor, ...]:
    """Add independent Gaussian noise of standard deviation ``sigma`` to every float.

    Parameters
    ----------
    tensors : tuple of Tensor
        Smashed data; tensors of whole numbers and truth values are left as they are.
    sigma : float
        Standard deviation; 0 draws nothing.
    normal : callable
        :func:`unpredictable_normal`, or what :func:`seeded_normal` returns.
    """

    def noised(tensor: Tensor) -> Tensor:
        flat = tensor.flatten().clone()
        for start in range(0, len(flat), AT_ONCE):
            part = flat[start : start + AT_ONCE]
            part += (sigma * normal(len(part))).to(part)
        return flat.view(tensor.shape)

    if sigma == 0:
        return tensors
    return tuple(noised(t) if t.is_floating_point() else t for t in tensors)


def unpredictable_normal(count: int) -> Tensor:
    """Draw from the operating system's entropy, by the transform of Box and Muller.

    torch's own generator will not do: where the smashed data are zero the noise lies open, and
    it begins with one of only 2**32 states, which can be tried out.
    """
    pairs = max(1, -(-count // 2))
    bits = torch.frombuffer(bytearray(os.urandom(16 * pairs)), dtype=torch.int64)
    uniform = ((bits & (2**52 - 1)).double() + 0.5) * 2.0**-52  # above 0 and below 1
    radius, angle = (-2 * uniform[:pairs].log()).sqrt(), 2 * math.pi * uniform[pairs:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]


def seeded_normal(seed: int) -> Normal:
    """Return draws that repeat: for experiments, whoever knows the seed can take them away."""
    generator = torch.Generator().manual_seed(seed)
    return lambda count: torch.randn(count, generator=generator, dtype=torch.float64)
