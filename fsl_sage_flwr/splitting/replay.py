"""Cut a model that cannot be traced, by replaying its own forward on both sides.

The client half runs the model's forward until it reaches the cut. The server half runs the same
forward from the start on zeros, without the client half's modules; at the cut it continues with
the smashed data. The forward is not analysed, so the caller must prove that the halves compute the
model's outputs.
"""

import copy
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .copying import copy_sharing_frozen
from .errors import SplitError, tied_across
from .pytree import leaves_of, map_leaves
from .random_state import RandomState, random_state
from .submodules import ancestors_of, holds_tensors, outermost


class _CutReachedError(BaseException):
    """Ends the client's forward; an ``except Exception`` in the model must not catch it."""

    def __init__(self, arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments


@dataclass(frozen=True)
class _Shape:
    """Shape of a tensor; ``batched``: its first axis is the batch axis."""

    sizes: tuple[int, ...]
    dtype: torch.dtype
    batched: bool

    def zeros(self, batch: int, device: torch.device) -> Tensor:
        sizes = (batch, *self.sizes[1:]) if self.batched else self.sizes
        return torch.zeros(sizes, dtype=self.dtype, device=device)


@dataclass(frozen=True)
class _Crossing:
    """The arguments of the cut module, and the shapes of the model's inputs.

    ``arguments`` is ``(args, kwargs)`` with a :class:`_Shape` in place of every tensor. The
    batched tensors cross the cut.
    """

    arguments: Any
    inputs: tuple[_Shape, ...]


class _Delivery(threading.local):
    """Smashed data on the way to the cut of the server half that runs in this thread."""

    smashed: tuple[Tensor, ...] | None = None
    crossing: _Crossing | None = None
    random_state: RandomState | None = None


_delivery = _Delivery()


def by_replay(
    model: nn.Module, at: str, example: tuple[Tensor, ...]
) -> tuple[nn.Module, nn.Module]:
    """Return client half and server half of a model, cut at the first call of ``at``.

    Raises
    ------
    SplitError
        The cut is never called, a module is used on both sides of it, or no tensor with a
        row per sample reaches it.
    """
    record = _record(model, at, example)
    client_owned = _owned_by_client(model, at, example, record)
    crossing = _Crossing(record.arguments, tuple(_shape(x, x, batched=True) for x in example))
    if not any(shape.batched for shape in leaves_of(crossing.arguments, _Shape)):
        raise SplitError(f"no tensor with a row per sample reaches the cut {at!r}")
    absent = {
        name: _Absent(outputs, model.get_submodule(name)) for name, outputs in record.front.items()
    }
    unreached: dict[str, nn.Module] = {name: _Unreached(name) for name in record.behind}
    client = _without(model, {**unreached, at: _Stop()}, lambda name: name in client_owned)
    server = _without(model, absent, lambda name: name not in client_owned)
    _refuse_tied(client, server, at)
    client.crossing = server.crossing = crossing
    _set_cut(server, at)
    whole = type(model)
    client.__class__ = type("ClientHalf", (whole,), {"forward": _client_forward, "whole": whole})
    server.__class__ = type("ServerHalf", (whole,), {"forward": _server_forward, "whole": whole})
    return client, server


def _client_forward(self: Any, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
    try:
        self.whole.forward(self, *inputs)
    except _CutReachedError as reached:
        found = leaves_of(reached.arguments, Tensor)
    else:
        raise SplitError("the forward ended before it reached the cut")
    shapes = leaves_of(self.crossing.arguments, _Shape)
    if len(found) != len(shapes):
        raise SplitError(
            f"{len(found)} tensors reach the cut, but there were {len(shapes)} when it was made"
        )
    smashed = tuple(t for t, shape in zip(found, shapes, strict=True) if shape.batched)
    return smashed[0] if len(smashed) == 1 else smashed


def _server_forward(self: Any, *smashed: Tensor) -> Any:
    batch, device = len(smashed[0]), smashed[0].device
    before = dict(vars(_delivery))
    _delivery.smashed, _delivery.crossing = smashed, self.crossing
    _delivery.random_state = random_state(device)
    try:
        output = self.whole.forward(self, *(i.zeros(batch, device) for i in self.crossing.inputs))
        if _delivery.smashed is not None:
            raise SplitError("the forward ended before it reached the cut")
        return output
    finally:
        vars(_delivery).clear()
        vars(_delivery).update(before)


def _deliver(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Replace the replay's tensors by the smashed data; a forward pre-hook of the cut."""
    if _delivery.smashed is None or _delivery.crossing is None:
        return None  # only the first call is the cut
    shapes = iter(leaves_of(_delivery.crossing.arguments, _Shape))
    arrived = iter(_delivery.smashed)
    # Cloned because the server half may begin with an in-place operation, which autograd does
    # not allow on a leaf.
    delivered = map_leaves(
        (args, kwargs), Tensor, lambda own: next(arrived).clone() if next(shapes).batched else own
    )
    _delivery.smashed = None
    if _delivery.random_state is not None:  # the client half has used the replay's numbers
        _delivery.random_state.restore()
    return delivered


class _Stop(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise _CutReachedError((args, kwargs))


class _Unreached(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise SplitError(f"{self.name!r} is called before the cut, but is in the server half")


class _Absent(nn.Module):
    """Replaces a module of the client half in the server half; returns zeros.

    Has the original module's attributes without their values, because a forward may read them
    (``self.embeddings.weight.dtype``).
    """

    def __init__(self, outputs: Any, original: nn.Module) -> None:
        super().__init__()
        self.outputs = outputs
        # A tuple keeps it from becoming a submodule.
        self.without_values = (copy.deepcopy(original).to("meta"),)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "without_values" not in vars(self):
                raise
            return getattr(self.without_values[0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if _delivery.smashed is None:
            raise SplitError("a module of the client half is called behind the cut")
        batch, device = len(_delivery.smashed[0]), _delivery.smashed[0].device
        return map_leaves(self.outputs, _Shape, lambda shape: shape.zeros(batch, device))


# Assign the modules and tensors to the sides ---------------------------------------------


@dataclass
class _Record:
    """The modules with tensors on each side of the cut.

    ``front`` maps the modules called before the cut to their outputs; ``behind`` names all others,
    including modules that are never called. A module without tensors, such as one that computes
    position angles, runs on both sides.
    """

    arguments: Any
    front: dict[str, Any]
    behind: list[str]


def _record(model: nn.Module, at: str, example: tuple[Tensor, ...]) -> _Record:
    """Run the model in both modes with two batch sizes, and record the calls of its modules."""
    watched, ancestors = copy_sharing_frozen(model), ancestors_of(at)
    larger = tuple(torch.cat([x, x[:1]]) for x in example)
    front: dict[str, list[Any]] = {}
    behind: list[str] = []
    calls: list[Any] = []
    reached = False

    def before(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, kwargs: Any) -> None:
            nonlocal reached
            if name == at and not reached:
                reached = True
                calls.append((args, kwargs))
            if reached and name not in ancestors:
                behind.append(name)

        return hook

    def after(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            if not reached and name not in ancestors:
                front.setdefault(name, []).append(output)

        return hook

    for name, module in watched.named_modules():
        module.register_forward_pre_hook(before(name), with_kwargs=True)
        module.register_forward_hook(after(name))
    state = random_state(example[0].device)
    with torch.no_grad():
        for training in (True, False):
            for inputs in (larger, example):
                reached = False
                watched.train(training)(*inputs)
                if not reached:
                    raise SplitError(f"cut {at!r} is never called in forward")
    state.restore()
    held = {name for name, module in watched.named_modules() if holds_tensors(module)}
    both = sorted(front.keys() & set(behind) & held)
    if both:
        raise SplitError(f"module {both[0]!r} is used on both sides of the cut {at!r}")
    outputs = {
        name: _compared(front[name][-1], front[name][0])
        for name in outermost(front)
        if name in held
    }
    elsewhere = [
        name
        for name in held - ancestors
        if not any(f"{name}.".startswith(f"{f}.") or f.startswith(f"{name}.") for f in outputs)
    ]
    return _Record(
        arguments=_compared(calls[-1], calls[-2]),
        front=outputs,
        behind=[name for name in outermost(elsewhere) if name != at],
    )


def _owned_by_client(
    model: nn.Module, at: str, example: tuple[Tensor, ...], record: _Record
) -> set[str]:
    """Return the names of the client half's tensors.

    These are all tensors of the modules called before the cut, and of the cut's ancestors the
    buffers and those parameters on which the smashed data depend.
    """
    names = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    prefixes = tuple(f"{name}." for name in record.front)
    owned = {name for name in names if name.startswith(prefixes)}
    elsewhere = (*prefixes, f"{at}.", *(f"{name}." for name in record.behind))
    loose = {name for name in names if not name.startswith(elsewhere)}
    watched = copy_sharing_frozen(model)
    watched.get_submodule(at).register_forward_pre_hook(_leave, with_kwargs=True)
    parameters = {n: p for n, p in watched.named_parameters() if n in loose}
    if parameters:
        pairs = zip(parameters, _gradients_at_cut(watched, parameters, example), strict=True)
        owned |= {name for name, gradient in pairs if gradient is not None}
    buffers = {name for name, _ in watched.named_buffers()}
    direct = {name for name in loose & buffers if name.rpartition(".")[0] in ancestors_of(at)}
    return owned | direct


def _gradients_at_cut(
    leaving: nn.Module, parameters: dict[str, nn.Parameter], example: tuple[Tensor, ...]
) -> Sequence[Tensor | None]:
    """Return the gradient of the smashed data for each parameter, None if they do not depend on it.

    Frozen parameters, which copies share, require a gradient for the time of this call.
    """
    floating = [p for p in parameters.values() if p.is_floating_point()]
    frozen = [p for p in floating if not p.requires_grad]
    found: Iterator[Tensor | None] = iter(())
    state = random_state(example[0].device)
    try:
        for parameter in frozen:
            parameter.requires_grad_()
        leaving(*example)
    except _CutReachedError as reached:
        crossing = [t.sum() for t in leaves_of(reached.arguments, Tensor) if t.requires_grad]
        if crossing and floating:
            found = iter(torch.autograd.grad(crossing, floating, allow_unused=True))
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
        state.restore()
    return [next(found, None) if p.is_floating_point() else None for p in parameters.values()]


def _leave(module: nn.Module, args: Any, kwargs: Any) -> None:
    raise _CutReachedError((args, kwargs))


# Build the halves -----------------------------------------------------------------------


def _without(
    module: nn.Module, substitutes: dict[str, Any], keeps: Callable[[str], bool], prefix: str = ""
) -> Any:
    """Return a shallow copy of a module with some submodules replaced, the rest shared.

    Parameters outside the half become buffers of zeros; these and the buffers outside the half are
    not in the state_dict.
    """
    shell = copy.copy(module)
    inside = vars(shell)
    for table in (
        "_modules", "_parameters", "_buffers", "_non_persistent_buffers_set",
        "_forward_pre_hooks", "_forward_pre_hooks_with_kwargs",
    ):  # fmt: skip
        inside[table] = copy.copy(inside[table])
    for name, tensor in module.named_parameters(recurse=False):
        if not keeps(prefix + name):
            del shell._parameters[name]
            shell.register_buffer(name, torch.zeros_like(tensor.data), persistent=False)
    for name, _ in module.named_buffers(recurse=False):
        if not keeps(prefix + name):
            shell._non_persistent_buffers_set.add(name)
    for name, child in module.named_children():
        full = prefix + name
        if full in substitutes:
            shell._modules[name] = substitutes[full]
        elif any(other.startswith(f"{full}.") for other in substitutes):
            shell._modules[name] = _without(child, substitutes, keeps, f"{full}.")
    return shell


def _refuse_tied(client: nn.Module, server: nn.Module, at: str) -> None:
    theirs = {id(parameter): name for name, parameter in server.named_parameters()}
    for name, parameter in client.named_parameters():
        # A frozen weight may be on both sides: its values never differ.
        if id(parameter) in theirs and parameter.requires_grad:
            tied = f"{name} and {theirs[id(parameter)]}"
            raise SplitError(tied_across(at, tied))


def _set_cut(server: nn.Module, at: str) -> None:
    """Add the delivery hook to the server half's cut.

    The modules on the path to it are copied first, because other models share them and must not
    get the hook.
    """
    path, owner = at.split("."), server
    for name in path:
        owner._modules[name] = _without(owner.get_submodule(name), {}, lambda name: True)
        owner = owner.get_submodule(name)
    receive_smashed(owner)


def receive_smashed(module: nn.Module) -> None:
    """Make a module in the cut's place in a server half start from the smashed data."""
    module.register_forward_pre_hook(_deliver, with_kwargs=True)


def _shape(tensor: Tensor, larger: Tensor, *, batched: bool | None = None) -> _Shape:
    grows = tensor.shape[:1] != larger.shape[:1] if batched is None else batched
    return _Shape(tuple(tensor.shape), tensor.dtype, grows)


def _compared(value: Any, larger: Any) -> Any:
    """Replace tensors by shapes; ``larger`` is the same structure from a larger batch."""
    others = iter(leaves_of(larger, Tensor))
    return map_leaves(value, Tensor, lambda tensor: _shape(tensor, next(others, tensor)))
