"""Cut an ``nn.Module`` in two before a named submodule."""

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, fx, nn

from .copying import copy_sharing_frozen
from .errors import SplitError, UnfaithfulError, tied_across
from .graph import Graph, own_modes
from .proof import prove_halves
from .replay import by_replay
from .split_model import SplitModel, as_tensors
from .submodules import ancestors_of, holds_tensors


class _AncestorTracer(fx.Tracer):
    """Trace through the ancestors of the cut only.

    Every other module stays one opaque call, which preserves names, hooks and the behaviour in
    train and eval mode.
    """

    def __init__(self, cut: str) -> None:
        super().__init__()
        self._ancestors = ancestors_of(cut)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._ancestors


def split(
    model: nn.Module, at: str, example: Tensor | tuple[Tensor, ...], *, prove: bool = True
) -> SplitModel:
    """Cut ``model`` before the submodule named ``at``.

    The halves share the model's modules and parameters; nothing is copied. The cut is proven on
    ``example``: in train and eval mode, outputs and parameter gradients equal the whole model's
    bit for bit.

    Parameters
    ----------
    model : nn.Module
        Any model. If ``torch.fx`` can trace its forward along the ancestors of the cut, the
        graph is divided, and every tensor that the server half needs crosses. Otherwise, or
        if the forward depends on train or eval mode, the forward is replayed on both sides;
        then only the arguments of the cut module cross, and all axes of a batch after the
        first must have the example's size.
    at : str
        Qualified name of the first submodule of the server half, as in
        ``model.named_modules()``, e.g. ``"layer3"`` or ``"features.4"``; or a unique ending of one:
        ``"layers.3"`` for ``"base_model.model.model.layers.3"``.
    example : Tensor or tuple of Tensor
        Inputs of the model, a batch of at least two samples.
    prove : bool
        False skips the proof of a replayed cut if the same cut of the same model has been proven:
        it takes several passes of the model, and their memory.

    Returns
    -------
    SplitModel
        Client half and server half. Their state_dicts are disjoint and together are the
        model's.

    Raises
    ------
    SplitError
        The cut does not exist or is never called, a half would be empty, a module or a
        trainable weight would be on both sides, a raw input would cross the cut, or the
        halves do not compute the model's outputs.

    Examples
    --------
    >>> halves = split(resnet18(), at="layer3", example=torch.zeros(2, 3, 32, 32))
    """
    return divide(model, at, example, prove=True, prove_replay=prove)


def divide(
    model: nn.Module,
    at: str,
    example: Tensor | tuple[Tensor, ...],
    *,
    prove: bool,
    prove_replay: bool = True,
) -> SplitModel:
    """Cut as :func:`split`, with separate switches for the proofs of traced and replayed cuts."""
    at = full_name(model, at)
    inputs = as_tensors(example)
    try:
        halves = _by_graph(model, at, inputs)
        _refuse_empty(halves)
        if prove:
            prove_halves(model, halves, inputs)
    except UnfaithfulError as reason:
        return _by_replay(model, at, inputs, reason, prove=prove_replay)
    return halves


