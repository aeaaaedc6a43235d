"""Refuse optimizers whose small constant is 0 in float16."""

from collections.abc import Callable, Sequence

import torch
from torch import nn

Factory = Callable[[Sequence[nn.Parameter]], torch.optim.Optimizer]


def refuse_vanishing_eps(make: Factory, half: nn.Module, name: str) -> None:
    """Refuse an optimizer of float16 weights that divides by 0, as Adam's default ``eps`` makes it.

    The squares of most gradients are 0 in float16 too, so that the first step leaves NaN in the
    uncut model as well. Fused optimizers compute in float32.

    Parameters
    ----------
    make : callable
        Makes the optimizer from parameters.
    half : nn.Module
        Module whose parameters it trains.
    name : str
        Name of the argument, for the message.

    Raises
    ------
    ValueError
        Names the optimizer, its ``eps`` and what to do.
    """
    trained = [p for p in half.parameters() if p.requires_grad]
    if not any(parameter.dtype == torch.float16 for parameter in trained):
        return
    optimizer = make(list(half.parameters()))
    for group in optimizer.param_groups:
        eps = group.get("eps")
        if isinstance(eps, float) and not group.get("fused") and not torch.tensor(eps).half():
            raise ValueError(
                f"{name} is {type(optimizer).__name__} with eps = {eps:g}, which is 0 in float16, "
                "so that steps divide by 0: give eps=1e-4, torch.optim.SGD, or weights in bfloat16 "
                "or float32 (model.float())"
            )
