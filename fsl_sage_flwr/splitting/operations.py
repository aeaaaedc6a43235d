"""Find the same operation of a forward again, in another pass of it."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch.overrides import TorchFunctionMode

from .pytree import Path, leaves_by_path

IN_PLACE = ("__setitem__", "__iadd__", "__isub__", "__imul__", "__itruediv__", "__ifloordiv__",
            "__imod__", "__ipow__", "__iand__", "__ior__", "__ixor__")  # fmt: skip
OURS = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class Place:
    """Where a forward makes a tensor, or takes one.

    Attributes
    ----------
    kind : str
        ``"input"``, ``"module"`` (its output), ``"operation"`` (its result) or ``"argument"`` (of
        the cut module).
    where : object
        Position of the input, name of the module, or line of code of the operation.
    time : int
        Number of earlier calls of the module or the line.
    path : tuple
        Path of the tensor in the output, the result or the arguments.
    """

    kind: str
    where: Any
    time: int = 0
    path: Path = ()


@dataclass(frozen=True)
class Result:
    """Tensors that an operation has made or changed.

    Attributes
    ----------
    value : Any
        What it returns; the changed tensor, if it returns nothing.
    line, time
        Line of code that has called it, and the number of the line's earlier calls.
    function : callable
        The operation.
    arguments : tuple
        Its positional and its keyword arguments.
    in_place : bool
        Whether it has changed its first argument.
    """

    value: Any
    line: Any
    time: int
    function: Callable[..., Any]
    arguments: tuple[Any, Any]
    in_place: bool

    def places(self) -> dict[Place, Tensor]:
        """Return the tensors by place."""
        found = leaves_by_path(self.value, Tensor)
        return {Place("operation", self.line, self.time, p): t for p, t in found.items()}


class Operations(TorchFunctionMode):
    """Passes on the results of the operations between the modules of a client half.

    Client half and server half run the same code up to the cut; they find an operation again by the
    line of the model's code that calls it. Operations inside the client half's own modules are
    left out: the server half does not run them.

    Parameters
    ----------
    seen : callable
        Returns the value that takes a result's place.
    lines : iterable or None
        Lines of which results are passed on; None for all.

    Attributes
    ----------
    inside : int
        Number of the client half's modules that are running.
    ended : bool
        Whether the cut is reached: no result is passed on from then.
    """

    def __init__(self, seen: Callable[[Result], Any], lines: Iterable[Any] | None = None) -> None:
        super().__init__()
        self._seen = seen
        self._lines = None if lines is None else set(lines)
        self._times: Counter[Any] = Counter()
        self.inside, self.ended = 0, False

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation and pass on its result."""
        output = func(*args, **(kwargs or {}))
        caller = partial(calling_line, sys._getframe(1))
        return self.pass_on(func, (args, kwargs or {}), output, caller)

    def pass_on(
        self,
        func: Callable[..., Any],
        arguments: tuple[Any, Any],
        output: Any,
        line_of: Callable[[], Any],
    ) -> Any:
        """Pass on an operation's result; ``line_of`` finds the line that has called it."""
        if self.inside or self.ended:
            return output
        args, kwargs = arguments
        sets = func.__name__ == "__setitem__"
        value = args[0] if sets else output
        if not _has_tensors(value):
            return output
        line = line_of()
        if self._lines is not None and line not in self._lines:
            return output
        time = self._times[line]
        self._times[line] += 1
        in_place = bool(args) and args[0] is value and _changes(func.__name__, kwargs)
        seen = self._seen(Result(value, line, time, func, arguments, in_place))
        return output if sets else seen


def _changes(name: str, kwargs: dict[str, Any]) -> bool:
    """Return whether an operation changes its first argument."""
    plain = name.endswith("_") and not name.endswith("__")
    return plain or name in IN_PLACE or bool(kwargs.get("inplace"))


def _has_tensors(value: Any) -> bool:
    if isinstance(value, tuple | list):
        return any(isinstance(item, Tensor) for item in value)
    return isinstance(value, Tensor)


def calling_line(frame: Any) -> Any:
    """Return the line of the model's code in a frame or those around it; None for our own code."""
    while frame is not None:
        module = frame.f_globals.get("__name__", "")
        if module.startswith(OURS):
            return None
        if not (module == "torch" or module.startswith("torch.")):
            return frame.f_code.co_filename, frame.f_lineno
        frame = frame.f_back
    return None
