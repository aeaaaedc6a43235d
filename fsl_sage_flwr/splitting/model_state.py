"""Save and restore everything that a forward pass can change in a model."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

CONTAINERS = (dict, OrderedDict, list, set, deque)
DEEPEST = 3


class ModelState:
    """Attributes, parameters, buffers and gradients of modules, as they are now.

    Frozen parameters are not copied: a forward does not change them.

    Parameters
    ----------
    *modules : nn.Module
        The modules, with all their submodules.
    """

    def __init__(self, *modules: nn.Module) -> None:
        self._attributes: dict[int, tuple[nn.Module, dict[str, Any]]] = {}
        self._containers: dict[int, tuple[Any, Any]] = {}
        self._values: dict[int, tuple[Tensor, Tensor]] = {}
        self._gradients: dict[int, tuple[Tensor, Tensor | None]] = {}
        for root in modules:
            for module in root.modules():
                self._save(module)

    def _save(self, module: nn.Module) -> None:
        if id(module) in self._attributes:
            return
        self._attributes[id(module)] = module, dict(vars(module))
        for value in vars(module).values():
            self._save_container(value, DEEPEST)
        for parameter in module.parameters(recurse=False):
            self._gradients[id(parameter)] = parameter, parameter.grad
            if parameter.requires_grad:
                self._save_value(parameter)
        for buffer in module.buffers(recurse=False):
            self._save_value(buffer)
        for value in vars(module).values():
            if isinstance(value, Tensor) and value.grad_fn is None:
                self._save_value(value)

    def _save_value(self, tensor: Tensor) -> None:
        if id(tensor) not in self._values:
            self._values[id(tensor)] = tensor, tensor.detach().clone()

    def _save_container(self, value: Any, depth: int) -> None:
        if type(value) in CONTAINERS and id(value) not in self._containers and depth:
            self._containers[id(value)] = value, value.copy()
            for item in value.values() if isinstance(value, dict) else value:
                self._save_container(item, depth - 1)

    def has_changed(self, tensor: Tensor) -> bool:
        """Return whether a saved parameter or buffer has another value now."""
        saved = self._values.get(id(tensor))
        return saved is not None and not torch.equal(saved[1], tensor)

    def restore(self) -> None:
        """Set the modules to this state."""
        for module, attributes in self._attributes.values():
            vars(module).clear()
            vars(module).update(attributes)
        for value, saved in self._containers.values():
            value.clear()
            value.extend(saved) if isinstance(value, list | deque) else value.update(saved)
        with torch.no_grad():
            for tensor, before in self._values.values():
                tensor.copy_(before)
        for parameter, gradient in self._gradients.values():
            parameter.grad = gradient


@contextmanager
def unchanged(model: nn.Module) -> Iterator[ModelState]:
    """Restore a model at the end, whatever its forward has changed."""
    state = ModelState(model)
    try:
        yield state
    finally:
        state.restore()
