"""Reconstruct inputs from smashed data with the client half alone.

After He, Zhang and Lee, "Model inversion attacks against collaborative inference" (ACSAC 2019): an
input is optimised until its smashed data match the sent ones.
"""

from collections.abc import Callable

import torch
from torch import Tensor

STEPS, LEARNING_RATE = 300, 0.1
SMOOTHNESS = 0.1  # weight of the total variation beside the relative error


def invert(
    forward: Callable[[Tensor], tuple[Tensor, ...]],
    received: tuple[Tensor, ...],
    image_shape: tuple[int, ...],
    *,
    steps: int = STEPS,
) -> Tensor:
    """Return images with smashed data like the received ones.

    Adam optimises all pixels, from grey, at a rate that falls to zero along a cosine. The objective
    is the squared error of the smashed data relative to their size, plus the images' total
    variation.

    Parameters
    ----------
    forward : callable
        Maps images ``(N, C, H, W)``, from 0 to 1, to their smashed data; differentiable.
    received : tuple of Tensor
        Each ``(N, …)``; only floating-point tensors are compared.
    image_shape : tuple of int
        ``(C, H, W)``.
    steps : int
        Steps of the optimisation.

    Returns
    -------
    Tensor
        ``(N, C, H, W)``, from 0 to 1, on the device of ``received``.
    """
    wanted = [tensor.float() for tensor in received if tensor.is_floating_point()]
    size = sum(float(tensor.square().sum()) for tensor in wanted) or 1.0
    shape = (len(received[0]), *image_shape)
    images = torch.full(shape, 0.5, device=received[0].device, requires_grad=True)
    optimizer = torch.optim.Adam([images], lr=LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=steps)
    for _ in range(steps):
        made = [tensor for tensor in forward(images) if tensor.is_floating_point()]
        error = sum((m - w).square().sum() for m, w in zip(made, wanted, strict=True)) / size
        optimizer.zero_grad()
        torch.autograd.backward(error + SMOOTHNESS * total_variation(images), inputs=[images])
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            images.clamp_(0, 1)
    return images.detach()


def total_variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels, summed over both directions."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    across = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    return down + across
