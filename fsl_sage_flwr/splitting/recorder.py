"""Find in a pass of a model which tensors the server half of a cut needs.

Each tensor before the cut has origins: the inputs, the parameters and the client half's modules
that its values come from. Behind the cut, the server half computes a tensor without origins again;
the others must cross.
"""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from torch import Tensor, nn

from .copying import without_memory
from .operations import Operations, Place, Result
from .pytree import Path, leaves_by_path, leaves_of, map_leaves
from .request import Request
from .submodules import ancestors_of, holds_tensors
from .value_reads import only_tensors

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
    reads_values : bool
        Whether Python code before the cut has read values that do not come from public inputs
        alone.
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
    reads_values: bool = False

    def tensors(self) -> dict[Any, tuple[Tensor, Origins]]:
        """Return what crosses, and what the modules before the cut return, with the origins."""
        of_modules = {
            (name, k, path): (tensor, NONE)
            for name, calls in self.front.items()
            for k, call in enumerate(calls)
            for path, tensor in leaves_by_path(call.output, Tensor).items()
        }
        return {p: (known.tensor, known.origins) for p, known in self.crossing.items()} | of_modules


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
        self._reached = self._left = self._read_inside = False
        self._buffers: dict[int, str] = {}
        self._given: list[dict[int, tuple[Path, int]]] = []
        self.operations = Operations(self._seen)

    def begin(self, model: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Begin a pass."""
        self._pass, self._known, self._within, self._after = Pass(), {}, set(), set()
        self._given = []
        self._reached = self._left = self._read_inside = False
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
        # The shapes are needed, not the memory, and values of masks alone.
        found.arguments = None
        for calls in found.front.values():
            calls[:] = [
                replace(c, output=map_leaves(c.output, Tensor, without_memory)) for c in calls
            ]
        for place, known in found.crossing.items():
            if not known.of_inputs_alone:
                found.crossing[place] = replace(known, tensor=without_memory(known.tensor))
        return found if self._reached else None

    def use(self, tensor: Tensor) -> None:
        """Note that a tensor is used; the uses behind the cut count."""
        if id(tensor) in self._buffers:
            side = "behind" if self._reached else "front"
            self._pass.read[side].add(self._buffers[id(tensor)])
        if self._reached and id(tensor) in self._known:
            (self._after if self._left else self._within).add(id(tensor))

    def read(self, tensors: Iterable[Tensor] | None) -> None:
        """Note that Python code reads values of tensors, None if it is not known of which.

        The server half does not run the code inside the client half's modules: there a read counts
        if the module returns something else than tensors.
        """
        if self.operations.inside:
            self._read_inside = True
        elif not self._reached and not self._pass.reads_values:
            private = tensors is None or any(
                id(t) not in self._known or self._known[id(t)].origins for t in tensors
            )
            self._pass.reads_values = private

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
            if result.in_place or result.arguments[1].get("out") is not None:
                self._note(tensor, place, origins)
                self._add_origins(tensor._base, origins)
            elif id(tensor) not in self._known:
                self._note(tensor, place, origins)
        return result.value

    def _add_origins(self, tensor: Tensor | None, origins: Origins) -> None:
        """Note that a view of a tensor, if it is one, has been written into."""
        known = None if tensor is None else self._known.get(id(tensor))
        if known is not None:
            self._known[id(tensor)] = replace(known, origins=known.origins | origins)

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
        if self._read_inside and not only_tensors(output):
            self._pass.reads_values = True
        self._read_inside = False
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


def _is_inside(module: str) -> bool:
    """Return whether a function of a Python module is running."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_globals.get("__name__") == module:
            return True
        frame = frame.f_back
    return False
