"""A module that runs a traced graph."""

import copy
from typing import Any

from torch import fx


class Graph(fx.GraphModule):
    """``fx.GraphModule`` whose copies share its graph and its compiled forward.

    PyTorch copies the graph and compiles it again, which takes most of a copy's time. Nobody
    edits the graph of a half or of a head.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> "Graph":
        """Copy what the module holds, and nothing of what it does."""
        copied: Graph = object.__new__(type(self))
        memo[id(self)] = copied
        memo[id(self._graph)] = self._graph
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        return copied
