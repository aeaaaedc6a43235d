"""Cut a model that cannot be traced, by replaying its own forward on both sides.

The client half runs the model's forward until the cut is reached. The server half runs it
from the start on zeros, with the client half's modules away, and gets what crossed the cut
in the cut's place. Neither knows what is in the forward: whether the halves compute what the
model computes is for the caller to prove.
"""

import copy
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from .errors import SplitError
from .structures import leaves_of, map_leaves


class _CutReachedError(BaseException):
    """Leaves the client's forward; no model's own ``except Exception`` may catch it."""

    def __init__(self, arguments: Any) -> None:
        super().__init__()
        self.arguments = arguments


@dataclass(frozen=True)
class _Shape:
    """What is known of a tensor: its first axis is the batch's, if ``batched``."""

    sizes: tuple[int, ...]
    dtype: torch.dtype
    batched: bool

    def zeros(self, batch: int, device: torch.device) -> Tensor:
        sizes = (batch, *self.sizes[1:]) if self.batched else self.sizes
        return torch.zeros(sizes, dtype=self.dtype, device=device)


@dataclass(frozen=True)
class _Crossing:
    """The call of the cut: which of its tensors cross, and how the forward is begun.

    ``arguments`` is ``(args, kwargs)`` with a :class:`_Shape` in place of every tensor.
    """

    arguments: Any
    inputs: tuple[_Shape, ...]


class _Delivery(threading.local):
    """What crossed, on its way to the cut of the server half at work in this thread."""

    smashed: tuple[Tensor, ...] | None = None
    crossing: _Crossing | None = None
    random_state: tuple[Tensor, Tensor | None] | None = None


_delivery = _Delivery()


def by_replay(
    model: nn.Module, at: str, example: tuple[Tensor, ...]
) -> tuple[nn.Module, nn.Module]:
    """Return client half and server half of a model, cut where ``at`` is first called.

    Raises
    ------
    SplitError
        The cut is never called, a module is used on both sides of it, or nothing with a
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
        raise SplitError(f"{len(found)} tensors reach the cut, {len(shapes)} when it was made")
    smashed = tuple(t for t, shape in zip(found, shapes, strict=True) if shape.batched)
    return smashed[0] if len(smashed) == 1 else smashed


def _server_forward(self: Any, *smashed: Tensor) -> Any:
    batch, device = len(smashed[0]), smashed[0].device
    before = dict(vars(_delivery))
    _delivery.smashed, _delivery.crossing = smashed, self.crossing
    _delivery.random_state = _random_state(device)
    try:
        output = self.whole.forward(self, *(i.zeros(batch, device) for i in self.crossing.inputs))
        if _delivery.smashed is not None:
            raise SplitError("the forward ended before it reached the cut")
        return output
    finally:
        vars(_delivery).clear()
        vars(_delivery).update(before)


def _deliver(module: nn.Module, args: Any, kwargs: Any) -> Any:
    """Put what crossed in place of what the replay has computed; a pre-hook of the cut."""
    if _delivery.smashed is None or _delivery.crossing is None:
        return None  # called again: only the first call is the cut
    shapes = iter(leaves_of(_delivery.crossing.arguments, _Shape))
    arrived = iter(_delivery.smashed)
    # The server half may begin with an in-place op, which a leaf does not allow.
    delivered = map_leaves(
        (args, kwargs), Tensor, lambda own: next(arrived).clone() if next(shapes).batched else own
    )
    arrived_on, _delivery.smashed = _delivery.smashed[0].device, None
    if _delivery.random_state is not None:  # what the replay drew, the client has drawn
        on_cpu, on_gpu = _delivery.random_state
        torch.set_rng_state(on_cpu)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu, arrived_on)
    return delivered


def _random_state(device: torch.device) -> tuple[Tensor, Tensor | None]:
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
    return torch.get_rng_state(), on_gpu


class _Stop(nn.Module):
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise _CutReachedError((args, kwargs))


class _Unreached(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        raise SplitError(f"{self.name!r} is called before the cut; it is in the server half")


class _Absent(nn.Module):
    """Stands in the server half for a module of the client half; answers with zeros.

    A forward may look at such a module (``self.embeddings.weight.dtype``): it then sees the
    original's attributes, without its values.
    """

    def __init__(self, outputs: Any, original: nn.Module) -> None:
        super().__init__()
        self.outputs = outputs
        self.looks = (copy.deepcopy(original).to("meta"),)  # in a tuple: no submodule

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("__") or "looks" not in vars(self):
                raise
            return getattr(self.looks[0], name)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        if _delivery.smashed is None:
            raise SplitError("a module of the client half is called behind the cut")
        batch, device = len(_delivery.smashed[0]), _delivery.smashed[0].device
        return map_leaves(self.outputs, _Shape, lambda shape: shape.zeros(batch, device))


# Find out -------------------------------------------------------------------------------


@dataclass
class _Record:
    """What is called on either side of the cut, of the modules that hold tensors.

    ``front`` has the outputs of those before it, ``behind`` the names of all others: what is
    never called goes with the server half. A module that holds nothing, such as one that
    makes position angles, does its work on both sides.
    """

    arguments: Any
    front: dict[str, Any]
    behind: list[str]


def _record(model: nn.Module, at: str, example: tuple[Tensor, ...]) -> _Record:
    """Run the model in both modes and with two sizes of batch, and note what is called."""
    watched, ancestors = copy.deepcopy(model), ancestors_of(at)
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
    state = torch.get_rng_state()
    with torch.no_grad():
        for training in (True, False):
            for inputs in (larger, example):
                reached = False
                watched.train(training)(*inputs)
                if not reached:
                    raise SplitError(f"cut {at!r} is never called in forward")
    torch.set_rng_state(state)
    held = {name for name, module in watched.named_modules() if holds_tensors(module)}
    both = sorted(front.keys() & set(behind) & held)
    if both:
        raise SplitError(f"module {both[0]!r} is used on both sides of the cut {at!r}")
    outputs = {
        name: _compared(front[name][-1], front[name][0])
        for name in _outermost(front)
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
        behind=[name for name in _outermost(elsewhere) if name != at],
    )


def _owned_by_client(
    model: nn.Module, at: str, example: tuple[Tensor, ...], record: _Record
) -> set[str]:
    """Return the names of the tensors that the client half holds.

    Those of modules called in front; of tensors that an ancestor of the cut holds itself,
    the parameters that what crosses depends on, and the buffers.
    """
    names = {name for name, _ in [*model.named_parameters(), *model.named_buffers()]}
    prefixes = tuple(f"{name}." for name in record.front)
    owned = {name for name in names if name.startswith(prefixes)}
    elsewhere = (*prefixes, f"{at}.", *(f"{name}." for name in record.behind))
    loose = {name for name in names if not name.startswith(elsewhere)}
    watched = copy.deepcopy(model)
    watched.get_submodule(at).register_forward_pre_hook(_leave, with_kwargs=True)
    for parameter in watched.parameters():
        parameter.requires_grad_(parameter.is_floating_point())  # a frozen one is used too
    crossing: list[Tensor] = []
    state = torch.get_rng_state()
    try:
        watched(*example)
    except _CutReachedError as reached:
        crossing = [t for t in leaves_of(reached.arguments, Tensor) if t.requires_grad]
    torch.set_rng_state(state)
    parameters = {n: p for n, p in watched.named_parameters() if n in loose and p.requires_grad}
    if parameters and crossing:
        found = torch.autograd.grad(
            [t.sum() for t in crossing], list(parameters.values()), allow_unused=True
        )
        pairs = zip(parameters, found, strict=True)
        owned |= {name for name, gradient in pairs if gradient is not None}
    buffers = {name for name, _ in watched.named_buffers()}
    direct = {name for name in loose & buffers if name.rpartition(".")[0] in ancestors_of(at)}
    return owned | direct


def holds_tensors(module: nn.Module) -> bool:
    """Tell whether a module has parameters or buffers, its own or of modules in it."""
    return any(True for _ in module.parameters()) or any(True for _ in module.buffers())


def _leave(module: nn.Module, args: Any, kwargs: Any) -> None:
    raise _CutReachedError((args, kwargs))


def ancestors_of(at: str) -> set[str]:
    """Return the names of the modules that a module is in; the model's own is empty."""
    return {at.rsplit(".", depth)[0] for depth in range(1, at.count(".") + 1)} | {""}


