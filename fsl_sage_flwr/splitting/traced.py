"""Cut a model's traced forward in two graphs."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from .call_memory import CallMemory, RememberingInterpreter
from .copying import without_memory
from .crossing import TensorSpec, masked_value
from .errors import SplitError, UnfaithfulError, never_called, running_the_model, tied_across
from .graph import Graph, Modes, own_modes
from .model_state import ModelState
from .pytree import leaves_of, map_leaves
from .request import Request
from .split_model import SplitModel
from .submodules import ancestors_of
from .traced_modules import FreeSizes, OfSizes, Pack, Sizes, Unpack
from .tracing import Traces

# Reads of a tensor that need its shape and type, but not its values.
SHAPE_METHODS = ("size", "dim", "numel", "ndimension", "nelement", "zeros_like", "new_zeros",
                 "new_ones", "new_empty", "new_full", "is_floating_point")  # fmt: skip
SHAPE_ATTRIBUTES = ("shape", "dtype", "device", "ndim", "is_cuda")
SHAPE_FUNCTIONS = (torch.zeros_like, torch.ones_like, torch.empty_like, torch.numel)


def by_graph(request: Request, traces: Traces) -> tuple[SplitModel, ModelState]:
    """Cut the graph of the ancestors' forward passes; several tensors may cross.

    Parameters
    ----------
    request : Request
        The cut.
    traces : Traces
        The forwards that were traced for other cuts.

    Returns
    -------
    tuple
        The halves, and the model's state after tracing. A proof that starts from it finds what the
        forward remembers from pass to pass, which the graph has as constants.

    Raises
    ------
    UnfaithfulError
        The forward cannot be traced or divided; a replay may do it.
    SplitError
        The cut is refused.
    """
    model, at, example = request.model, request.at, request.example
    if any(request.arguments.axes):
        raise UnfaithfulError("graphs are divided only where samples are on the first axis.")
    forward = traces.forward(request)
    model, nodes = forward.model, list(forward.graph.nodes)
    inputs = [node for node in nodes if node.op == "placeholder"]
    first = next((i for i, n in enumerate(nodes) if n.op == "call_module" and n.target == at), None)
    if first is None:
        raise UnfaithfulError(never_called(at, model.get_submodule(at)))
    if all(node in inputs for node in nodes[:first]):
        raise SplitError(
            f"the raw input {inputs[0].name!r} would cross the cut {at!r}, which is the first "
            "module that the forward calls: choose a later cut."
        )
    front, back = nodes[:first], [n for n in nodes[first:] if n.op != "output"]
    back = [*back, nodes[-1]]
    front, back = _where_used(front, back, _reads_attribute)
    with running_the_model(f"{type(model).__name__} cannot be traced to cut it at {at!r}"):
        if request.memory is None:
            kinds = _values(request, model, front, example)
        else:
            forward.values = forward.values or _values(request, model, nodes[:-1], example)
            kinds = forward.values
    front, back = _where_used(front, back, lambda node: _is_number(node, kinds))
    _refuse_shared(model, front, back, at)
    given = {inputs[k] for k in request.public}
    crossing = _crossing(front, back, given, kinds)
    with running_the_model(f"the graph of {type(model).__name__} cannot be divided at {at!r}"):
        masks = any(_of_inputs_alone(n) and kinds[n].is_floating_point() for n in crossing)
        others = (*request.sized, *(request.others.batches[:1] if masks else ()))
        values = [kinds, *(_values(request, model, front, batch) for batch in others)]
        halves = _halves(model, at, front, back, crossing, values, bool(request.sized))
    return halves, forward.state


def _is_number(node: fx.Node, values: dict[fx.Node, Any]) -> bool:
    """Return whether a node computes sizes or other numbers, which are computed where used."""
    called = node.op in ("call_function", "call_method")
    return called and values[node] is not None and not leaves_of(values[node], Tensor)


def _reads_attribute(node: fx.Node) -> bool:
    return node.op == "get_attr"


def _where_used(
    front: list[fx.Node], back: list[fx.Node], movable: Callable[[fx.Node], bool]
) -> tuple[list[fx.Node], list[fx.Node]]:
    """Move nodes to the sides that use them; a node of both is computed on both."""
    moved: list[fx.Node] = []
    needed = {argument for node in back for argument in node.all_input_nodes}
    for node in reversed(front):
        if node in needed and node.op != "placeholder" and movable(node):
            moved.insert(0, node)
            needed |= set(node.all_input_nodes)
    back = [*moved, *back]
    kept = list[fx.Node]()
    used = set[fx.Node]()
    for node in reversed(front):
        if node in moved and node not in used:
            continue
        kept.insert(0, node)
        used |= set(node.all_input_nodes)
    return kept, back


class _Interpreter(RememberingInterpreter):
    """Keeps what the nodes return, with values only of what the inputs alone determine."""

    def __init__(self, module: fx.GraphModule, memory: CallMemory | None) -> None:
        super().__init__(module, memory)
        self.values: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        keeps = _of_inputs_alone(n)  # as a mask does
        self.values[n] = value if keeps else map_leaves(value, Tensor, without_memory)
        return value


def _values(
    request: Request, model: nn.Module, front: list[fx.Node], example: tuple[Tensor, ...]
) -> dict[fx.Node, Any]:
    """Return the values of the nodes before the cut, without memory where only shapes are needed.

    The model is set back to its state.
    """
    part = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in front:
        copied[node] = part.node_copy(node, lambda n: copied[n])
    part.output(())
    watched = Graph(model, part, "Front").eval()
    interpreter = _Interpreter(watched, request.memory)
    places = dict(zip((n for n in watched.graph.nodes if n.op != "output"), front, strict=True))
    # What is remembered for the halves is computed as they compute it, with a graph.
    graph = torch.set_grad_enabled(request.memory is not None)
    with graph, torch.random.fork_rng(devices=[]):
        interpreter.run(*(tensor.clone() for tensor in example))
    request.state.restore()
    return {places[n]: value for n, value in interpreter.values.items() if n in places}


def _crossing(
    front: list[fx.Node], back: list[fx.Node], public: set[fx.Node], values: dict[fx.Node, Any]
) -> list[fx.Node]:
    """Return the tensors computed before the cut and used behind it, in order.

    One of which only the shape is used stays: its sizes cross.
    """
    used = {argument for node in back for argument in node.all_input_nodes}
    crossing = [node for node in front if node in used and node not in back]
    shapes = {n for n in crossing if _shape_alone(n, [user for user in n.users if user in back])}
    crossing.sort(key=lambda node: (node in shapes, node.op == "placeholder"))
    for node in crossing:
        shape_alone = node in shapes
        if node.op == "placeholder" and node not in public and not shape_alone:
            raise UnfaithfulError(
                f"the raw input {node.name!r} would cross the cut: the server half uses it. Choose "
                f"a cut behind its last use, or give public=({node.name!r},) if the server may see "
                "it."
            )
        value = values.get(node)
        rows = next(iter(values.values())).shape[:1]
        if not isinstance(value, Tensor) or value.shape[:1] != rows:
            shape = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise UnfaithfulError(
                f"{node.name!r} ({shape}) would cross the cut; only tensors with a row per "
                "sample can. Compute it behind the cut, from the tensors that cross."
            )
    return crossing


def _shape_alone(node: fx.Node, users: list[fx.Node]) -> bool:
    """Return whether only a tensor's shape and type are used."""
    return all(
        (user.op == "call_method" and user.target in SHAPE_METHODS and user.args[0] is node)
        or (
            user.op == "call_function"
            and user.target is getattr
            and user.args[1] in SHAPE_ATTRIBUTES
        )
        or (user.op == "call_function" and user.target in SHAPE_FUNCTIONS)
        for user in users
    )


