"""Run the traced halves of several cuts of one model, each module once for the same inputs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from .counted_flops import CountedFlops
from .pytree import leaves_of, map_leaves

MOST_CALLS = 16  # of one module
PLAIN = (type(None), bool, int, float, str)


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
    """Outputs of a model's modules in eval mode, by their inputs.

    A call with the inputs of an earlier one gets its output, so that the halves of all cuts of a
    model take little more than one pass. Calls that draw random numbers, write into their
    arguments or return them are not remembered.
    """

    def __init__(self) -> None:
        self._calls: dict[str, list[_Call]] = {}
        self._remembered = 0  # operations of calls that were not run again

    def run(self, half: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, int]:
        """Return the output of a graph, and its floating-point operations."""
        self._remembered = 0
        with CountedFlops() as counted:
            output = _Interpreter(half, self).run(*inputs)
        return output, counted.total + self._remembered

    def call(self, name: str, module: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Return the output of a module's call, from memory if it is known."""
        arguments = (*args, *(item for pair in sorted(kwargs.items()) for item in pair))
        if not all(isinstance(value, (Tensor, *PLAIN)) for value in arguments):
            return module(*args, **kwargs)
        known = self._calls[name] = [c for c in self._calls.get(name, []) if c.is_unchanged()]
        for call in known:
            if call.fits(arguments):
                self._remembered += call.flops
                return _again(call.output)
        before, random = _versions(arguments), torch.get_rng_state()
        with torch.enable_grad(), CountedFlops() as counted:
            output = module(*args, **kwargs)
        memory = {t.untyped_storage().data_ptr() for t in arguments if isinstance(t, Tensor)}
        found = leaves_of(output, Tensor)
        if (
            not found
            or len(known) == MOST_CALLS
            or before != _versions(arguments)
            or any(tensor.untyped_storage().data_ptr() in memory for tensor in found)
            or not torch.equal(random, torch.get_rng_state())
        ):
            return output
        kept = map_leaves(output, Tensor, _without_graph)
        known.append(_Call(arguments, before, kept, counted.total))
        return _again(kept)


class _Interpreter(fx.Interpreter):
    """Runs a half; its modules are those of the model, under the model's names."""

    def __init__(self, half: Any, memory: CallMemory) -> None:
        super().__init__(half)
        self._memory = memory

    def call_module(self, target: Any, args: Any, kwargs: Any) -> Any:
        return self._memory.call(str(target), self.fetch_attr(str(target)), args, kwargs)


def _versions(values: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(value._version for value in values if isinstance(value, Tensor))


def _same(left: Any, right: Any) -> bool:
    if not (isinstance(left, Tensor) and isinstance(right, Tensor)):
        return type(left) is type(right) and bool(left == right)
    alike = left.dtype == right.dtype and left.requires_grad == right.requires_grad
    return left is right or (
        alike
        and left.shape == right.shape
        and left.stride() == right.stride()
        and torch.equal(left, right)
    )


def _without_graph(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_(tensor.requires_grad)


def _again(output: Any) -> Any:
    """Return a copy, which the caller may change in place."""
    return map_leaves(output, Tensor, lambda tensor: tensor.clone())
