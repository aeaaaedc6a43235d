"""A module that runs a traced graph."""

import copy
from typing import Any

from torch import fx


class Graph(fx.GraphModule):
    """``fx.GraphModule`` whose copies share its graph and its compiled forward.

    ``fx.GraphModule`` copies and recompiles the graph, which takes most of a copy's time. Sharing
    is safe because the graph of a half or a head is never edited.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "Graph":
        """Copy the tensors and submodules; share the code."""
        copied: Graph = object.__new__(type(self))
        memo[id(self)] = copied
        memo[id(self._graph)] = self._graph
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied
