"""Save and restore everything that a forward pass can change in a model."""

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

CONTAINERS = (dict, OrderedDict, list, set, deque)
DEEPEST = 3


class ModelState:
    """Attributes, parameters, buffers and gradients of modules, as they are now.

    Parameters are not copied: :func:`unchanged` copies one before an operation writes into it.

    Parameters
    ----------
    *modules : nn.Module
        The modules, with all their submodules.
    writes : Writes, optional
        The copies of parameters that are made while these modules run; default new ones.
    """

    def __init__(self, *modules: nn.Module, writes: "Writes | None" = None) -> None:
        self._attributes: dict[int, tuple[nn.Module, dict[str, Any]]] = {}
        self._containers: dict[int, tuple[Any, Any]] = {}
        self._values: dict[int, tuple[Tensor, Tensor, bool]] = {}
        self._parameters: dict[int, tuple[nn.Parameter, Tensor, Tensor | None]] = {}
        for root in modules:
            for module in root.modules():
                self._save(module)
        self.writes = writes or Writes([data for _, data, _ in self._parameters.values()])

    def _save(self, module: nn.Module) -> None:
        if id(module) in self._attributes:
            return
        self._attributes[id(module)] = module, dict(vars(module))
        for value in vars(module).values():
            self._save_container(value, DEEPEST)
        for parameter in module.parameters(recurse=False):
            self._parameters[id(parameter)] = parameter, parameter.data, parameter.grad
        for buffer in module.buffers(recurse=False):
            self._save_value(buffer)
        for value in vars(module).values():
            if isinstance(value, Tensor) and value.grad_fn is None:
                self._save_value(value)

    def _save_value(self, tensor: Tensor) -> None:
        if id(tensor) not in self._values:
            self._values[id(tensor)] = tensor, tensor.detach().clone(), tensor.grad_fn is None

    def _save_container(self, value: Any, depth: int) -> None:
        if type(value) in CONTAINERS and id(value) not in self._containers and depth:
            self._containers[id(value)] = value, value.copy()
            for item in value.values() if isinstance(value, dict) else value:
                self._save_container(item, depth - 1)

    def has_changed(self, tensor: Tensor) -> bool:
        """Return whether a saved buffer has another value now."""
        saved = self._values.get(id(tensor))
        return saved is not None and not _equal(saved[1], tensor)

    def is_kept(self) -> bool:
        """Return whether a pass has left everything as it was, but for the mode.

        Values are compared by identity: an equal one in the place of another counts as a change.
        """
        attributes = all(
            _same_items(vars(module), saved, without="training")
            for module, saved in self._attributes.values()
        )
        containers = (_same_items(value, saved) for value, saved in self._containers.values())
        copies = (copy for copied in self.writes.copied.values() for copy in copied)
        values = (*((tensor, saved) for tensor, saved, _ in self._values.values()), *copies)
        tensors = (_equal(tensor, saved) for tensor, saved in values)
        parameters = (p.data_ptr() == data.data_ptr() for p, data, _ in self._parameters.values())
        return attributes and all(containers) and all(parameters) and all(tensors)

    def restore(self) -> None:
        """Set the modules to this state."""
        self.restore_attributes()
        self.restore_tensors()

    def restore_attributes(self) -> None:
        """Set attributes and containers to this state; the values of tensors stay."""
        for module, attributes in self._attributes.values():
            vars(module).clear()
            vars(module).update(attributes)
        for value, saved in self._containers.values():
            value.clear()
            value.extend(saved) if isinstance(value, list | deque) else value.update(saved)

    def restore_tensors(self) -> None:
        """Set parameters, buffers and gradients to this state; attributes stay."""
        for parameter, data, gradient in self._parameters.values():
            if parameter.data_ptr() != data.data_ptr():
                parameter.data = data
            parameter.grad = gradient
        with torch.no_grad():
            for tensor, _, leaf in self._values.values():
                if leaf and tensor.grad_fn is not None and not tensor._is_view():
                    tensor.detach_()  # changed in place by what had a gradient
            if self._values:  # in one call: each passes through the dispatch of all modes
                tensors, values, _ = zip(*self._values.values(), strict=True)
                torch._foreach_copy_(tensors, values)
        self.writes.undo()


class Writes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Copies a tensor before an operation writes into its memory for the first time.

    Almost no forward writes into parameters (``Embedding(max_norm=…)`` does), so that they need
    not be copied in advance. Writes through ``.data`` and views are seen too.

    Parameters
    ----------
    tensors : sequence of Tensor
        The tensors to watch.

    Attributes
    ----------
    copied : dict
        The tensors that were written into and their values before, by address.
    """

    supports_higher_order_operators = True

    def __init__(self, tensors: Sequence[Tensor]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._watched: dict[int, list[Tensor]] = {}
        for tensor in tensors:
            if _memory_of(tensor):
                self._watched.setdefault(_memory_of(tensor), []).append(tensor)
        self.copied: dict[int, list[tuple[Tensor, Tensor]]] = {}

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, after copying the watched tensors that it changes."""
        named = kwargs or {}
        schema = getattr(func, "_schema", None)
        if schema is not None and schema.is_mutable:
            for k, argument in enumerate(schema.arguments):
                if argument.alias_info is not None and argument.alias_info.is_write:
                    self._keep(args[k] if k < len(args) else named.get(argument.name))
        return func(*args, **named)

    def _keep(self, written: Any) -> None:
        for tensor in written if isinstance(written, tuple | list) else (written,):
            memory = _memory_of(tensor) if isinstance(tensor, Tensor) else 0
            if memory in self._watched and memory not in self.copied:
                self.copied[memory] = [(t, t.clone()) for t in self._watched[memory]]

    def undo(self) -> None:
        """Write the copied values back."""
        with torch.no_grad():
            for copies in self.copied.values():
                for tensor, before in copies:
                    tensor.copy_(before)


def _equal(left: Tensor, right: Tensor) -> bool:
    if left.is_sparse or right.is_sparse:  # torch.equal takes dense tensors
        left, right = left.to_dense(), right.to_dense()
    return torch.equal(left, right)


def _same_items(value: Any, saved: Any, without: str = "") -> bool:
    """Return whether a container has the same objects as its copy, in the same order."""
    if len(value) != len(saved):
        return False
    if isinstance(value, dict):
        pairs = zip(value.items(), saved.items(), strict=True)
        return all(a == b and (x is y or a == without) for (a, x), (b, y) in pairs)
    if isinstance(value, set):
        return {id(item) for item in value} == {id(item) for item in saved}
    return all(x is y for x, y in zip(value, saved, strict=True))


def _memory_of(tensor: Tensor) -> int:
    """Return the address of a tensor's memory, 0 without one."""
    if tensor.layout != torch.strided:
        return 0
    return tensor.untyped_storage().data_ptr()


@contextmanager
def unchanged(*modules: nn.Module) -> Iterator[ModelState]:
    """Restore modules at the end, whatever their forward has changed."""
    state = ModelState(*modules)
    try:
        with state.writes:
            yield state
    finally:
        state.restore()