def full_name(model: nn.Module, at: str) -> str:
    """Return the qualified name of the submodule with this name or this unique ending.

    Raises
    ------
    SplitError
        No submodule matches, or several do.
    """
    modules: list[str] = [name for name, _ in model.named_modules()]
    if at in modules and at:
        return at
    ends = [name for name in modules if at and name.endswith(f".{at}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise SplitError(
            f"cut {at!r} is the end of several names: {', '.join(ends[:4])}; give a longer ending."
        )
    named = ", ".join(name for name, _ in model.named_children())
    close = get_close_matches(at, modules, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SplitError(
        f"cut {at!r} is not a submodule of {type(model).__name__}.{hint} "
        f"Its children are: {named}; any name of named_modules() is valid."
    )


def split_pair(
    client: nn.Module, server: nn.Module, example: Tensor | tuple[Tensor, ...]
) -> SplitModel:
    """Make a split model from two modules and prove it on ``example``.

    Parameters
    ----------
    client, server : nn.Module
        The two halves. The server half is called with the tensors that the client half
        returns, each as a separate argument.
    example : Tensor or tuple of Tensor
        Inputs of the client half, a batch of at least two samples.

    Returns
    -------
    SplitModel
        Names in the state_dicts begin with ``client.`` and ``server.``.

    Raises
    ------
    SplitError
        As :func:`split`.
    """
    return split(_Pair(client, server), "server", example)


class _Pair(nn.Module):
    def __init__(self, client: nn.Module, server: nn.Module) -> None:
        super().__init__()
        self.client, self.server = client, server

    def forward(self, *inputs: Tensor) -> Any:
        return self.server(*as_tensors(self.client(*inputs)))


def _by_graph(model: nn.Module, at: str, example: tuple[Tensor, ...]) -> SplitModel:
    """Cut the graph of the ancestors' forward passes; several tensors may cross."""
    graph = _trace(model, at)
    nodes = list(graph.nodes)
    first = next((i for i, n in enumerate(nodes) if n.op == "call_module" and n.target == at), None)
    if first is None:
        raise SplitError(f"cut {at!r} is never called in forward; name a module that is called.")
    front, back = nodes[:first], [n for n in nodes[first:] if n.op != "output"]
    front, back = _attributes_where_used(front, back)
    _refuse_shared(model, front, back, at)
    output = nodes[-1]
    crossing = _crossing(front, [*back, output])
    client = Graph(model, _front_graph(front, crossing), "ClientHalf")
    server = Graph(model, _back_graph(crossing, back, output), "ServerHalf")
    client.own_modes = server.own_modes = own_modes(model, ancestors_of(at))
    halves = SplitModel(client, server, cut=at)
    _refuse_numbers(halves.client, example, crossing)
    return halves


def _by_replay(
    model: nn.Module, at: str, example: tuple[Tensor, ...], reason: SplitError, *, prove: bool
) -> SplitModel:
    """Cut by replaying the forward.

    Replaying ignores the data flow, so the halves are proven on other inputs as well.
    """
    try:
        halves = SplitModel(*by_replay(model, at, example), cut=at)
        _refuse_empty(halves)
        for inputs in (example, *_others_like(model, example)) if prove else ():
            prove_halves(model, halves, inputs)
    except (SplitError, TypeError, RuntimeError, AttributeError, ValueError, IndexError) as error:
        raise SplitError(
            f"{reason} Its forward cannot be replayed either: {error} Cut it elsewhere, or give "
            "the halves as two modules to split_pair."
        ) from error
    return halves


def _others_like(model: nn.Module, example: tuple[Tensor, ...]) -> list[tuple[Tensor, ...]]:
    """Return inputs with other values, if the model accepts them.

    They reveal a forward that depends on its inputs' values.
    """
    generator = torch.Generator().manual_seed(0)

    def like(tensor: Tensor) -> Tensor:
        if tensor.is_floating_point():
            return torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)
        top = 2 if tensor.dtype == torch.bool else max(2, int(tensor.max()) + 1)
        return torch.randint(top, tensor.shape, generator=generator).to(tensor.dtype)

    other = tuple(like(tensor).to(tensor.device) for tensor in example)
    try:
        with torch.no_grad():
            copy_sharing_frozen(model).eval()(*other)
    except (RuntimeError, IndexError, ValueError):  # the model does not accept these values
        return []
    return [other]


def _trace(model: nn.Module, at: str) -> fx.Graph:
    try:
        return _AncestorTracer(at).trace(model)
    except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError, ValueError) as error:
        raise UnfaithfulError(
            f"{type(model).__name__} cannot be traced to cut it at {at!r} ({error})."
        ) from error


def _attributes_where_used(
    front: list[fx.Node], back: list[fx.Node]
) -> tuple[list[fx.Node], list[fx.Node]]:
    """Move each read of the model's own tensors to the sides that use it."""
    used_in_front = {argument for node in front for argument in node.all_input_nodes}
    used_behind = {argument for node in back for argument in node.all_input_nodes}
    attributes = [node for node in front if node.op == "get_attr"]
    behind = [node for node in attributes if node in used_behind]
    moved = [node for node in behind if node not in used_in_front]
    return [node for node in front if node not in moved], [*behind, *back]


