"""Cut a model that cannot be traced, by replaying its own forward on both sides.

The client half runs the model's forward until it reaches the cut. The server half runs the same
forward from the start on blank inputs, without the client half's modules, and puts the smashed data
where the forward would have made them. The caller must prove that the halves compute the model's
outputs.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace
from functools import partialmethod
from typing import Any

from torch import Tensor, nn

from .blanks import bounds_of
from .copying import copy_without_values
from .crossing import TensorSpec, masked_value
from .errors import RawInputError, SplitError
from .half_pass import (
    Crossing,
    Enter,
    Leave,
    NeverCalled,
    client_forward,
    receive_smashed,
    server_forward,
)
from .hooks import has_hooks_of, rebind_hooks
from .operations import Place
from .ownership import own_module, refuse_tied
from .pytree import Path, leaves_by_path
from .recorder import UNKNOWN, Pass
from .recording import Compared, Recorded, modules_behind, modules_never_called
from .request import Request
from .sides import all_names, also_outside, owned_by_client, put_module, without
from .split_model import SplitModel
from .submodules import ancestors_of, holds_tensors, outermost
from .substitutes import Absent, Emptied, Output, Stop, Unreached


class ReplayedHalf:
    """Marks the class of a half that replays its model's forward."""


def by_replay(request: Request, recorded: Recorded) -> SplitModel:
    """Return the halves of a model, cut at the first call of a module.

    Parameters
    ----------
    request : Request
        The cut.
    recorded : Recorded
        Passes of the model.

    Raises
    ------
    SplitError
        A raw input would cross, or a parameter is used on both sides.
    """
    model, at, example, arguments = request.model, request.at, request.example, request.arguments
    count, larger = arguments.count(example), arguments.larger(example)
    raw = sorted({k for one in recorded.every for k in one.raw})
    if raw:
        name = arguments.names[raw[0]]
        raise RawInputError(
            f"the raw input {name!r} would cross the cut {at!r}: the server half uses it. Choose "
            f"a cut behind its last use, or give public=({name!r},) if the server may see it.",
            name,
        )
    pairs: list[tuple[int, int]] = []
    inputs = tuple(
        TensorSpec.between(x, more, count, count + 1).freed(less, pairs)
        for x, more, less in zip(example, larger, request.smaller or example, strict=True)
    )
    given = [(Place("input", k), None, inputs[k]) for k in sorted(request.public)]
    tensors = _crossing(recorded, at, count, pairs if request.sized else None)
    bounds = tuple(map(bounds_of, example))
    crossing = Crossing(arguments, inputs, bounds, (*tensors, *given), tuple(pairs))
    if not any(spec.axis is not None for place, _, spec in crossing.tensors):
        raise SplitError(
            f"no tensor with a row per sample reaches the cut {at!r}; the samples of the inputs "
            f"are on axis {arguments.axes[0]}: name another one (batch_axis=1 for (T, B, D)), or "
            "put a list into one padded tensor. Cut before values that vmap or NumPy computes."
        )
    memory = request.memory
    emptied = copy_without_values if memory is None else memory.emptied
    return _halves(model, at, recorded, crossing, emptied)


def _crossing(
    recorded: Recorded, at: str, count: int, pairs: list[tuple[int, int]] | None
) -> list[tuple[Place, bool | None, TensorSpec]]:
    """Return the tensors that cross in each mode, with their shapes."""
    specs: dict[bool, dict[Place, TensorSpec]] = {}
    for training, one in recorded.modes.items():
        specs[training] = {}
        smaller = one.example if one.smaller is None else one.smaller
        for place, known in one.example.crossing.items():
            if place not in one.other.crossing or place not in smaller.crossing:
                raise SplitError(
                    f"what reaches the cut {at!r} depends on the inputs' values; name masks and "
                    "lengths in public=(…), or give an example with padding"
                )
            other = one.other.crossing[place].tensor
            spec = TensorSpec.between(known.tensor, other, count, one.samples)
            if spec.axis is None and known.origins == UNKNOWN:
                continue  # the server half makes it itself
            if known.of_inputs_alone:
                # In both modes: other values, with padding where the example has none, are of one.
                same = [p.crossing[place].tensor for p in recorded.every if place in p.crossing]
                spec = replace(spec, masked=masked_value(same))
            if pairs is not None:
                spec = spec.freed(smaller.crossing[place].tensor, pairs)
            specs[training][place] = spec
    if specs[True] == specs[False]:
        return [(place, None, spec) for place, spec in specs[True].items()]
    return [
        (place, None if specs[not training].get(place) == spec else training, spec)
        for training in (False, True)
        for place, spec in specs[training].items()
        if training is False or specs[False].get(place) != spec
    ]


