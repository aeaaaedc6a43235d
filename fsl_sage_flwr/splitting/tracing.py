"""Trace a model's forward along the ancestors of a cut."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import fx, nn

from .errors import UnfaithfulError, running_the_model
from .inputs import Arguments
from .model_state import ModelState
from .ownership import shell_of
from .request import Request
from .submodules import ancestors_of


class _AncestorTracer(fx.Tracer):
    """Trace through the ancestors of the cut only.

    Every other module stays one opaque call, which preserves names, hooks and the behaviour in
    train and eval mode. Arguments that the example does not give have their defaults.
    """

    def __init__(self, cut: str, arguments: Arguments) -> None:
        super().__init__()
        self._ancestors, self._arguments = ancestors_of(cut), arguments

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name not in self._ancestors

    def create_args_for_root(
        self, root_fn: Any, is_module: bool, concrete_args: Any = None
    ) -> tuple[Callable[..., Any], list[Any]]:
        inputs = [self.create_proxy("placeholder", name, (), {}) for name in self._arguments.names]
        return lambda root: self._arguments.apply(partial(root_fn, root), inputs), [self.root]


@dataclass
class TracedForward:
    """A traced forward: its model, the model's state after tracing, and the values if shared."""

    graph: fx.Graph
    model: nn.Module
    state: ModelState
    values: dict[fx.Node, Any] | None = None


class Traces:
    """Traced forwards of one model; cuts inside the same modules share one."""

    def __init__(self) -> None:
        self._state: ModelState | None = None
        self._forwards: dict[frozenset[str], TracedForward] = {}

    def forward(self, request: Request) -> TracedForward:
        """Return the forward that a cut divides."""
        model, at = request.model, request.at
        lists = nn.ModuleList | nn.ModuleDict  # are never called
        called = (n for n in ancestors_of(at) if not isinstance(model.get_submodule(n), lists))
        inside = frozenset(called)
        if inside not in self._forwards:
            with running_the_model(f"{type(model).__name__} cannot be traced to cut it at {at!r}"):
                other = _calls_in(request, at, training=not model.training)
                graph = _AncestorTracer(at, request.arguments).trace(model)
                if _calls(graph) != other:
                    raise UnfaithfulError(
                        f"{type(model).__name__} calls other functions in train than in eval mode."
                    )
                self._state = self._state or ModelState(model, writes=request.state.writes)
            # Tensors that the forward makes, such as torch.arange(8), are attributes of the traced
            # model, which soon is set back; this copy keeps them.
            self._forwards[inside] = TracedForward(graph, shell_of(model), self._state)
        return self._forwards[inside]


def _calls_in(request: Request, at: str, *, training: bool) -> list[tuple[str, Any]]:
    """Return what a forward calls in a mode: one graph must do for both."""
    request.model.train(training)
    try:
        return _calls(_AncestorTracer(at, request.arguments).trace(request.model))
    finally:
        request.state.restore()


def _calls(graph: fx.Graph) -> list[tuple[str, Any]]:
    """Return kind and target of a graph's nodes; names of constants differ from trace to trace."""
    return [
        (node.op, "constant" if str(node.target).startswith("_tensor_constant") else node.target)
        for node in graph.nodes
    ]
