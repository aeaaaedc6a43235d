"""Put every tensor of a model into one half."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .errors import SplitError, tied_across
from .hooks import rebind_hooks
from .split_model import SplitModel

TABLES = (
    "_modules", "_parameters", "_buffers", "_non_persistent_buffers_set",
    "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs", "_forward_hooks",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called",
)  # fmt: skip


def shell_of(module: nn.Module) -> Any:
    """Return a shallow copy of a module: its submodules and tensors are shared, its tables not."""
    shell: Any = object.__new__(type(module))  # a class may define its own copies
    inside = vars(shell)
    inside.update(vars(module))
    for table in TABLES:
        inside[table] = copy.copy(inside[table])
    return shell


def shell_tree(
    model: nn.Module, compiled: Callable[[nn.Module], nn.Module] = lambda module: module
) -> Any:
    """Return a shell of a model and of each of its submodules, which share its tensors.

    Halves are made of these: what their forward sets in a module, such as hooks and counters, does
    not reach the model. ``compiled`` makes the module in the place of one that has no shell.
    """
    shells: dict[int, nn.Module] = {}

    def made(module: nn.Module) -> nn.Module:
        if id(module) not in shells:
            if isinstance(module, torch.jit.ScriptModule) or "_orig_mod" in module._modules:
                shells[id(module)] = compiled(module)
            else:
                shells[id(module)] = shell = shell_of(module)
                for name, child in module._modules.items():
                    shell._modules[name] = None if child is None else made(child)
        return shells[id(module)]

    root = made(model)
    for shell in shells.values():
        rebind_hooks(shell, shells)
    return root


def own_module(half: nn.Module, name: str) -> Any:
    """Replace a submodule of a half, and those on the path to it, by shells; return its shell."""
    owner: Any = half
    for part in name.split(".") if name else ():
        shell = owner._modules[part] = shell_of(owner._modules[part])
        owner = shell
    return owner


def complete(model: nn.Module, halves: SplitModel) -> None:
    """Give each tensor of a model's state_dict to one half, under each of its names.

    A tensor with several names goes to the half that has one of them; one that the forward never
    uses to the server half. A constant buffer of both halves stays in the client half's state_dict
    alone.
    """
    names = _tensors_of(model)
    client, server = halves.client, halves.server
    for half in (client, server):
        known = half.state_dict(keep_vars=True)
        for name in known.keys() - names.keys():
            if not isinstance(known[name], nn.Parameter):
                _leave_out(half, name)
    ours, theirs = (half.state_dict(keep_vars=True) for half in (client, server))
    for name in ours.keys() & theirs.keys():
        if not isinstance(theirs[name], nn.Parameter):
            _leave_out(server, name)
    of_client = {id(tensor) for tensor in ours.values()}
    for name in names.keys() - ours.keys() - theirs.keys():
        _register(client if id(names[name]) in of_client else server, name, names[name])


def _tensors_of(model: nn.Module) -> dict[str, Tensor]:
    return {
        name: value
        for name, value in model.state_dict(keep_vars=True).items()
        if isinstance(value, Tensor)
    }


def _leave_out(half: nn.Module, name: str) -> None:
    """Take a buffer out of a half's state_dict."""
    owner, _, buffer = name.rpartition(".")
    own_module(half, owner)._non_persistent_buffers_set.add(buffer)


def _register(half: nn.Module, name: str, tensor: Tensor) -> None:
    *path, last = name.split(".")
    owner: Any = half
    for part in path:
        if part not in owner._modules:
            owner._modules[part] = nn.Module()
        owner = owner._modules[part]
    for table, value in (
        (owner._parameters, tensor if isinstance(tensor, nn.Parameter) else None),
        (owner._buffers, None if isinstance(tensor, nn.Parameter) else tensor),
    ):
        if value is not None:
            owner._parameters.pop(last, None)
            owner._buffers.pop(last, None)
            owner._non_persistent_buffers_set.discard(last)
            table[last] = value


def refuse_tied(halves: SplitModel) -> None:
    """Refuse trainable parameters that both halves have; frozen ones never differ.

    Raises
    ------
    SplitError
        The message names both.
    """
    theirs = {id(parameter): name for name, parameter in halves.server.named_parameters()}
    for name, parameter in halves.client.named_parameters():
        if id(parameter) in theirs and parameter.requires_grad:
            raise SplitError(tied_across(halves.cut, f"{name} and {theirs[id(parameter)]}"))


def refuse_empty(halves: SplitModel, *, frozen_back: bool = False) -> None:
    """Refuse a client half without parameters, and a server half without one to train.

    ``frozen_back`` accepts such a server half. A client half may be frozen: some algorithms, such
    as SplitFrozen, do not train it.
    """
    if not any(True for _ in halves.client.parameters()):
        raise SplitError(
            f"cut {halves.cut!r} leaves the client half without a parameter: cut later."
        )
    if not frozen_back and not any(p.requires_grad for p in halves.server.parameters()):
        raise SplitError(
            f"cut {halves.cut!r} leaves the server half without a parameter to train: cut earlier, "
            "or thaw one (requires_grad_(True))."
        )
