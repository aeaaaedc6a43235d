"""Run the two halves of a replayed cut: keep what crosses in one, deliver it in the other."""

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from .crossing import TensorSpec, sizes_in
from .errors import SplitError
from .inputs import Arguments
from .operations import Operations, Place, Result
from .pytree import Path, leaves_by_path, map_leaves, map_paths
from .random_state import RandomState, random_state

NOT_REACHED = (
    "the forward ended before it reached the cut: it skips the cut module in some passes, as "
    "LayerDrop does; set that probability to 0, or cut at a module that every pass calls"
)


class CutReachedError(BaseException):
    """Ends the client's forward; an ``except Exception`` in the model must not catch it."""

    def __init__(self, arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments


@dataclass(frozen=True)
class Crossing:
    """Plan of a replayed cut.

    Attributes
    ----------
    arguments : Arguments
        How the forward takes its inputs.
    inputs : tuple of TensorSpec
        The inputs.
    blanks : tuple of int
        Value of each input in the server half, unless it crosses: one that the forward's functions
        accept, such as a length of at least 1.
    tensors : tuple of (Place, mode, TensorSpec)
        The tensors that cross, by place. The mode is None for both, else the value of
        ``training`` in which the forward makes the tensor.
    pairs : tuple of (int, int)
        Sizes that differ from batch to batch, in the example and in the smaller batch.
    """

    arguments: Arguments
    inputs: tuple[TensorSpec, ...]
    blanks: tuple[int, ...]
    tensors: tuple[tuple[Place, bool | None, TensorSpec], ...]
    pairs: tuple[tuple[int, int], ...] = ()

    def lines(self) -> set[Any]:
        """Return the lines of code of the operations with results that cross."""
        return {place.where for place, _, _ in self.tensors if place.kind == "operation"}

    def modules(self) -> set[str]:
        """Return the names of the modules with outputs that cross."""
        return {place.where for place, _, _ in self.tensors if place.kind == "module"}


class HalfPass(threading.local):
    """The pass of a half that runs in this thread."""

    crossing: Crossing | None = None
    batch: int = 0
    sizes: Sequence[int] = ()
    device: torch.device | None = None
    found: dict[Place, Tensor]  # what crosses, by place
    calls: Counter[str]
    operations: Operations | None = None
    reached: bool = True
    random_state: RandomState | None = None


half_pass = HalfPass()


class NewPass:
    """Context of one pass; passes of other models in between have their own."""

    def __init__(self, **values: Any) -> None:
        self._values = {"found": {}, "calls": Counter(), "reached": False, **values}

    def __enter__(self) -> None:
        self._before = dict(vars(half_pass))
        vars(half_pass).clear()
        vars(half_pass).update(self._values)

    def __exit__(self, *error: object) -> None:
        vars(half_pass).clear()
        vars(half_pass).update(self._before)


def client_forward(
    self: Any, crossing: Crossing, whole: type[nn.Module], *inputs: Tensor
) -> Tensor | tuple[Tensor, ...]:
    """Return the smashed data; the forward of a client half made of a ``whole``.

    Raises
    ------
    SplitError
        The inputs have other sizes than the cut was proven for, or a tensor that crosses is
        missing.
    """
    operations = Operations(_keep, crossing.lines()) if crossing.lines() else None
    batch = crossing.arguments.count(inputs)
    with NewPass(crossing=crossing, batch=batch, operations=operations):
        try:
            forward = partial(whole.forward, self)
            _under(operations, crossing.arguments, forward, inputs)
        except CutReachedError as reached:
            arguments = leaves_by_path(reached.arguments, Tensor)
        else:
            raise SplitError(NOT_REACHED)
        found = dict(half_pass.found)
    found |= {Place("argument", "", 0, path): tensor for path, tensor in arguments.items()}
    found |= {Place("input", k): tensor for k, tensor in enumerate(inputs)}
    names = crossing.arguments.names
    named = [
        *((f"input {n!r}", x, s) for n, x, s in zip(names, inputs, crossing.inputs, strict=True)),
        *(("a tensor at the cut", found[p], s) for p, _, s in crossing.tensors if p in found),
    ]
    sizes = sizes_in(named, batch, crossing.pairs)
    smashed = []
    for place, mode, spec in crossing.tensors:
        if mode is not None and mode != self.training:
            packed = spec.pack(spec.zeros(batch, inputs[0].device, sizes), batch)
        elif place not in found:
            raise SplitError(
                "a tensor that crossed the cut when the model was cut is missing in this batch, "
                "such as the mask of a batch without padding; name masks in split(…, public=(…))"
            )
        else:
            packed = spec.pack(found[place], batch)
        smashed.append(packed)
    if sizes:
        of_batch = torch.tensor(sizes, dtype=torch.int64, device=inputs[0].device)
        smashed.append(of_batch.expand(batch, len(sizes)))
    return smashed[0] if len(smashed) == 1 else tuple(smashed)


def server_forward(self: Any, crossing: Crossing, whole: type[nn.Module], *given: Tensor) -> Any:
    """Return the model's output from smashed data; the forward of a server half."""
    smashed, batch, device = list(given), len(given[0]), given[0].device
    sizes: Sequence[int] = ()
    if crossing.pairs:
        *smashed, of_batches = smashed
        sizes = of_batches.amax(dim=0).tolist()
    found = {
        place: spec.unpack(packed, sizes)
        for (place, mode, spec), packed in zip(crossing.tensors, smashed, strict=True)
        if mode is None or mode == self.training
    }
    blanks = [
        spec.filled(value, batch, device, sizes)
        for spec, value in zip(crossing.inputs, crossing.blanks, strict=True)
    ]
    inputs = [found.get(Place("input", k), blank) for k, blank in enumerate(blanks)]
    operations = Operations(_deliver_result, crossing.lines()) if crossing.lines() else None
    with NewPass(
        crossing=crossing, batch=batch, sizes=sizes, device=device, found=found,
        operations=operations, random_state=random_state(device),
    ):  # fmt: skip
        output = _under(operations, crossing.arguments, partial(whole.forward, self), inputs)
        if not half_pass.reached:
            raise SplitError(NOT_REACHED)
        return output


def _under(
    operations: Operations | None, arguments: Arguments, function: Any, inputs: Sequence[Tensor]
) -> Any:
    if operations is None:
        return arguments.apply(function, inputs)
    with operations:
        return arguments.apply(function, inputs)


def _keep(result: Result) -> Any:
    """Keep the results that cross, in the client half."""
    half_pass.found.update(result.places())
    return result.value


def _deliver_result(result: Result) -> Any:
    """Put smashed data in place of an operation's results, in the server half."""

    def deliver(path: Path, own: Tensor) -> Tensor:
        arrived = half_pass.found.get(Place("operation", result.line, result.time, path))
        if arrived is None:
            return own
        return own.copy_(arrived) if result.in_place else arrived

    return map_paths(result.value, Tensor, deliver)


def _deliver(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Replace the replay's tensors by the smashed data; a forward pre-hook of the cut."""
    if half_pass.reached:
        return None  # only the first call is the cut
    found = half_pass.found
    by_id = {
        id(own): found[place]
        for path, own in leaves_by_path((args, kwargs), Tensor).items()
        if (place := Place("argument", "", 0, path)) in found
    }
    delivered = map_leaves((args, kwargs), Tensor, lambda own: by_id.get(id(own), own))
    half_pass.reached = True
    if half_pass.operations is not None:
        half_pass.operations.ended = True
    if half_pass.random_state is not None:  # the client half has used the replay's numbers
        half_pass.random_state.restore()
    return delivered


def receive_smashed(module: nn.Module) -> None:
    """Make a module in the cut's place in a server half start from the smashed data."""
    module.register_forward_pre_hook(_deliver, with_kwargs=True)


@dataclass(frozen=True)
class Enter:
    """Begin a module of the client half."""

    name: str

    def __call__(self, module: nn.Module, args: Any, kwargs: Any) -> None:
        """Leave out the operations inside the module; a forward pre-hook."""
        if half_pass.operations is not None:
            half_pass.operations.inside += 1


@dataclass(frozen=True)
class NeverCalled:
    """Refuse to run a module that the example never called: the server half has its weights."""

    name: str

    def __call__(self, module: nn.Module, args: Any) -> None:
        """Raise an error that names the module; a forward pre-hook in the client half."""
        raise SplitError(
            f"this batch calls {self.name!r} before the cut, and the example did not, so that the "
            "server half has its weights: give split an example that calls it, of more samples"
        )


@dataclass(frozen=True)
class Leave:
    """Keep the outputs of a module of the client half."""

    name: str

    def __call__(self, module: nn.Module, args: Any, output: Any) -> None:
        """Keep the outputs; a forward hook."""
        if half_pass.operations is not None:
            half_pass.operations.inside -= 1
        if half_pass.reached or half_pass.crossing is None:
            return
        time = half_pass.calls[self.name]
        half_pass.calls[self.name] += 1
        for path, tensor in leaves_by_path(output, Tensor).items():
            half_pass.found[Place("module", self.name, time, path)] = tensor
