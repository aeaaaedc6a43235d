"""A module that runs a traced graph."""

import copy
from collections.abc import Iterable, Mapping
from typing import Any

from torch import fx, nn

Modes = Mapping[bool, tuple[str, ...]]
"""By mode of the model, the names of the submodules that are then in the other mode."""


class Graph(fx.GraphModule):
    """``fx.GraphModule`` whose copies share its graph and its compiled forward.

    ``fx.GraphModule`` copies and recompiles the graph, which takes most of a copy's time. Sharing
    is safe because the graph of a half or a head is never edited.

    A traced graph has no method of its model. What the model's own ``train`` does to the mode of
    submodules, such as a BatchNorm that stays in eval mode, is kept as ``own_modes``.
    """

    def __init__(
        self, root: nn.Module | dict[str, Any], graph: fx.Graph, class_name: str = "Graph"
    ) -> None:
        super().__init__(root, graph, class_name)
        self.own_modes: Modes = getattr(root, "own_modes", {})

    def train(self, mode: bool = True) -> "Graph":
        """Set the mode as the model's own ``train`` does."""
        super().train(mode)
        known = dict(self.named_modules())
        for name in self.own_modes.get(mode, ()):
            if name in known:
                known[name].training = not mode
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Graph":
        """Copy the tensors and submodules; share the code."""
        copied: Graph = object.__new__(type(self))
        memo[id(self)] = copied
        memo[id(self._graph)] = self._graph
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied


def own_modes(model: nn.Module, ancestors: Iterable[str]) -> Modes:
    """Return what the own ``train`` of a model or of an ancestor of the cut does to submodules.

    Empty where none of them has such a method. The modes are restored.
    """
    owners = (model.get_submodule(name) for name in ancestors)
    if all(type(owner).train is nn.Module.train for owner in owners):
        return {}
    before = {module: module.training for module in model.modules()}
    found = {}
    for mode in (True, False):
        model.train(mode)
        found[mode] = tuple(n for n, module in model.named_modules() if module.training != mode)
    for module, training in before.items():
        module.training = training
    return found
