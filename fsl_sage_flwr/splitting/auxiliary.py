"""Build a client's auxiliary head from the server half."""

import copy
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, fx, nn

from .double_backward import twice_differentiable
from .graph import Graph
from .smashed_dtypes import SIXTEEN_BITS, as_sent, float_dtypes

MAX_SHARE = 0.6
RESET_METHODS = ("reset_parameters", "_reset_parameters")  # the second is attention's


class AuxiliaryHead(nn.Module):
    """Auxiliary head ``x_a``: computes class scores from smashed data.

    Parameters
    ----------
    body : nn.Module or None
        First blocks of the server half; None for a head of only pooling and a linear layer.
    width : int
        Number of features after pooling, ``D``.
    num_classes : int
        Number of scores per sample.
    """

    def __init__(self, body: nn.Module | None, width: int, num_classes: int) -> None:
        super().__init__()
        self.body = body
        self.linear = nn.Linear(width, num_classes)

    def forward(self, *smashed: Tensor) -> Tensor:
        """Return scores of shape ``(B, num_classes)``."""
        features = smashed if self.body is None else (self.body(*smashed),)
        pooled = [_pool(tensor) for tensor in features if tensor.is_floating_point()]
        return cast(Tensor, self.linear(torch.cat(pooled, dim=1)))

    def fresh_copy(self, server_half: nn.Module) -> "AuxiliaryHead":
        """Return a new head as :func:`build_auxiliary` would build it, without tracing again.

        Modules without a reset method take the current values of ``server_half``, the server half
        from which this head was built.
        """
        head = copy.deepcopy(self)
        head.copy_from(server_half)
        if head.body is not None:
            _initialise(head.body)
        head.linear.reset_parameters()
        return head

    def copy_from(self, server_half: nn.Module) -> None:
        """Copy the server half's current values into the body.

        The linear layer does not change.
        """
        if self.body is not None:
            theirs, own = server_half.state_dict(), self.body.state_dict()
            # A constant, such as torch.arange(8) in a forward, is in no half's state_dict.
            self.body.load_state_dict({name: theirs.get(name, own[name]) for name in own})


def build_auxiliary(
    server_half: nn.Module,
    smashed: tuple[Tensor, ...],
    num_classes: int,
    kind: str = "auto",
    max_share: float = MAX_SHARE,
) -> AuxiliaryHead:
    """Build a head from the first blocks of the server half.

    ``"auto"`` takes the server half's blocks up to the last point with a single live tensor and at
    most ``max_share`` of its parameters, initialises them, and adds global pooling and a linear
    layer. A ``Sequential`` is divided only if it exceeds the share as a whole. ``"linear"``, or a
    server half without such a point, gives pooling and a linear layer alone.

    Parameters
    ----------
    server_half : nn.Module
        Server half; it is not changed, and the head shares no tensors with it.
    smashed : tuple of Tensor
        Example smashed data, ``(B, C, H, W)``, ``(B, T, D)`` or ``(B, D)``. The head is initialised
        on their device; on the CPU its values do not depend on the device used for training.
    num_classes : int
        Number of classes.
    kind : {"auto", "linear"}
        As above.
    max_share : float
        Largest share of the server half's parameters that the head takes, 0 to 1.

    Returns
    -------
    AuxiliaryHead
        Initialised at random from torch's global generator.
    """
    body = _first_blocks(server_half, max_share) if kind == "auto" else None
    smashed = tuple(as_sent(tensor) for tensor in smashed)
    if body is not None:
        body = twice_differentiable(copy.deepcopy(body)).to(smashed[0].device)
        if any(dtype in SIXTEEN_BITS for dtype in float_dtypes(body)):
            body = body.float()  # estimates, and their derivatives, need the precision
        for parameter in body.parameters():  # those of a frozen server half too
            parameter.requires_grad_(parameter.is_floating_point())
        _initialise(body)
    with torch.no_grad():
        # In eval mode the pass leaves the body's buffers as they are.
        features = smashed if body is None else (body.eval()(*smashed),)
    if not all(isinstance(tensor, Tensor) for tensor in features):
        body, features = None, smashed  # blocks that return several values, as an LSTM does
    width = _width(features)
    head = AuxiliaryHead(body if body is None else body.train(), width, num_classes)
    if any(tensor.dtype == torch.float64 for tensor in features):
        head.linear.double()
    return head