def _outermost(names: Iterable[str]) -> list[str]:
    """Return names that are not within another one, in order, each once."""
    known = set(names)
    return [
        name
        for name in dict.fromkeys(names)
        if not any(".".join(name.split(".")[:k]) in known for k in range(1, name.count(".") + 1))
    ]


# Build the halves -----------------------------------------------------------------------


def _without(
    module: nn.Module, substitutes: dict[str, Any], keeps: Callable[[str], bool], prefix: str = ""
) -> Any:
    """Copy a module's shell, some of what is in it replaced; the rest is the very same.

    Tensors of the shell that the half does not keep become zeros that no state_dict shows.
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
        if id(parameter) in theirs:
            tied = f"{name} and {theirs[id(parameter)]}"
            raise SplitError(f"weights are tied across the cut {at!r}: {tied}.")


def _set_cut(server: nn.Module, at: str) -> None:
    """Let the cut of the server half, and of no other model that shares it, take deliveries."""
    path, owner = at.split("."), server
    for name in path:
        owner._modules[name] = _without(owner.get_submodule(name), {}, lambda name: True)
        owner = owner.get_submodule(name)
    owner.register_forward_pre_hook(_deliver, with_kwargs=True)


def _shape(tensor: Tensor, larger: Tensor, *, batched: bool | None = None) -> _Shape:
    grows = tensor.shape[:1] != larger.shape[:1] if batched is None else batched
    return _Shape(tuple(tensor.shape), tensor.dtype, grows)


def _compared(value: Any, larger: Any) -> Any:
    """Describe the tensors of a structure, given the same with a larger batch."""
    others = iter(leaves_of(larger, Tensor))
    return map_leaves(value, Tensor, lambda tensor: _shape(tensor, next(others, tensor)))
