"""Reconstruct inputs from smashed data with the client half alone, and no other images.

After He, Zhang and Lee, "Model inversion attacks against collaborative inference" (ACSAC 2019):
an input is optimised until its smashed data are those that were sent.
"""

from collections.abc import Callable

import torch
from torch import Tensor

STEPS, LEARNING_RATE = 200, 0.05
SMOOTHNESS = 1e-3  # weight of the total variation beside the relative error


def invert(
    forward: Callable[[Tensor], tuple[Tensor, ...]],
    received: tuple[Tensor, ...],
    image_shape: tuple[int, ...],
    *,
    steps: int = STEPS,
) -> Tensor:
    """Return images whose smashed data are like those that were received.

    Adam moves all pixels, from grey; what is minimised is the squared error of the smashed
    data relative to their size, and the images' total variation.

    Parameters
    ----------
    forward : callable
        From images ``(N, C, H, W)``, from 0 to 1, to their smashed data, differentiable.
    received : tuple of Tensor
        Each ``(N, …)``; only floating-point tensors are compared.
    image_shape : tuple of int
        ``(C, H, W)``.
    steps : int
        Of the optimisation.

    Returns
    -------
    Tensor
        ``(N, C, H, W)``, from 0 to 1, on the device of ``received``.
    """
    wanted = [tensor.float() for tensor in received if tensor.is_floating_point()]
    size = sum(float(tensor.square().sum()) for tensor in wanted) or 1.0
    shape = (len(received[0]), *image_shape)
    logits = torch.zeros(shape, device=received[0].device, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=LEARNING_RATE)
    for _ in range(steps):
        images = logits.sigmoid()
        made = [tensor for tensor in forward(images) if tensor.is_floating_point()]
        error = sum((m - w).square().sum() for m, w in zip(made, wanted, strict=True)) / size
        optimizer.zero_grad()
        torch.autograd.backward(error + SMOOTHNESS * total_variation(images), inputs=[logits])
        optimizer.step()
    return logits.detach().sigmoid()


def total_variation(images: Tensor) -> Tensor:
    """Return the mean absolute difference of neighbouring pixels, both ways together."""
    down = (images[..., 1:, :] - images[..., :-1, :]).abs().mean()
    across = (images[..., :, 1:] - images[..., :, :-1]).abs().mean()
    return down + across
