"""Record which tensors of a forward the server half needs.

Each tensor before the cut has origins: the inputs, the parameters and the client half's modules
that its values come from. Behind the cut, the server half computes a tensor without origins again;
the others must cross.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from .copying import copy_sharing_frozen
from .errors import SplitError, never_called, running_the_model
from .operations import Operations, Place, Result, calling_line
from .ownership import shell_tree
from .pytree import Path, leaves_by_path, leaves_of, map_leaves
from .random_state import random_state
from .request import Request
from .submodules import ancestors_of, holds_tensors, outermost

Origins = frozenset[tuple[str, Any]]
NONE: Origins = frozenset()
MODULE: Origins = frozenset({("module", "")})
# Of an argument of the cut that no recorded operation has made.
UNKNOWN: Origins = frozenset({("unknown", "")})
RANDOM: Origins = frozenset({("random", "")})
# Operations whose results have none of their arguments' values, and those that draw numbers.
NEW = ("zeros_like", "ones_like", "empty_like", "full_like", "new_zeros", "new_ones", "new_empty",
       "new_full")  # fmt: skip
DRAWS = ("rand", "bernoulli", "dropout", "multinomial", "normal")
# Reads of values that return no tensor.
READS = ("item", "tolist", "__bool__", "__int__", "__float__", "__index__", "numpy", "equal",
         "allclose", "is_nonzero")  # fmt: skip


@dataclass(frozen=True)
class Known:
    """A tensor of the client half's part of the forward."""

    tensor: Tensor
    place: Place | None
    origins: Origins

    @property
    def of_inputs_alone(self) -> bool:
        """Whether its values come from inputs only, as a mask's do."""
        return {kind for kind, _ in self.origins} == {"input"}


@dataclass(frozen=True)
class Call:
    """Output of a module's call; ``passed`` maps paths in it to those of the same arguments."""

    output: Any
    passed: Mapping[Path, Path]


@dataclass
class Pass:
    """One pass of the model, as far as the cut needs it.

    Attributes
    ----------
    arguments : Any
        ``(args, kwargs)`` of the cut module.
    crossing : dict
        Tensors that the server half needs, by place.
    front : dict
        Calls of the modules before the cut, by name.
    behind : list of str
        Names of the modules called from the cut on.
    owned : set of str
        Parameters that the crossing tensors depend on, outside the modules before the cut.
    raw : set of int
        Positions of the private inputs that are used behind the cut.
    used : set of str
        Parameters that are used behind the cut.
    read : dict of str to set of str
        Buffers of the cut's ancestors that are used in ``"front"`` and ``"behind"``.
    checkpointed : bool
        Whether the cut was called inside ``torch.utils.checkpoint``.
    """

    arguments: Any = None
    crossing: dict[Place, Known] = field(default_factory=dict)
    front: dict[str, list["Call"]] = field(default_factory=dict)
    behind: list[str] = field(default_factory=list)
    owned: set[str] = field(default_factory=set)
    raw: set[int] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    read: dict[str, set[str]] = field(default_factory=lambda: {"front": set(), "behind": set()})
    checkpointed: bool = False

    def shapes(self) -> Any:
        """Return the shapes of what crosses, and of what the modules before the cut return."""
        crossing = {place: known.tensor.shape for place, known in self.crossing.items()}
        front = {
            name: [{p: t.shape for p, t in leaves_by_path(c.output, Tensor).items()} for c in calls]
            for name, calls in self.front.items()
        }
        return crossing, front