def _halves(
    model: nn.Module,
    at: str,
    recorded: Recorded,
    crossing: Crossing,
    emptied: Emptied,
) -> SplitModel:
    every, repeated, ancestors = recorded.every, recorded.repeated, ancestors_of(at)
    held = {
        name
        for name, module in model.named_modules()
        if holds_tensors(module) and name not in ancestors | repeated
    }
    front = [name for name in outermost(n for one in every for n in one.front) if name in held]
    names = all_names(model)
    owned = owned_by_client(model, at, every, front)
    absent: dict[str, Any] = {}
    for name in also_outside(names, front):
        outputs = {
            training: _compared(one, name, crossing) for training, one in recorded.modes.items()
        }
        stub = Absent(model.get_submodule(name), name, emptied, outputs)
        absent |= dict.fromkeys(names[name], stub)
    unreached = {
        alias: Unreached(model.get_submodule(name), name, emptied)
        for name in also_outside(names, [at, *modules_behind(every, at, held)])
        for alias in names[name]
    }
    stop = dict.fromkeys(names[at], Stop(model.get_submodule(at), at, emptied))
    never_called = modules_never_called(every, model, at, held)
    loose = {
        inner
        for name in never_called
        for inner, _ in model.named_modules()
        if inner == name or inner.startswith(f"{name}.")
    }
    client = without(model, {**unreached, **stop}, owned, loose, ours=True)
    server = without(model, absent, owned, loose, ours=False)
    for name in never_called:
        inside = model.get_submodule(name)
        trained = any(parameter.requires_grad for parameter in inside.parameters())
        if trained or any(key in inside.state_dict() for key, _ in inside.named_buffers()):
            own_module(client, name).register_forward_pre_hook(NeverCalled(name))
    free = tuple(spec.packed_free for _, _, spec in crossing.tensors)
    halves = SplitModel(client, server, at, free=(*free, ()) if crossing.pairs else ())
    refuse_tied(halves)
    for name in sorted({name for one in every for name in one.used}):
        parameter = model.get_parameter(name)
        if not parameter.requires_grad and _only_in_front(model, name, front, server):
            raise SplitError(
                f"parameter {name!r} of a module before the cut {at!r} is read behind it: call the "
                "module there, or cut elsewhere."
            )
        if parameter.requires_grad and id(parameter) in owned:
            raise SplitError(
                f"parameter {name!r} is used on both sides of the cut {at!r}: freeze it, untie it, "
                "or cut elsewhere."
            )
    if crossing.modules() or crossing.lines():
        for name in front:
            module = own_module(client, name)
            module.register_forward_pre_hook(Enter(name), with_kwargs=True)
            module.register_forward_hook(Leave(name))
            for alias in names[name]:
                put_module(client, alias, module)
    for half in (client, server):
        _rebind(half, model, ancestors)
    receive_smashed(own_module(server, at))
    whole = type(model)
    for half, forward, title in (
        (client, client_forward, "ClientHalf"),
        (server, server_forward, "ServerHalf"),
    ):
        own = partialmethod(forward, crossing, whole)
        half.__class__ = type(title, (whole, ReplayedHalf), {"forward": own})
    return halves


def _rebind(half: nn.Module, model: nn.Module, ancestors: Collection[str]) -> None:
    """Give hooks that are methods of the model, or of the cut's ancestors, to the half's."""
    owners: dict[int, nn.Module] = {
        id(model.get_submodule(name)): half.get_submodule(name) for name in ancestors
    }
    known = list(half.named_modules())
    for name in [name for name, module in known if has_hooks_of(module, owners)]:
        rebind_hooks(own_module(half, name) if name else half, owners)


def _only_in_front(model: nn.Module, name: str, front: Sequence[str], server: nn.Module) -> bool:
    inside = any(name.startswith(f"{module}.") for module in front)
    parameter = model.get_parameter(name)
    return inside and all(parameter is not other for other in server.parameters())


def _compared(one: Compared, name: str, crossing: Crossing) -> list[Output]:
    """Return the outputs of a module's calls with tensors without memory, and their shapes."""
    count, pairs = crossing.inputs[0].batch, crossing.pairs

    def outputs(of: Pass | None, k: int) -> dict[Path, Tensor]:
        calls = [] if of is None else of.front.get(name, [])
        return leaves_by_path(calls[k].output, Tensor) if k < len(calls) else {}

    compared = []
    for k, call in enumerate(one.calls.front.get(name, [])):
        example, others = outputs(one.example, k), outputs(one.other, k)
        less = outputs(one.smaller, k) if pairs else {}
        specs: dict[Path, TensorSpec | None] = {}
        for path, tensor in example.items():
            specs[path] = _known_shape(
                (tensor, count),
                (others.get(path, tensor), one.samples),
                less.get(path, tensor),
                pairs,
            )
        compared.append((call.output, specs, call.passed))
    return compared


def _known_shape(
    example: tuple[Tensor, int],
    other: tuple[Tensor, int],
    smaller: Tensor,
    pairs: Sequence[tuple[int, int]],
) -> TensorSpec | None:
    """Return the shape, if it follows from the number of samples and the free sizes."""
    (tensor, count), (others, samples) = example, other
    known = list(pairs)
    try:
        spec = TensorSpec.between(tensor, others, count, samples)
        spec = spec.freed(smaller, known) if pairs else spec
    except SplitError:
        return None
    return spec if len(known) == len(pairs) else None
