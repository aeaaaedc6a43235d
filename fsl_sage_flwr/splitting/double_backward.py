"""Make auxiliary heads twice differentiable, as alignment requires.

Some operations without a double backward are replaced; others are refused by name.
"""

import re
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..objective import Objective
from .copying import copy_sharing_frozen
from .errors import SplitError
from .gradients import differentiable, estimated_gradients
from .pytree import leaves_of


class PlainHardsigmoid(nn.Module):
    """``nn.Hardsigmoid`` computed from its definition, which has a double backward."""

    def forward(self, x: Tensor) -> Tensor:
        """Return ``relu6(x + 3) / 6``."""
        return F.relu6(x + 3) / 6


def twice_differentiable(module: nn.Module) -> nn.Module:
    """Replace modules that lack a double backward by plain forms, in place; return the result."""
    if isinstance(module, nn.Hardsigmoid):
        return PlainHardsigmoid()
    for name, child in module.named_children():
        plain = twice_differentiable(child)
        if plain is not child:
            setattr(module, name, plain)
    return module


def plain_attention() -> AbstractContextManager[None]:
    """Return a context in which attention uses an implementation that has a double backward.

    The setting applies to the whole process, not to one thread: enter it around all threads.
    """
    context: AbstractContextManager[None] = sdpa_kernel(SDPBackend.MATH)
    return context


def check_twice_differentiable(
    head: nn.Module, smashed: tuple[Tensor, ...], labels: Tensor, objective: Objective
) -> None:
    """Check that a head can be aligned by differentiating a copy of it twice.

    Parameters
    ----------
    head : nn.Module
        Auxiliary head.
    smashed : tuple of Tensor
        Example smashed data, ``(B, …)`` each.
    labels : Tensor
        Valid labels, ``(B, …)``.
    objective : Objective
        Loss of the head's scores.

    Raises
    ------
    SplitError
        The head contains an operation without a double backward; the message names it.
    """
    try:
        with torch.random.fork_rng(devices=[]), plain_attention():
            estimate = estimated_gradients(
                copy_sharing_frozen(head), smashed, labels, objective, create_graph=True
            )
            torch.autograd.backward([g.pow(2).sum() for g in estimate])
    except RuntimeError as error:
        missing = re.search(r"derivative for aten::(\w+) is not implemented", str(error))
        if missing is None:
            raise
        operation = missing[1].removesuffix("_backward")
        if _takes_two_derivatives(head, smashed):
            raise SplitError(
                f"estimates of this loss cannot be aligned: its operation {operation!r} cannot be "
                "differentiated twice, whatever the auxiliary head. Use an algorithm that aligns "
                "no heads, or another loss."
            ) from error
        raise SplitError(
            f"the auxiliary head cannot be aligned: its operation {operation!r} cannot be "
            "differentiated twice. Use auxiliary = 'linear', or a custom head without it."
        ) from error


def _takes_two_derivatives(head: nn.Module, smashed: tuple[Tensor, ...]) -> bool:
    """Tell whether a head can be differentiated twice with a loss that can."""
    leaves = differentiable(smashed)
    try:
        with torch.random.fork_rng(devices=[]), plain_attention():
            outputs = leaves_of(copy_sharing_frozen(head)(*leaves), Tensor)
            total = sum((out.square().sum() for out in outputs), torch.zeros(()))
            found = torch.autograd.grad(
                total,
                [leaf for leaf in leaves if leaf.requires_grad],
                create_graph=True,
                allow_unused=True,
            )
            torch.autograd.backward([g.pow(2).sum() for g in found if g is not None])
    except RuntimeError:
        return False
    return True
