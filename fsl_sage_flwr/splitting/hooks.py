"""Keep the hooks of a copied model apart from the original's."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MethodType
from typing import Any

from torch import nn

from .errors import SplitError
from .model_state import CONTAINERS

FORWARD = ("_forward_pre_hooks", "_forward_hooks")
TABLES = (*FORWARD, "_backward_pre_hooks", "_backward_hooks")


def refuse_inner_hooks(model: nn.Module) -> None:
    """Refuse a hook that is an inner function of a method and uses the model.

    Every node trains a copy of a half. Copying a module copies its hooks' bound methods, but not
    functions: an inner function would store the copy's values in the original, where the copy's
    forward does not find them.

    Raises
    ------
    SplitError
        The message names the hook and its module.
    """
    own = {id(module) for module in model.modules()}
    for module in model.modules():
        own |= {id(value) for value in vars(module).values() if type(value) in CONTAINERS}
    for name, module in model.named_modules():
        for hook in _hooks(module):
            if any(id(value) in own for value in _enclosed(hook)):
                raise SplitError(
                    f"hook {hook.__qualname__!r} of {name or 'the model'!r} is an inner function "
                    "that uses the model; a copy of the model, which each node trains, would store "
                    "its values in the original. Register a method: "
                    "register_forward_hook(functools.partial(self.keep, name))."
                )


def has_hooks(module: nn.Module) -> bool:
    """Return whether a module has hooks of any kind."""
    return any(vars(module).get(table) for table in TABLES)


def has_hooks_of(module: nn.Module, owners: Mapping[int, nn.Module]) -> bool:
    """Return whether a forward hook of a module is a method of one of these, by id."""
    return any(
        _rebound(hook, owners) is not hook
        for table in FORWARD
        for hook in vars(module).get(table, {}).values()
    )


def rebind_hooks(module: nn.Module, owners: Mapping[int, nn.Module]) -> None:
    """Give forward hooks that are methods of one module, by id, to the module in its place."""
    for table in FORWARD:
        hooks = vars(module).get(table, {})
        for key, hook in hooks.items():
            hooks[key] = _rebound(hook, owners)


def _rebound(hook: Any, owners: Mapping[int, nn.Module]) -> Any:
    if isinstance(hook, partial):
        inner = _rebound(hook.func, owners)
        return hook if inner is hook.func else partial(inner, *hook.args, **hook.keywords)
    owner = owners.get(id(getattr(hook, "__self__", None)))
    return hook if owner is None else MethodType(hook.__func__, owner)


def _hooks(module: nn.Module) -> Iterator[Any]:
    for table in TABLES:
        for hook in vars(module).get(table, {}).values():
            while isinstance(hook, partial):
                hook = hook.func
            yield hook


def _enclosed(hook: Callable[..., Any]) -> Iterator[Any]:
    """Iterate over the values of the outer function that an inner one uses."""
    for cell in getattr(hook, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # not assigned yet
            continue
