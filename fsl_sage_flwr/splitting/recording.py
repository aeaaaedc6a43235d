"""Record which tensors of a forward the server half needs.

Each tensor before the cut has origins: the inputs, the parameters and the client half's modules
that its values come from. Behind the cut, the server half computes a tensor without origins again;
the others must cross.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from .copying import copy_sharing_frozen
from .errors import SplitError, running_the_model
from .operations import Operations, Place, Result
from .pytree import Path, leaves_by_path, leaves_of
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
    """

    arguments: Any = None
    crossing: dict[Place, Known] = field(default_factory=dict)
    front: dict[str, list["Call"]] = field(default_factory=dict)
    behind: list[str] = field(default_factory=list)
    owned: set[str] = field(default_factory=set)
    raw: set[int] = field(default_factory=set)
    used: set[str] = field(default_factory=set)
    read: dict[str, set[str]] = field(default_factory=lambda: {"front": set(), "behind": set()})


class Recorder:
    """Records passes of a copy of a model.

    Parameters
    ----------
    request : Request
        The cut.
    repeated : frozenset of str
        Modules of constants, which run on both sides.
    """

    def __init__(self, request: Request, repeated: frozenset[str] = frozenset()) -> None:
        self._model, self._at = request.model, request.at
        self._arguments, self._public = request.arguments, request.public
        self._watched = copy_sharing_frozen(request.model)
        self._ancestors = ancestors_of(request.at)
        self.held = {
            name
            for name, module in self._watched.named_modules()
            if holds_tensors(module) and name not in self._ancestors | repeated
        }
        self._pass = Pass()
        self._known: dict[int, Known] = {}
        self._within: set[int] = set()  # ids of the tensors that the cut's first call uses
        self._after: set[int] = set()
        self._reached = self._left = False
        self._buffers: dict[int, str] = {}
        self._given: list[dict[int, tuple[Path, int]]] = []
        self._operations = Operations(self._seen)
        for name, module in self._watched.named_modules():
            module.register_forward_pre_hook(self._before(name), with_kwargs=True)
            module.register_forward_hook(self._done(name), with_kwargs=True)

    def run(self, inputs: tuple[Tensor, ...], *, training: bool) -> Pass:
        """Run the model once, without gradients.

        Raises
        ------
        SplitError
            The model fails, or never calls the cut.
        """
        self._pass, self._known, self._within, self._after = Pass(), {}, set(), set()
        self._given = []
        self._reached = self._left = False
        for k, tensor in enumerate(inputs):
            private = NONE if k in self._public else frozenset({("input", k)})
            self._note(tensor, Place("input", k), private)
        for name, parameter in self._watched.named_parameters():
            self._note(parameter, None, frozenset({("parameter", name)}))
        self._buffers = {
            id(buffer): name
            for name, buffer in self._watched.named_buffers()
            if name.rpartition(".")[0] in self._ancestors
        }
        self._operations = Operations(self._seen)
        watching = _Uses(self)
        state = random_state(inputs[0].device)
        try:
            mode = "train" if training else "eval"
            with (
                torch.no_grad(),
                running_the_model(f"{type(self._model).__name__} fails in {mode} mode"),
                watching,
                self._operations,
            ):
                output = self._arguments.apply(self._watched.train(training), inputs)
        finally:
            state.restore()
        if not self._reached:
            raise SplitError(f"cut {self._at!r} is never called in forward; name another module.")
        for tensor in leaves_of(output, Tensor):
            self.use(tensor)
        self._decide()
        return self._pass

    def changed_buffers(self) -> set[str]:
        """Return the names of the buffers that the passes have changed."""
        before = dict(self._model.named_buffers())
        return {
            name
            for name, buffer in self._watched.named_buffers()
            if name not in before or not torch.equal(buffer, before[name])
        }

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

    def _before(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            if name == self._at and not self._reached:
                self._reached = self._operations.ended = True
                self._pass.arguments = (args, kwargs)
            if self._reached and name not in self._ancestors:
                self._pass.behind.append(name)
            if name in self.held and not self._reached:
                self._operations.inside += 1
                given = leaves_by_path((args, kwargs), Tensor)
                self._given.append({id(t): (path, t._version) for path, t in given.items()})

        return hook

    def _done(self, name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            if name == self._at:
                self._left = True
            if name in self.held and not self._reached:
                self._operations.inside -= 1
                given, calls = self._given.pop(), self._pass.front.setdefault(name, [])
                origins = MODULE | self._origins((args, kwargs))  # with parameters among them
                passed: dict[Path, Path] = {}
                for path, tensor in leaves_by_path(output, Tensor).items():
                    if given.get(id(tensor), ((), -1))[1] == tensor._version:
                        passed[path] = given[id(tensor)][0]
                    elif not self._operations.inside:
                        self._note(tensor, Place("module", name, len(calls), path), origins)
                calls.append(Call(output, passed))

        return hook

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


class _Uses(torch.overrides.TorchFunctionMode):
    """Notes the tensors whose values operations use."""

    def __init__(self, recorder: Recorder) -> None:
        super().__init__()
        self._recorder = recorder

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = getattr(func, "__name__", "")
        values = isinstance(output, Tensor | tuple | list) or name in READS or output is None
        if values and name not in NEW and not isinstance(output, torch.Size):
            for tensor in leaves_of((args, kwargs or {}), Tensor):
                self._recorder.use(tensor)
        return output


def record(
    request: Request, batches: Sequence[tuple[Tensor, ...]]
) -> tuple[Mapping[bool, list[Pass]], frozenset[str]]:
    """Record passes of each batch in train and eval mode, and of the others in eval mode.

    Returns
    -------
    tuple
        The passes by mode, in the order of the batches, and the modules of constants that are
        called on both sides.

    Raises
    ------
    SplitError
        The cut is never called, or a module is used on both sides of it.
    """
    model, at = request.model, request.at
    repeated: frozenset[str] = frozenset()
    while True:
        recorder = Recorder(request, repeated)
        passes = {
            training: [
                recorder.run(inputs, training=training)
                for inputs in (*batches, *(() if training else request.others))
            ]
            for training in (True, False)
        }
        every = [one for found in passes.values() for one in found]
        front = {name for one in every for name in one.front}
        both = front & {name for one in every for name in one.behind} & recorder.held
        if not both:
            return passes, repeated
        changed = recorder.changed_buffers()
        for name in sorted(both):
            module = model.get_submodule(name)
            if any(True for _ in module.parameters()) or any(
                buffer.startswith(f"{name}.") for buffer in changed
            ):
                raise SplitError(
                    f"module {name!r} is used on both sides of the cut {at!r}; cut before its "
                    "first use or behind its last."
                )
        repeated |= frozenset(both)


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
