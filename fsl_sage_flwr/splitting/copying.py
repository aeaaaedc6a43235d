"""Copies of modules that share what is never trained."""

import copy
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def copied(module: ModuleT) -> ModuleT:
    """Copy a module; parameters that require no gradient are shared, not copied.

    A copy of a half of a language model with an adapter is then as large as the adapter. Nothing
    may initialise the copy anew, or load other frozen values into it.
    """
    return copy.deepcopy(module, _frozen(module))


def _frozen(module: nn.Module) -> dict[int, nn.Parameter]:
    """Return what ``deepcopy`` takes for copies that it has made already."""
    return {id(p): p for p in module.parameters() if not p.requires_grad}