def _refuse_numbers(
    client_half: nn.Module, example: tuple[Tensor, ...], crossing: list[fx.Node]
) -> None:
    with torch.no_grad():
        values = copy_sharing_frozen(client_half).eval()(*example)
    for node, value in zip(crossing, (values,) if len(crossing) == 1 else values, strict=True):
        if not isinstance(value, Tensor) or value.shape[:1] != example[0].shape[:1]:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise SplitError(
                f"{node.name!r} ({shape}) would cross the cut; only tensors with a row per "
                "sample can. Compute it behind the cut, from the tensors that cross."
            )


def _crossing(front: list[fx.Node], rest: Iterable[fx.Node]) -> list[fx.Node]:
    """Return the values computed before the cut and used after it, in order."""
    used = {argument for node in rest for argument in node.all_input_nodes}
    crossing = [node for node in front if node in used and node.op != "get_attr"]
    raw = [node.name for node in crossing if node.op == "placeholder"]
    if raw:
        raise SplitError(
            f"the raw input {raw[0]!r} would cross the cut: the server half uses it. "
            "Choose a cut after its last use."
        )
    return crossing


def _owned(model: nn.Module, nodes: list[fx.Node]) -> dict[int, str]:
    """Map the id of each tensor of the nodes' modules to its name.

    Frozen weights are left out: they may be on both sides, as their values never differ.
    """
    owned: dict[int, str] = {}
    for node in nodes:
        if node.op == "call_module":
            module = model.get_submodule(str(node.target))
            trained = [(n, p) for n, p in module.named_parameters() if p.requires_grad]
            for name, tensor in [*trained, *module.named_buffers()]:
                owned[id(tensor)] = f"{node.target}.{name}"
        elif node.op == "get_attr":
            owner, _, attribute = str(node.target).rpartition(".")
            owned[id(getattr(model.get_submodule(owner), attribute))] = str(node.target)
    return owned


def _refuse_shared(model: nn.Module, front: list[fx.Node], back: list[fx.Node], at: str) -> None:
    called = {n.target for n in front if n.op == "call_module"}
    again = {str(n.target) for n in back if n.op == "call_module" and n.target in called}
    # A module without tensors, such as a block's single ReLU, may be on both sides.
    both = sorted(name for name in again if holds_tensors(model.get_submodule(name)))
    if both:
        raise SplitError(f"module {both[0]!r} is used on both sides of the cut {at!r}.")
    left, right = _owned(model, front), _owned(model, back)
    tied = [f"{left[key]} and {right[key]}" for key in left.keys() & right.keys()]
    if tied:
        raise SplitError(tied_across(at, tied[0]))


def _front_graph(front: list[fx.Node], crossing: list[fx.Node]) -> fx.Graph:
    graph = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in front:
        copied[node] = graph.node_copy(node, lambda n: copied[n])
    out = [copied[node] for node in crossing]
    graph.output(out[0] if len(out) == 1 else tuple(out))
    graph.lint()
    return graph


def _back_graph(crossing: list[fx.Node], back: list[fx.Node], output: fx.Node) -> fx.Graph:
    graph = fx.Graph()
    copied = {node: graph.placeholder(f"smashed_{i}") for i, node in enumerate(crossing)}
    # Cloned because the server half may begin with an in-place operation, which autograd does
    # not allow on a leaf.
    for node in crossing:
        copied[node] = graph.call_method("clone", (copied[node],))
    for node in back:
        copied[node] = graph.node_copy(node, lambda n: copied[n])
    graph.output(fx.node.map_arg(output.args[0], lambda n: copied[n]))
    graph.lint()
    return graph


def _refuse_empty(halves: SplitModel) -> None:
    for side, half in (("client", halves.client), ("server", halves.server)):
        if not any(parameter.requires_grad for parameter in half.parameters()):
            raise SplitError(
                f"cut {halves.cut!r} leaves the {side} half without a parameter to train."
            )
