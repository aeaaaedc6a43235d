"""What a SplitFed client keeps between the messages of a round.

Two ways to go on, with the same bits. The *live* one: the autograd graph of the last
forward pass is still in this process. The *replay*: this is another process, and the pass
is done again, from the same parameters, buffers, batches and random numbers, which a file of
the node keeps as they were before it.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# Live graphs hold a batch's activations: an actor of a simulation sees every node.
MOST_LIVE = 4


@dataclass
class Forward:
    """A forward pass that waits for its gradients.

    Attributes
    ----------
    half : nn.Module
        Client half of this node alone, as it is after the pass.
    optimizer : torch.optim.Optimizer
        Over its parameters.
    smashed : list of tuple of Tensor
        Each batch's smashed data, with their graph.
    progress : list of float
        Rounds done when each batch's step comes, for the learning rate.
    """

    half: nn.Module
    optimizer: torch.optim.Optimizer
    smashed: list[tuple[Tensor, ...]] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)


Key = tuple[int, int, int, int]


class LiveForwards:
    """The forward passes that are alive in this process, by (run, node, round, exchange)."""

    def __init__(self) -> None:
        self._forwards: OrderedDict[Key, Forward] = OrderedDict()

    def put(self, key: Key, forward: Forward) -> None:
        """Keep a pass in place of the same node's former ones; the oldest makes room."""
        for other in [other for other in self._forwards if other[:2] == key[:2]]:
            del self._forwards[other]
        self._forwards[key] = forward
        while len(self._forwards) > MOST_LIVE:
            self._forwards.popitem(last=False)

    def take(self, key: Key) -> Forward | None:
        """Take a pass out; None when this process never did it, or has dropped it."""
        return self._forwards.pop(key, None)

    def clear(self) -> None:
        """Forget all: what a change of process does."""
        self._forwards.clear()
