"""Run a model once, and pass the events of its forward to recorders."""

import sys
from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from .copying import copy_sharing_frozen
from .errors import running_the_model
from .operations import calling_line
from .ownership import shell_tree
from .pytree import leaves_of
from .random_state import random_state
from .recorder import NEW, Pass, Recorder
from .value_reads import ValueReads, returns_values

# Functions that use the values of tensors and return none.
READS = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "numpy", "equal",
         "allclose", "is_nonzero")  # fmt: skip


class _Events(torch.overrides.TorchFunctionMode):
    """Passes the events of one pass to every recorder: operations, and calls of modules."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        super().__init__()
        self._recorders = recorders
        self.reads, self._known_reads = ValueReads(), 0

    def watch(self, model: nn.Module) -> None:
        """Pass on the calls of a model's modules."""
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._enter(name), with_kwargs=True)
            module.register_forward_hook(self._leave(name), with_kwargs=True)

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            self._pass_on_reads(None)  # of scripts, which no function has announced
            for recorder in self._recorders:
                recorder.enter(name, args, kwargs)

        return hook

    def _leave(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            for recorder in self._recorders:
                recorder.leave(name, args, kwargs, output)

        return hook

    def _pass_on_reads(self, arguments: Any) -> None:
        if self.reads.count > self._known_reads:
            # A bound in a slice is read too, and is no leaf.
            unknown = arguments is None or any(
                isinstance(bound, Tensor)
                for one in leaves_of(arguments, slice)
                for bound in (one.start, one.stop, one.step)
            )
            tensors = None if unknown else leaves_of(arguments, Tensor)
            for recorder in self._recorders:
                recorder.read(tensors)
        self._known_reads = self.reads.count

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and note the tensors whose values it uses and its results."""
        self._pass_on_reads(None)
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        values = isinstance(output, Tensor | tuple | list) or name in READS or output is None
        used: list[Tensor] = []
        if values and name not in NEW and not isinstance(output, torch.Size):
            used = leaves_of((args, kwargs or {}), Tensor)
        if returns_values(func, output):
            self.reads.count += 1
        self._pass_on_reads((args, kwargs or {}))
        caller = cache(partial(calling_line, sys._getframe(1)))
        for recorder in self._recorders:
            for tensor in used:
                recorder.use(tensor)
            recorder.operations.pass_on(func, (args, kwargs or {}), output, caller)
        return output


def record_pass(
    recorders: Sequence[Recorder], inputs: tuple[Tensor, ...], *, training: bool
) -> tuple[list[Pass | None], set[str]]:
    """Run the model once, without gradients, for several cuts of it.

    Returns
    -------
    tuple
        The pass of each recorder, and the names of the buffers that the pass has changed.

    Raises
    ------
    SplitError
        The model fails.
    """
    request = recorders[0].request
    model = shell_tree(request.model, copy_sharing_frozen)
    events = _Events(recorders)
    events.watch(model)
    inputs = tuple(tensor.clone() for tensor in inputs)  # a forward may change them in place
    for recorder in recorders:
        recorder.begin(model, inputs)
    rng = random_state(inputs[0].device)
    try:
        mode = "train" if training else "eval"
        with (
            torch.no_grad(),
            running_the_model(f"{type(request.model).__name__} fails in {mode} mode"),
            events.reads,
            events,
        ):
            output = request.arguments.apply(model.train(training), inputs)
        passes = [recorder.end(output) for recorder in recorders]
        changed = {n for n, b in model.named_buffers() if request.state.has_changed(b)}
    finally:
        rng.restore()
        request.state.restore()
    return passes, changed
