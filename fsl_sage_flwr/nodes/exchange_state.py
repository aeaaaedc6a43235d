"""State of a SplitFed client between the messages of a round.

A client resumes in one of two ways, with the same bits. *Live*: the autograd graph of the last
forward pass is still in this process. *Replay*: this is another process, and repeats the pass
from the same parameters, buffers, batches and random numbers, which a file of the node keeps as
they were before it.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..splitting import (
    copy_sharing_frozen,
    flatten_state,
    forget_sample_gradients,
    load_trainable_state,
    restore_state,
    trainable_state,
)
from ..tensor_store import prefixed, with_prefix
from .client_state import ClientState
from .proximal_term import ProximalTerm

# Bytes. A graph holds a batch's activations, and an actor of a simulation serves every node.
LARGEST_LIVE = 256 * 1024**2
FILE = "exchange"
_HALF, _OPTIMIZER, _REFERENCE = "half.", "optimizer.", "reference."


@dataclass
class PendingForward:
    """A node's client half and optimizer in a round, and a forward pass without its gradients.

    Attributes
    ----------
    half : nn.Module
        The node's client half after the pass.
    optimizer : torch.optim.Optimizer
        Over its parameters.
    proximal : ProximalTerm or None
        FedProx's term of what the optimizer minimises, if there is one.
    lost : bool
        Whether the optimizer lost its state before this round.
    examples : int
        Number of examples in this round so far.
    seconds : float
        Seconds spent on this round so far.
    total_loss : float
        Sum of the losses of these examples, where the client has the model's tail.
    smashed : list of tuple of Tensor
        Each batch's smashed data, with their graph.
    labels : list of Tensor
        Each batch's labels.
    of_tail : list of Tensor or None
        Gradients of the tail's trained parameters, the last of the half's, on the exchange's batch;
        empty without a tail.
    progress : list of float
        Rounds done at each batch's step, for the learning rate.
    graph_bytes : int
        Bytes of the graph.
    """

    half: nn.Module
    optimizer: torch.optim.Optimizer
    proximal: ProximalTerm | None = None
    lost: bool = False
    examples: int = 0
    seconds: float = 0.0
    total_loss: float = 0.0
    smashed: list[tuple[Tensor, ...]] = field(default_factory=list)
    labels: list[Tensor] = field(default_factory=list)
    of_tail: list[Tensor | None] = field(default_factory=list)
    progress: list[float] = field(default_factory=list)
    graph_bytes: int = 0

    @classmethod
    def of(
        cls, half: nn.Module, optimizer: torch.optim.Optimizer, mu: float, *, lost: bool = False
    ) -> "PendingForward":
        """Return a pass to be made, with FedProx's term for a weight ``mu`` above 0."""
        return cls(half, optimizer, ProximalTerm(optimizer, mu) if mu else None, lost=lost)

    def save(self, state: ClientState, version: int) -> None:
        """Write everything needed to repeat the next pass."""
        totals = [float(self.examples), float(self.lost), self.seconds, self.total_loss]
        tensors = prefixed(trainable_state(self.half), _HALF)
        tensors |= prefixed(flatten_state(self.optimizer), _OPTIMIZER)
        reference = [] if self.proximal is None else self.proximal.reference
        tensors |= prefixed({str(place): t for place, t in enumerate(reference)}, _REFERENCE)
        tensors["totals"] = torch.tensor(totals, dtype=torch.float64)
        state.save_file(FILE, tensors, version)

    def load(self, state: ClientState, version: int) -> bool:
        """Read what :meth:`save` wrote; return False when it is missing."""
        tensors = state.load(FILE, version)
        if tensors is None:
            return False
        examples, lost, self.seconds, self.total_loss = tensors.pop("totals").tolist()
        self.examples, self.lost = int(examples), bool(lost)
        load_trainable_state(self.half, with_prefix(tensors, _HALF))
        restore_state(self.optimizer, with_prefix(tensors, _OPTIMIZER))
        if self.proximal is not None:
            saved = with_prefix(tensors, _REFERENCE)
            for place, tensor in enumerate(self.proximal.reference):
                tensor.copy_(saved[str(place)])
        return True

    @contextmanager
    def counting_graph(self) -> Iterator[None]:
        """Count the bytes that the graph of the block's passes keeps."""
        sizes = list[int]()

        # The graph keeps references to this function and to its result. If one of them referred
        # back to the graph, a graph without a backward pass would never be freed: there is one
        # when a node resumes in another process.
        def count(tensor: Tensor) -> Tensor:
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor.detach()

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            yield
        self.graph_bytes = sum(sizes)


Key = tuple[int, int, int]


class ForwardCache:
    """Caches pending forward passes of this process, by (run, node, version).

    Halves of completed passes are reused in the same run: copying a module costs more than
    loading its values.
    """

    def __init__(self) -> None:
        self._forwards: OrderedDict[Key, PendingForward] = OrderedDict()
        self._spare: list[nn.Module] = []
        self._run = -1

    def put(self, key: Key, forward: PendingForward) -> None:
        """Replace the node's cached pass; evict the oldest passes above the limit."""
        for other in [other for other in self._forwards if other[:2] == key[:2]]:
            self.release(self._forwards.pop(other))
        self._forwards[key] = forward
        while len(self._forwards) > 1 and self._bytes() > LARGEST_LIVE:
            self.release(self._forwards.popitem(last=False)[1])

    def take(self, key: Key) -> PendingForward | None:
        """Remove and return a pass; None when it is not cached."""
        return self._forwards.pop(key, None)

    def half(self, run: int, like: nn.Module) -> nn.Module:
        """Return a client half for a run, with arbitrary values."""
        if run != self._run:
            self.clear()
            self._run = run
        return self._spare.pop() if self._spare else copy_sharing_frozen(like)

    def release(self, forward: PendingForward) -> None:
        """Reuse the half of a completed pass."""
        forward.half.zero_grad()
        forget_sample_gradients(forward.half)
        self._spare.append(forward.half)

    def clear(self) -> None:
        """Remove everything, as a change of process does."""
        self._forwards.clear()
        self._spare.clear()

    def _bytes(self) -> int:
        return sum(forward.graph_bytes for forward in self._forwards.values())