def _owned(model: nn.Module, nodes: list[fx.Node]) -> dict[int, str]:
    """Map the id of each trainable parameter of the nodes' modules to its name.

    Frozen weights are left out: they may be on both sides, as their values never differ. Buffers
    of both sides must be constant, which the proof checks.
    """
    owned: dict[int, str] = {}
    for node in nodes:
        if node.op == "call_module":
            module = model.get_submodule(str(node.target))
            for name, parameter in module.named_parameters():
                if parameter.requires_grad:
                    owned[id(parameter)] = f"{node.target}.{name}"
        elif node.op == "get_attr":
            owner, _, attribute = str(node.target).rpartition(".")
            value = getattr(model.get_submodule(owner), attribute)
            if isinstance(value, nn.Parameter) and value.requires_grad:
                owned[id(value)] = str(node.target)
    return owned


def _refuse_shared(model: nn.Module, front: list[fx.Node], back: list[fx.Node], at: str) -> None:
    called = {n.target for n in front if n.op == "call_module"}
    again = {str(n.target) for n in back if n.op == "call_module" and n.target in called}
    # A module without parameters, such as a block's single ReLU, may be on both sides.
    both = sorted(
        name for name in again if any(True for _ in model.get_submodule(name).parameters())
    )
    if both:
        raise UnfaithfulError(
            f"module {both[0]!r} is used on both sides of the cut {at!r}; cut before its first "
            "use or behind its last."
        )
    left, right = _owned(model, front), _owned(model, back)
    tied = [f"{left[key]} and {right[key]}" for key in left.keys() & right.keys()]
    if tied:
        raise UnfaithfulError(tied_across(at, tied[0]))


