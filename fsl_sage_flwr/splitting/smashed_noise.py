"""Clip smashed data and add Gaussian noise."""

import math
import os
from collections.abc import Callable

import torch
from torch import Tensor

Normal = Callable[[int], Tensor]
"""Returns ``n`` standard normal values: ``(n,)``, float64, on the CPU."""

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
    # [:, None], because a tensor may have the sample axis alone.
    flat = [t[:, None].flatten(1).double() for t in tensors if t.is_floating_point()]
    norms: Tensor = torch.linalg.vector_norm(torch.cat(flat, dim=1), dim=1)
    return norms


def clip_samples(tensors: tuple[Tensor, ...], clip_norm: float) -> tuple[Tensor, ...]:
    """Scale down each sample whose norm (:func:`sample_norms`) is above ``clip_norm``.

    Samples within the bound keep their exact values. Integer and boolean tensors, such as masks,
    are not changed. A sample with infinite values becomes the limit of clipping as they grow: they
    share the norm, and its finite values become 0. NaN stays, and the server refuses it.
    """
    if not any(t.is_floating_point() for t in tensors):
        return tensors
    if any(t.is_floating_point() and bool(t.isinf().any()) for t in tensors):
        tensors = _without_infinite(tensors, clip_norm)
    factors = (clip_norm / sample_norms(tensors)).clamp(max=1.0)

    def clipped(tensor: Tensor) -> Tensor:
        return tensor * factors.to(tensor.dtype).view(-1, *[1] * (tensor.dim() - 1))

    return tuple(clipped(t) if t.is_floating_point() else t for t in tensors)


def _without_infinite(tensors: tuple[Tensor, ...], clip_norm: float) -> tuple[Tensor, ...]:
    """Replace samples with infinite values by their directions, of norm ``clip_norm`` or more."""
    of_samples = [
        t[:, None].flatten(1).isinf().any(dim=1) for t in tensors if t.is_floating_point()
    ]
    infinite = torch.stack(of_samples).any(dim=0)

    def direction(tensor: Tensor) -> Tensor:
        rest = torch.where(tensor.isnan(), tensor, torch.zeros_like(tensor))
        ends = torch.where(tensor.isinf(), clip_norm * tensor.sign(), rest)
        return torch.where(infinite.view(-1, *[1] * (tensor.dim() - 1)), ends, tensor)

    return tuple(direction(t) if t.is_floating_point() else t for t in tensors)


def add_noise(tensors: tuple[Tensor, ...], sigma: float, normal: Normal) -> tuple[Tensor, ...]:
    """Add independent Gaussian noise to every floating-point value.

    Parameters
    ----------
    tensors : tuple of Tensor
        Smashed data; integer and boolean tensors are not changed.
    sigma : float
        Standard deviation of the noise; 0 draws nothing.
    normal : callable
        :func:`unpredictable_normal`, or the result of :func:`seeded_normal`.
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
    """Draw from the operating system's entropy, with the Box-Muller transform.

    torch's generator is not safe: where the smashed data are zero, the noise is visible, and the
    generator starts from one of only 2**32 states, which an attacker can try.
    """
    pairs = max(1, -(-count // 2))
    bits = torch.frombuffer(bytearray(os.urandom(16 * pairs)), dtype=torch.int64)
    uniform = ((bits & (2**52 - 1)).double() + 0.5) * 2.0**-52  # above 0 and below 1
    radius, angle = (-2 * uniform[:pairs].log()).sqrt(), 2 * math.pi * uniform[pairs:]
    return torch.cat([radius * angle.cos(), radius * angle.sin()])[:count]


def seeded_normal(seed: int) -> Normal:
    """Return a function with repeatable draws, for experiments only.

    The noise can be removed by anyone with the seed.
    """
    generator = torch.Generator().manual_seed(seed)
    return lambda count: torch.randn(count, generator=generator, dtype=torch.float64)
