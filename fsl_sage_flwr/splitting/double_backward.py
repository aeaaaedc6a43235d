"""Make heads twice differentiable, as alignment needs them.

Some operations without a double backward are replaced; any other is refused by name.
"""

import re
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..objective import Objective
from .copying import copied
from .errors import SplitError
from .gradients import estimated_gradients


class PlainHardsigmoid(nn.Module):
    """``nn.Hardsigmoid``, which has no double backward, computed from its definition."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu6(x + 3) / 6``."""
        return F.relu6(x + 3) / 6


def twice_differentiable(module: nn.Module) -> nn.Module:
    """Replace modules that have no double backward by plain forms, in place; return the result."""
    if isinstance(module, nn.Hardsigmoid):
        return PlainHardsigmoid()
    for name, child in module.named_children():
        plain = twice_differentiable(child)
        if plain is not child:
            setattr(module, name, plain)
    return module


def plain_attention() -> AbstractContextManager[None]:
    """Return a context in which attention uses the implementation that has a double backward.

    The setting holds for the whole process, not for one thread: enter it around all threads.
    """
    context: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return context


def check_twice_differentiable(
    head: nn.Module, smashed: tuple[Tensor, ...], labels: Tensor, objective: Objective
) -> None:
    """Check that a head can be aligned, by differentiating a copy of it twice.

    Parameters
    ----------
    head : nn.Module
        Auxiliary head.
    smashed : tuple of Tensor
        Example smashed data, ``(B, …)`` each.
    labels : Tensor
        Valid labels, ``(B, …)``.
    objective : Objective
        Its loss is taken of the head's scores.

    Raises
    ------
    SplitError
        An operation in the head has no double backward; the message names it.
    """
    try:
        with torch.random.fork_rng(devices=[]), plain_attention():
            estimate = estimated_gradients(
                copied(head), smashed, labels, objective, create_graph=True
            )
            torch.autograd.backward([g.pow(2).sum() for g in estimate])
    except RuntimeError as error:
        missing = re.search(r"derivative for aten::(\w+) is not implemented", str(error))
        if missing is None:
            raise
        operation = missing[1].removesuffix("_backward")
        raise SplitError(
            f"the auxiliary head cannot be aligned: {operation!r} in it cannot be differentiated "
            "twice. Use auxiliary = 'linear', or a head of your own without it."
        ) from error
