"""Copy modules without copying their frozen parameters, or without values."""

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def copy_sharing_frozen(module: ModuleT) -> ModuleT:
    """Copy a module; the copy shares frozen parameters with the original.

    A copy of half a language model with an adapter then takes the adapter's memory. Do not
    initialise the copy or load other frozen values into it: the original would change too.
    """
    memo: dict[int, Any] = dict(_frozen(module))
    # deepcopy refuses tensors with a graph, such as the last weight that weight_norm has made.
    memo |= {id(tensor): tensor.detach().clone() for tensor in computed_attributes(module)}
    return copy.deepcopy(module, memo)


def copy_without_values(module: ModuleT) -> ModuleT:
    """Return a copy without memory for parameters and buffers, for shapes alone."""
    memo: dict[int, Any] = {}
    for tensor in [*module.parameters(), *module.buffers(), *computed_attributes(module)]:
        empty = torch.empty_like(tensor, device="meta")
        trained = isinstance(tensor, nn.Parameter)
        memo[id(tensor)] = (
            nn.Parameter(empty, requires_grad=tensor.requires_grad) if trained else empty
        )
    return copy.deepcopy(module, memo)


def without_memory(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape and type, with the memory of one element."""
    if tensor.layout != torch.strided:
        return tensor
    return torch.zeros((), dtype=tensor.dtype, device="cpu").expand(tensor.shape)


def computed_attributes(module: nn.Module) -> list[Tensor]:
    """Return the tensors with a graph that modules have as attributes."""
    return [
        value
        for part in module.modules()
        for value in vars(part).values()
        if isinstance(value, Tensor) and value.grad_fn is not None
    ]


def _frozen(module: nn.Module) -> dict[int, nn.Parameter]:
    """Return the frozen parameters by id, as the memo with which ``deepcopy`` keeps them."""
    return {id(p): p for p in module.parameters() if not p.requires_grad}