def head_of_sizes(
    server_half: nn.Module,
    smashed: tuple[Tensor, ...],
    num_classes: int,
    run: Callable[[nn.Module, tuple[Tensor, ...]], Any],
) -> AuxiliaryHead:
    """Return a head with the sizes of the one that :func:`build_auxiliary` builds.

    It shares the server half's blocks, which ``run`` passes smashed data through in eval mode, and
    its linear layer has no values.
    """
    body = _first_blocks(server_half, MAX_SHARE)
    if body is not None and any(dtype in SIXTEEN_BITS for dtype in float_dtypes(body)):
        return build_auxiliary(server_half, tuple(t.detach() for t in smashed), num_classes)
    features = smashed if body is None else (run(body.eval(), smashed),)
    if not all(isinstance(tensor, Tensor) for tensor in features):
        body, features = None, smashed
    with torch.device("meta"):
        head = AuxiliaryHead(body, _width(tuple(map(as_sent, features))), num_classes)
    if any(tensor.dtype == torch.float64 for tensor in features):
        head.linear.double()
    return head


def _width(features: tuple[Tensor, ...]) -> int:
    return sum(_pool(tensor).shape[1] for tensor in features if tensor.is_floating_point())


def _initialise(module: nn.Module) -> None:
    for part in module.modules():
        for name in RESET_METHODS:
            reset = getattr(part, name, None)
            if callable(reset):
                reset()


def _pool(features: Tensor) -> Tensor:
    """Return ``(B, D)``: the mean over the positions of a map, a video or a sequence."""
    if features.dim() in (4, 5):
        return features.mean(dim=tuple(range(2, features.dim())))
    if features.dim() == 3:
        return features.mean(dim=1)
    return features.reshape(len(features), -1)  # also of one value per sample


class _ChildrenTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True


class _SequentialTracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return not isinstance(m, nn.Sequential)


def _graph_of(server_half: nn.Module, tracer: fx.Tracer) -> fx.Graph:
    """Return the graph of a half; a traced half has that of its children."""
    if isinstance(server_half, fx.GraphModule) and isinstance(tracer, _ChildrenTracer):
        return server_half.graph
    return tracer.trace(server_half)


def _first_blocks(server_half: nn.Module, max_share: float) -> nn.Module | None:
    for tracer in (_ChildrenTracer(), _SequentialTracer()):
        try:
            graph = _graph_of(server_half, tracer)
        except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError, ValueError):
            return None
        end = _last_point(server_half, list(graph.nodes), max_share)
        if end is not None:
            return Graph(server_half, _graph_up_to(graph, end), "AuxiliaryBody")
    return None


def _last_point(server_half: nn.Module, nodes: list[fx.Node], max_share: float) -> fx.Node | None:
    total = sum(parameter.numel() for parameter in server_half.parameters())
    used, found, live = 0, None, set[fx.Node]()
    for node in nodes:
        if node.op == "call_module":
            owned = server_half.get_submodule(str(node.target)).parameters()
            used += sum(parameter.numel() for parameter in owned)
        if used > max_share * total or node.op == "output":
            break
        position = nodes.index(node)
        live = {n for n in [*live, node] if any(nodes.index(u) > position for u in n.users)}
        if used and live == {node}:
            found = node
    return found


def _graph_up_to(graph: fx.Graph, end: fx.Node) -> fx.Graph:
    front = fx.Graph()
    copied: dict[fx.Node, fx.Node] = {}
    for node in graph.nodes:
        copied[node] = front.node_copy(node, lambda n: copied[n])
        if node is end:
            break
    front.output(copied[end])
    front.lint()
    return front