class Recorder:
    """Finds in the events of a pass what one cut needs of it.

    Parameters
    ----------
    request : Request
        The cut.
    repeated : frozenset of str
        Modules of constants, which run on both sides.
    """

    def __init__(self, request: Request, repeated: frozenset[str] = frozenset()) -> None:
        self.request, self.repeated = request, repeated
        self._at, self._public = request.at, request.public
        self._ancestors = ancestors_of(request.at)
        self.held = {
            name
            for name, module in request.model.named_modules()
            if holds_tensors(module) and name not in self._ancestors | repeated
        }
        self._pass = Pass()
        self._known: dict[int, Known] = {}
        self._within: set[int] = set()  # ids of the tensors that the cut's first call uses
        self._after: set[int] = set()
        self._reached = self._left = False
        self._buffers: dict[int, str] = {}
        self._given: list[dict[int, tuple[Path, int]]] = []
        self.operations = Operations(self._seen)

    def begin(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Begin a pass."""
        self._pass, self._known, self._within, self._after = Pass(), {}, set(), set()
        self._given = []
        self._reached = self._left = False
        for k, tensor in enumerate(inputs):
            private = NONE if k in self._public else frozenset({("input", k)})
            self._note(tensor, Place("input", k), private)
        for name, parameter in model.named_parameters():
            self._note(parameter, None, frozenset({("parameter", name)}))
        self._buffers = {
            id(buffer): name
            for name, buffer in model.named_buffers()
            if name.rpartition(".")[0] in self._ancestors
        }
        self.operations = Operations(self._seen)

    def end(self, output: Any) -> Pass | None:
        """Return the pass; None if it never called the cut."""
        if self._reached:
            for tensor in leaves_of(output, Tensor):
                self.use(tensor)
            self._decide()
        found, self._pass, self._known = self._pass, Pass(), {}
        for calls in found.front.values():  # the shapes are needed, not the memory
            calls[:] = [replace(c, output=map_leaves(c.output, Tensor, _hollow)) for c in calls]
        return found if self._reached else None

    def use(self, tensor: Tensor) -> None:
        """Note that a tensor is used; the uses behind the cut count."""
        if id(tensor) in self._buffers:
            side = "behind" if self._reached else "front"
            self._pass.read[side].add(self._buffers[id(tensor)])
        if self._reached and id(tensor) in self._known:
            (self._after if self._left else self._within).add(id(tensor))

    def _note(self, tensor: Tensor, place: Place | None, origins: Origins) -> None:
        self._known[id(tensor)] = Known(tensor, place, origins)

    def _origins(self, value: Any) -> Origins:
        found = NONE
        for tensor in leaves_of(value, Tensor):
            if id(tensor) in self._known:
                found |= self._known[id(tensor)].origins
        return found

    def _seen(self, result: Result) -> Any:
        name = getattr(result.function, "__name__", "")
        origins = NONE if name in NEW else self._origins(result.arguments)
        if not origins and any(word in name for word in DRAWS):
            origins = RANDOM
        if result.in_place:
            origins |= self._origins(result.value)
        for place, tensor in result.places().items():
            # A cast to the same type returns its argument.
            if result.in_place or id(tensor) not in self._known:
                self._note(tensor, place, origins)
        return result.value

    def enter(self, name: str, args: Any, kwargs: Any) -> None:
        """Note that a module is called."""
        if name == self._at and not self._reached:
            self._reached = self.operations.ended = True
            self._pass.arguments = (args, kwargs)
            self._pass.checkpointed = _is_inside("torch.utils.checkpoint")
        if self._reached and name not in self._ancestors:
            self._pass.behind.append(name)
        if name in self.held and not self._reached:
            self.operations.inside += 1
            given = leaves_by_path((args, kwargs), Tensor)
            self._given.append({id(t): (path, t._version) for path, t in given.items()})

    def leave(self, name: str, args: Any, kwargs: Any, output: Any) -> None:
        """Note what a module returns."""
        if name == self._at:
            self._left = True
        if name not in self.held or self._reached:
            return
        self.operations.inside -= 1
        given, calls = self._given.pop(), self._pass.front.setdefault(name, [])
        if self.operations.inside:
            calls.append(Call(None, {}))  # inside another module, which stands for it
            return
        origins = MODULE | self._origins((args, kwargs))  # with parameters among them
        passed: dict[Path, Path] = {}
        for path, tensor in leaves_by_path(output, Tensor).items():
            if given.get(id(tensor), ((), -1))[1] == tensor._version:
                passed[path] = given[id(tensor)][0]
            else:
                self._note(tensor, Place("module", name, len(calls), path), origins)
        calls.append(Call(output, passed))

    def _decide(self) -> None:
        """Find the tensors that cross and the parameters that they depend on."""
        of_cut = leaves_by_path(self._pass.arguments, Tensor)
        wanted: dict[int, tuple[Place | None, Known]] = {}
        for path, tensor in of_cut.items():
            argument = Place("argument", "", 0, path)
            known = self._known.get(id(tensor), Known(tensor, argument, UNKNOWN))
            if known.place is None or known.place.kind == "input":
                continue
            # An argument is delivered at the cut, unless it is used elsewhere too.
            here = id(tensor) not in self._after
            wanted.setdefault(id(tensor), (argument if here else known.place, known))
        for key, known in self._known.items():  # in the order of the forward, on every machine
            if key in self._within or key in self._after:
                wanted.setdefault(key, (known.place, known))
        cross = {
            key
            for key, (_, known) in wanted.items()
            if any(kind != "parameter" for kind, _ in known.origins)
        }
        owned: Origins = NONE
        while True:  # a tensor of parameters that the client half owns crosses too
            owned = frozenset(
                origin
                for key in cross
                for origin in wanted[key][1].origins
                if origin[0] == "parameter"
            )
            more = {k for k, (_, known) in wanted.items() if known.origins & owned} - cross
            if not more:
                break
            cross |= more
        self._pass.owned = {str(name) for _, name in owned}
        self._pass.used = {
            str(name)
            for _, known in wanted.values()
            if known.place is None
            for _, name in known.origins
        }
        for key, (place, known) in wanted.items():
            if key not in cross:
                continue
            if place is None:
                continue
            if place.kind == "input":
                self._pass.raw.add(place.where)
            else:
                self._pass.crossing[place] = known


class _Events(torch.overrides.TorchFunctionMode):
    """Passes the events of one pass to every recorder: operations, and calls of modules."""

    def __init__(self, recorders: Sequence[Recorder]) -> None:
        super().__init__()
        self._recorders = recorders

    def watch(self, model: nn.Module) -> None:
        """Pass on the calls of a model's modules."""
        for name, module in model.named_modules():
            module.register_forward_pre_hook(self._enter(name), with_kwargs=True)
            module.register_forward_hook(self._leave(name), with_kwargs=True)

    def _enter(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            for recorder in self._recorders:
                recorder.enter(name, args, kwargs)

        return hook

    def _leave(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            for recorder in self._recorders:
                recorder.leave(name, args, kwargs, output)

        return hook

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Run an operation, and note the tensors whose values it uses and its results."""
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        values = isinstance(output, Tensor | tuple | list) or name in READS or output is None
        used: list[Tensor] = []
        if values and name not in NEW and not isinstance(output, torch.Size):
            used = leaves_of((args, kwargs or {}), Tensor)
        caller = cache(partial(calling_line, sys._getframe(1)))
        for recorder in self._recorders:
            for tensor in used:
                recorder.use(tensor)
            recorder.operations.pass_on(func, (args, kwargs or {}), output, caller)
        return output


def _is_inside(module: str) -> bool:
    """Return whether a function of a Python module is running."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            return True
        frame = frame.f_back
    return False


def _hollow(tensor: Tensor) -> Tensor:
    """Return a tensor of the same shape and type, with the memory of one element."""
    return tensor.new_zeros(()).cpu().expand(tensor.shape)


def _run(
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
            events,
        ):
            output = request.arguments.apply(model.train(training), inputs)
        passes = [recorder.end(output) for recorder in recorders]
        changed = {n for n, b in model.named_buffers() if request.state.has_changed(b)}
    finally:
        rng.restore()
        request.state.restore()
    return passes, changed


Recorded = tuple[Mapping[bool, list[Pass]], frozenset[str]]


def record(requests: Sequence[Request]) -> dict[str, Recorded | SplitError]:
    """Record passes for several cuts of one model and example.

    The batches are one with one sample more, the example and the smaller one in train and eval
    mode, and those with other values in eval mode.

    Returns
    -------
    dict
        For each cut, the passes by mode, in the order of the batches, and the modules of constants
        that are called on both sides; or the reason for which it cannot be made.
    """
    found: dict[str, Recorded | SplitError] = {}
    recorders = [Recorder(request) for request in requests]
    while recorders:
        passes, changed = _all_passes(recorders)
        again = []
        for recorder in recorders:
            at = recorder.request.at
            try:
                complete, both = _on_both_sides(recorder, passes[at], changed)
            except SplitError as reason:
                found[at] = reason
                continue
            if both:
                again.append(Recorder(recorder.request, recorder.repeated | both))
            else:
                found[at] = complete, recorder.repeated
        recorders = again
    return found


def _all_passes(
    recorders: Sequence[Recorder],
) -> tuple[dict[str, dict[bool, list[Pass | None]]], set[str]]:
    """Return the passes by cut and mode, and the names of the buffers that they have changed.

    The larger batch runs in eval mode only if the modes differ in shapes.
    """
    one = recorders[0].request
    larger = one.arguments.larger(one.example)
    passes: dict[str, dict[bool, list[Pass | None]]] = {
        recorder.request.at: {True: [], False: []} for recorder in recorders
    }
    changed: set[str] = set()

    def run(inputs: tuple[Tensor, ...], *, training: bool, first: bool = False) -> None:
        of_cuts, more = _run(recorders, inputs, training=training)
        changed.update(more)
        for recorder, of_cut in zip(recorders, of_cuts, strict=True):
            known = passes[recorder.request.at][training]
            known.insert(0 if first else len(known), of_cut)

    for inputs in (larger, one.example, *one.sized):
        run(inputs, training=True)
    for inputs in (one.example, *one.sized, *one.others.batches[:1]):
        run(inputs, training=False)
    if all(_alike(found[True][1], found[False][0]) for found in passes.values()):
        for found in passes.values():
            found[False].insert(0, found[True][0])
    else:
        run(larger, training=False, first=True)
    return passes, changed


def _alike(one: Pass | None, other: Pass | None) -> bool:
    """Return whether two passes of a batch make tensors of the same shapes at the same places."""
    if one is None or other is None:
        return one is other
    return bool(one.shapes() == other.shapes())


def _on_both_sides(
    recorder: Recorder, passes: Mapping[bool, Sequence[Pass | None]], changed: Collection[str]
) -> tuple[Mapping[bool, list[Pass]], frozenset[str]]:
    """Return the passes, and the modules of constants that run on both sides of a cut.

    Raises
    ------
    SplitError
        The cut is never called, or a module that is not constant is used on both sides of it.
    """
    at, model = recorder.request.at, recorder.request.model
    complete = {mode: [p for p in found if p is not None] for mode, found in passes.items()}
    if any(len(complete[mode]) < len(found) for mode, found in passes.items()):
        raise SplitError(never_called(at, model.get_submodule(at)))
    every = [one for found in complete.values() for one in found]
    if any(one.checkpointed for one in every):
        raise SplitError(
            f"the cut {at!r} is called inside torch.utils.checkpoint, which computes both sides of "
            "it again in the backward pass: disable checkpointing before split "
            "(model.gradient_checkpointing_disable()), or cut outside the checkpointed part."
        )
    front = {name for one in every for name in one.front}
    both = front & {name for one in every for name in one.behind} & recorder.held
    for name in sorted(both):
        module = model.get_submodule(name)
        if any(True for _ in module.parameters()) or any(
            buffer.startswith(f"{name}.") for buffer in changed
        ):
            raise SplitError(
                f"module {name!r} is used on both sides of the cut {at!r}; cut before its "
                "first use or behind its last. If it is called once per view of a sample, give "
                "the views as one input (B, views, …) that the forward flattens."
            )
    return complete, frozenset(both)


def modules_behind(passes: Sequence[Pass], at: str, held: Collection[str]) -> list[str]:
    """Return the modules with tensors that are called behind the cut, but not before it."""
    front = {name for one in passes for name in one.front}
    behind = {name for one in passes for name in one.behind if name in held}
    return [
        name
        for name in outermost(sorted(behind))
        if name != at and not any(f"{name}.".startswith(f"{f}.") for f in front)
    ]


def modules_never_called(
    passes: Sequence[Pass], model: nn.Module, at: str, held: Collection[str]
) -> list[str]:
    """Return the modules with tensors that no pass calls, nor any of their submodules."""
    called = [name for one in passes for name in (*one.front, *one.behind, at)]
    return outermost(
        name
        for name, _ in model.named_modules()
        if name in held
        and not any(
            c == name or c.startswith(f"{name}.") or name.startswith(f"{c}.") for c in called
        )
    )
