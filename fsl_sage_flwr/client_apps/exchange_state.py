"""What a SplitFed client keeps between the messages of a round.

Two ways to go on, with the same bits. The *live* one: the autograd graph of the last
forward pass is still in this process. The *replay*: this is another process, and the pass
is done again, from the same parameters, buffers, batches and random numbers, which a file of
the node keeps as they were before it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..nodes.client_state import ClientState
from ..splitting import (
    copy_sharing_frozen,
    flatten_state,
    forget_sample_gradients,
    load_trainable_state,
    restore_state,
    trainable_state,
)
from ..tensor_store import prefixed, with_prefix

# A graph holds a batch's activations, and an actor of a simulation serves every node in turn.
LARGEST_LIVE = 256 * 1024**2
FILE = "exchange"
_HALF, _OPTIMIZER = "half.", "optimizer."


@dataclass
class Forward:
    """A node's client half and optimizer in a round, and a pass that waits for its gradients.

    Attributes
    ----------
    half : nn.Module
        Client half of this node alone, as it is after the pass.
    optimizer : torch.optim.Optimizer
        Over its parameters.
    lost : bool
        The optimizer had to begin afresh in this round.
    examples : int
        Seen in this round so far.
    seconds : float
        Spent on this round so far.
    smashed : list of tuple of Tensor
        Each batch's smashed data, with their graph.
    progress : list of float
        Rounds done when each batch's step comes, for the learning rate.
    graph_bytes : int
        What the graph holds.
    """

    half: nn.Module
    optimizer: torch.optim.Optimizer
    lost: bool = False
    examples: int = 0
    seconds: float = 0.0
    smashed: list[tuple[Tensor, ...]] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    graph_bytes: int = 0

    def save(self, state: ClientState, version: int) -> None:
        """Write what it takes to repeat the pass that comes next."""
        totals = [float(self.examples), float(self.lost), self.seconds]
        tensors = prefixed(trainable_state(self.half), _HALF)
        tensors |= prefixed(flatten_state(self.optimizer), _OPTIMIZER)
        tensors["totals"] = torch.tensor(totals, dtype=torch.float64)
        state.save_file(FILE, tensors, version)

    def load(self, state: ClientState, version: int) -> bool:
        """Read what :meth:`save` wrote; False when it is not there."""
        tensors = state.load(FILE, version)
        if tensors is None:
            return False
        examples, lost, self.seconds = tensors.pop("totals").tolist()
        self.examples, self.lost = int(examples), bool(lost)
        load_trainable_state(self.half, with_prefix(tensors, _HALF))
        restore_state(self.optimizer, with_prefix(tensors, _OPTIMIZER))
        return True

    @contextmanager
    def counting_graph(self) -> Iterator[None]:
        """Add up the bytes that the graph of the passes inside keeps."""
        sizes = list[int]()

        # The graph keeps a reference to this function and to what it returns. If one of them
        # referred back to the graph, a graph without a backward pass would never be freed: that
        # happens when a node goes on in another process.
        def count(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            yield
        self.graph_bytes = sum(sizes)


Key = tuple[int, int, int]


class ForwardCache:
    """The forward passes that are alive in this process, by (run, node, version).

    Halves of passes that have ended serve the same run again: copying a module costs more
    than loading its values.
    """

    def __init__(self) -> None:
        self._forwards: OrderedDict[Key, Forward] = OrderedDict()
        self._spare: list[nn.Module] = []
        self._run = -1

    def put(self, key: Key, forward: Forward) -> None:
        """Keep a pass in place of the same node's former ones; the oldest make room."""
        for other in [other for other in self._forwards if other[:2] == key[:2]]:
            self.release(self._forwards.pop(other))
        self._forwards[key] = forward
        while len(self._forwards) > 1 and self._bytes() > LARGEST_LIVE:
            self.release(self._forwards.popitem(last=False)[1])

    def take(self, key: Key) -> Forward | None:
        """Take a pass out; None when this process never did it, or has dropped it."""
        return self._forwards.pop(key, None)

    def half(self, run: int, like: nn.Module) -> nn.Module:
        """Return a client half of a run, with any values."""
        if run != self._run:
            self.clear()
            self._run = run
        return self._spare.pop() if self._spare else copy_sharing_frozen(like)

    def release(self, forward: Forward) -> None:
        """Take back the half of a pass that has ended."""
        forward.half.zero_grad()
        forget_sample_gradients(forward.half)
        self._spare.append(forward.half)

    def clear(self) -> None:
        """Forget everything, as a change of process does."""
        self._forwards.clear()
        self._spare.clear()

    def _bytes(self) -> int:
        return sum(forward.graph_bytes for forward in self._forwards.values())
