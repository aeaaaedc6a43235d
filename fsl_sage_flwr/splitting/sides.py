"""Assign a model's modules and tensors to the halves of a replayed cut."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .blanks import STAND_INS
from .ownership import own_module, shell_of
from .recorder import Pass
from .submodules import ancestors_of


def all_names(model: nn.Module) -> dict[str, list[str]]:
    """Map the first name of each module to all its names."""
    first: dict[int, str] = {}
    names: dict[str, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(first.setdefault(id(module), name), []).append(name)
    return names


def also_outside(names: Mapping[str, Sequence[str]], modules: Collection[str]) -> list[str]:
    """Return modules, and those inside them that have a name outside them too.

    ``names`` maps the first name of each module to all its names.
    """
    return [
        name
        for name, known in names.items()
        if name in modules
        or any(
            name.startswith(f"{outer}.") and not all(n.startswith(f"{outer}.") for n in known)
            for outer in modules
        )
    ]


def owned_by_client(
    model: nn.Module, at: str, passes: Sequence[Pass], front: Sequence[str]
) -> set[int]:
    """Return the ids of the client half's tensors.

    These are the tensors of the modules before the cut, the buffers of the cut's ancestors that are
    not used behind it alone, and the other parameters on which the smashed data depend.
    """
    wanted = {name for one in passes for name in one.owned}
    behind = {name for one in passes for name in one.read["behind"]}
    behind -= {name for one in passes for name in one.read["front"]}
    ancestors = ancestors_of(at)
    modules = [model.get_submodule(name) for name in front]
    return {
        *(id(t) for module in modules for t in (*module.parameters(), *module.buffers())),
        *(id(p) for name, p in model.named_parameters() if name in wanted),
        *(
            id(buffer)
            for name, buffer in model.named_buffers()
            if name.rpartition(".")[0] in ancestors and name not in behind
        ),
    }


def without(
    module: nn.Module,
    substitutes: dict[str, Any],
    owned: set[int],
    loose: set[str],
    *,
    ours: bool,
    prefix: str = "",
) -> Any:
    """Return a shell of a module with some submodules replaced, the rest shared.

    In the module itself and in ``loose`` ones, trainable parameters outside the half become
    buffers: of zeros in the server half, which replays with them, and of NaN in the client half,
    where no batch may use them. These, frozen parameters and the buffers outside the half are not
    in the state_dict.
    """
    shell, stand_ins = shell_of(module), list[str]()
    for name, tensor in module.named_parameters(recurse=False):
        if (id(tensor) in owned) != ours:
            del shell._parameters[name]
            value = _blank(tensor.data, ours=ours) if tensor.requires_grad else tensor.data
            shell.register_buffer(name, value, persistent=False)
            if tensor.requires_grad and not ours:
                stand_ins.append(name)
    if stand_ins:
        vars(shell)[STAND_INS] = tuple(stand_ins)
    for name, buffer in module.named_buffers(recurse=False):
        if (id(buffer) in owned) != ours:
            shell._non_persistent_buffers_set.add(name)
            if not ours:  # where both halves are in one process, the replay must not change ours
                shell._buffers[name] = buffer.clone()
    for name, child in module._modules.items():  # with a second name of the same module
        full = prefix + name
        if child is None:
            continue
        if full in substitutes:
            shell._modules[name] = substitutes[full]
        elif full in loose or any(other.startswith(f"{full}.") for other in (*substitutes, *loose)):
            shell._modules[name] = without(
                child, substitutes, owned, loose, ours=ours, prefix=f"{full}."
            )
    return shell


def _blank(tensor: Tensor, *, ours: bool) -> Tensor:
    return torch.full_like(tensor, math.nan if ours else 0.0)


def put_module(half: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module under one of its names, if the half still has that name."""
    owner, _, last = name.rpartition(".")
    parts = owner.split(".") if owner else []
    here: Any = half
    for part in parts:
        here = here._modules.get(part)
        if here is None:
            return
    if here._modules.get(last) is not module and last in here._modules:
        own_module(half, owner)._modules[last] = module