def _halves(
    model: nn.Module,
    at: str,
    front: list[fx.Node],
    back: list[fx.Node],
    crossing: list[fx.Node],
    values: Sequence[dict[fx.Node, Any]],
    has_smaller: bool,
) -> SplitModel:
    ahead, behind = fx.Graph(), fx.Graph()
    added: dict[str, nn.Module] = {}
    ours: dict[fx.Node, fx.Node] = {}
    for node in front:
        ours[node] = ahead.node_copy(node, lambda n: ours[n])

    def call(graph: fx.Graph, module: nn.Module, *arguments: fx.Node) -> fx.Node:
        name = f"fsl_sage_{type(module).__name__.lower()}_{len(added)}"
        added[name] = module
        return graph.call_module(name, arguments)

    pairs: list[tuple[int, int]] = []
    specs: dict[fx.Node, TensorSpec] = {}
    for node in crossing:
        if not _shape_alone(node, [user for user in node.users if user in back]):
            value = values[0][node]
            masked = masked_value([v[node] for v in values]) if _of_inputs_alone(node) else None
            fixed = TensorSpec(tuple(value.shape), value.dtype, len(value), 0, masked=masked)
            specs[node] = fixed.freed(values[1][node], pairs) if has_smaller else fixed
    theirs = {node: behind.placeholder(f"smashed_{i}") for i, node in enumerate(crossing)}
    sizes = (behind.placeholder("sizes"),) if pairs else ()
    out: list[fx.Node] = []
    for node in crossing:
        spec = specs.get(node)
        if spec is None:
            out.append(call(ahead, Sizes(), ours[node]))
            theirs[node] = call(behind, OfSizes(values[0][node].dtype), theirs[node])
        elif spec.free or spec.masked is not None:
            out.append(call(ahead, Pack(spec), ours[node]))
            theirs[node] = call(behind, Unpack(spec), theirs[node], *sizes)
        else:
            out.append(ours[node])
            # Cloned because the server half may begin with an in-place operation, which autograd
            # does not allow on a leaf.
            theirs[node] = behind.call_method("clone", (theirs[node],))
    if pairs:
        read = FreeSizes(tuple(specs.values()), tuple(pairs))
        out.append(call(ahead, read, *(ours[node] for node in specs)))
    ahead.output(out[0] if len(out) == 1 else tuple(out))
    for node in back[:-1]:
        theirs[node] = behind.node_copy(node, lambda n: theirs[n])
    behind.output(fx.node.map_arg(back[-1].args[0], lambda n: theirs[n]))
    free = [specs[node].packed_free if node in specs else () for node in crossing]
    modes = own_modes(model, ancestors_of(at))
    return SplitModel(
        client=_half(model, ahead, added, "ClientHalf", modes),
        server=_half(model, behind, added, "ServerHalf", modes),
        cut=at,
        free=(*free, ()) if pairs else (),
    )


def _of_inputs_alone(node: fx.Node) -> bool:
    """Return whether a value comes from inputs only, as a mask does."""
    seen, left = {node}, [node]
    while left:
        here = left.pop()
        if here.op == "call_module":
            return False
        left += [n for n in here.all_input_nodes if n not in seen]
        seen |= set(here.all_input_nodes)
    return any(n.op == "placeholder" for n in seen)


def _half(
    model: nn.Module, graph: fx.Graph, added: dict[str, nn.Module], title: str, modes: Modes
) -> nn.Module:
    graph.lint()
    root: dict[str, Any] = {}
    for node in graph.nodes:
        if node.op in ("call_module", "get_attr"):
            target = str(node.target)
            root[target] = added[target] if target in added else _attribute(model, target)
    half = Graph(root, graph, title)
    half.own_modes = modes
    half.training = model.training
    return half


def _attribute(model: nn.Module, target: str) -> Any:
    owner, _, name = target.rpartition(".")
    return getattr(model.get_submodule(owner), name)
