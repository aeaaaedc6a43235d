"""Run the traced halves of several cuts of one model, each call once for the same inputs."""

from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from typing import Any

import torch
from torch import Tensor, fx, nn

from .copying import copy_without_values
from .counted_flops import CountedFlops
from .pytree import leaves_of, map_leaves

MOST_CALLS = 16  # of one module
PLAIN = (type(None), bool, int, float, str)
ORIGIN = "fsl_sage_origin"  # attribute of a remembered tensor's copies
_numbers = count()


@dataclass(frozen=True)
class _Remembered:
    """A remembered output among the arguments of a call."""

    number: int
    requires_grad: bool


@dataclass(frozen=True)
class _Call:
    """One call of a module, with the versions of its arguments' memory."""

    arguments: tuple[Any, ...]
    versions: tuple[int, ...]
    output: Any
    flops: int

    def is_unchanged(self) -> bool:
        """Return whether the arguments still have the values that the call was given."""
        return _versions(self.arguments) == self.versions

    def fits(self, arguments: tuple[Any, ...]) -> bool:
        """Return whether the call was given the same values in the same layout."""
        same = map(_same, arguments, self.arguments)
        return len(arguments) == len(self.arguments) and all(same)


class CallMemory:
    """Outputs of a model's modules and functions in eval mode, by their inputs.

    A call with the inputs of an earlier one gets its output, so that the halves of all cuts of a
    model take little more than one pass. Modules are remembered by the values of their inputs,
    functions by remembered outputs that they are given. Calls that draw random numbers, write into
    their arguments or return them are not remembered.
    """

    def __init__(self) -> None:
        self._calls: dict[Hashable, list[_Call]] = {}
        self._functions: dict[Hashable, _Call] = {}
        self._emptied: dict[int, tuple[nn.Module, nn.Module]] = {}
        self._remembered = 0  # operations of calls that were not run again

    def run(self, half: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, int]:
        """Return the output of a graph, and its floating-point operations."""
        self._remembered = 0
        with CountedFlops() as counted:
            output = RememberingInterpreter(half, self).run(*inputs)
        return output, counted.total + self._remembered

    def run_modules(
        self, half: nn.Module, names: Iterable[str], inputs: tuple[Any, ...]
    ) -> tuple[Any, int]:
        """As :meth:`run`, for a half that is no graph: some submodules answer from memory."""
        self._remembered = 0
        with CountedFlops() as counted, self._answering(half, names):
            output = half(*inputs)
        return output, counted.total + self._remembered

    @contextmanager
    def _answering(self, half: nn.Module, names: Iterable[str]) -> Iterator[None]:
        own = {name: half.get_submodule(name) for name in names}
        before = {name: vars(module).get("forward") for name, module in own.items()}
        for name, module in own.items():
            vars(module)["forward"] = partial(self._forward, name, module.forward)
        try:
            yield
        finally:
            for name, module in own.items():
                del vars(module)["forward"]
                if before[name] is not None:
                    vars(module)["forward"] = before[name]

    def _forward(self, name: str, forward: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return self.call(("forward", name), forward, args, kwargs)

    def emptied(self, module: nn.Module) -> nn.Module:
        """Return a copy of a module without values, one for all cuts."""
        if id(module) not in self._emptied:
            self._emptied[id(module)] = module, copy_without_values(module)
        return self._emptied[id(module)][1]

    def call(self, name: Hashable, module: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return the output of a module's call, from memory if it is known."""
        arguments = (*args, *(item for pair in sorted(kwargs.items()) for item in pair))
        if not all(isinstance(value, (Tensor, *PLAIN)) for value in arguments):
            return module(*args, **kwargs)
        known = self._calls[name] = [c for c in self._calls.get(name, []) if c.is_unchanged()]
        for call in known:
            if call.fits(arguments):
                return self._again(call)
        output, made = _made(partial(module, *args, **kwargs), arguments)
        if made is None or len(known) == MOST_CALLS:
            return output
        known.append(made)
        return _copied(made.output)

    def call_function(self, name: Hashable, function: Callable[[], Any], arguments: Any) -> Any:
        """Return the result of a function of remembered outputs, from memory if it is known."""
        tensors: list[Tensor] = []
        try:
            key = name, _named(arguments, tensors)
            known = self._functions.get(key)
        except TypeError:  # other arguments
            return function()
        if known is not None:
            return self._again(known)
        output, made = _made(function, tuple(tensors))
        if made is None:
            return output
        self._functions[key] = made
        return _copied(made.output)

    def _again(self, call: _Call) -> Any:
        self._remembered += call.flops
        return _copied(call.output)


def _made(function: Callable[[], Any], arguments: tuple[Any, ...]) -> tuple[Any, _Call | None]:
    """Return the output of a call, and the call if it can be remembered."""
    stored = tuple(map(_stored, arguments))
    before, random = _versions(arguments), torch.get_rng_state()
    with torch.enable_grad(), CountedFlops() as counted:
        output = function()
    memory = {t.untyped_storage().data_ptr() for t in arguments if isinstance(t, Tensor)}
    found = leaves_of(output, Tensor)
    if (
        not found
        or before != _versions(arguments)
        or any(tensor.untyped_storage().data_ptr() in memory for tensor in found)
        or not torch.equal(random, torch.get_rng_state())
    ):
        return output, None
    kept = map_leaves(output, Tensor, _kept)
    return output, _Call(stored, _versions(stored), kept, counted.total)


def _stored(value: Any) -> Any:
    """Return an argument as it is stored: the memory of an output is held once."""
    if _is_remembered(value):
        return _Remembered(_origin(value), value.requires_grad)
    return value


def _named(value: Any, tensors: list[Tensor]) -> Hashable:
    """Return arguments as a key, with the origins of tensors, which are added to a list.

    Raises
    ------
    TypeError
        A tensor is not remembered, or has changed since; or another value is no plain one.
    """
    if isinstance(value, Tensor):
        tensors.append(value)
        return Tensor, _origin(value), value.requires_grad
    if isinstance(value, (*PLAIN, torch.dtype, torch.Size)):
        return type(value), value
    if isinstance(value, tuple | list):
        return type(value), tuple(_named(item, tensors) for item in value)
    if isinstance(value, dict):
        return dict, tuple((key, _named(item, tensors)) for key, item in value.items())
    raise TypeError(type(value).__name__)


def _origin(tensor: Tensor) -> int:
    """Return the number of the remembered output that a tensor still equals."""
    number, version = getattr(tensor, ORIGIN, (-1, -1))
    if version != tensor._version:
        raise TypeError("not remembered")
    return int(number)


class RememberingInterpreter(fx.Interpreter):
    """Runs a graph, whose modules have their names in the model.

    Parameters
    ----------
    half : nn.Module
        Module of the graph.
    memory : CallMemory or None
        Outputs of earlier calls; None runs every call.
    """

    def __init__(
        self, half: Any, memory: CallMemory | None, *, garbage_collect_values: bool = True
    ) -> None:
        super().__init__(half, garbage_collect_values=garbage_collect_values)
        self._memory = memory

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Call a module."""
        if self._memory is None:
            return super().call_module(target, args, kwargs)
        return self._memory.call(str(target), self.fetch_attr(str(target)), args, kwargs)

    def call_function(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Call a function."""
        run = partial(super().call_function, target, args, kwargs)
        return self._from_memory(target, run, (args, kwargs))

    def call_method(self, target: Any, args: Any, kwargs: Any) -> Any:
        """Call a method; a clone of a remembered output counts as that output."""
        run = partial(super().call_method, target, args, kwargs)
        if target == "clone" and _is_remembered(args[0]):
            return _numbered(run(), getattr(args[0], ORIGIN)[0])
        return self._from_memory(target, run, (args, kwargs))

    def _from_memory(self, target: Any, run: Callable[[], Any], arguments: Any) -> Any:
        if self._memory is None:
            return run()
        return self._memory.call_function(target, run, arguments)


def _versions(values: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(value._version for value in values if isinstance(value, Tensor))


def _same(given: Any, stored: Any) -> bool:
    if isinstance(stored, _Remembered):
        return _is_remembered(given) and _stored(given) == stored
    if not (isinstance(given, Tensor) and isinstance(stored, Tensor)):
        return type(given) is type(stored) and bool(given == stored)
    if given.dtype != stored.dtype or given.requires_grad != stored.requires_grad:
        return False
    return given is stored or (
        given.shape == stored.shape
        and given.stride() == stored.stride()
        and torch.equal(given, stored)
    )


def _is_remembered(value: Any) -> bool:
    try:
        return _origin(value) >= 0
    except (AttributeError, TypeError):
        return False


def _kept(tensor: Tensor) -> Tensor:
    """Return a tensor without its graph, with a number."""
    return _numbered(tensor.detach().requires_grad_(tensor.requires_grad), next(_numbers))


def _copied(output: Any) -> Any:
    """Return a copy, which the caller may change in place."""
    return map_leaves(
        output, Tensor, lambda kept: _numbered(kept.clone(), getattr(kept, ORIGIN)[0])
    )


def _numbered(tensor: Tensor, number: int) -> Tensor:
    setattr(tensor, ORIGIN, (number, tensor._version))
    return tensor
