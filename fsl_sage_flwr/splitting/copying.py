"""Copy modules without copying their frozen parameters."""

import copy
from typing import TypeVar

from torch import nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def copy_sharing_frozen(module: ModuleT) -> ModuleT:
    """Copy a module; the copy shares frozen parameters with the original.

    A copy of half a language model with an adapter then takes the adapter's memory. Do not
    initialise the copy or load other frozen values into it: the original would change too.
    """
    return copy.deepcopy(module, _frozen(module))


def _frozen(module: nn.Module) -> dict[int, nn.Parameter]:
    """Return the frozen parameters by id, as the memo with which ``deepcopy`` keeps them."""
    return {id(p): p for p in module.parameters() if not p.requires_grad}
