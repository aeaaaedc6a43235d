"""Passes that are alive in a process, and what is left of those that are not."""

import gc

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from fsl_sage_flwr.nodes.exchange_state import LARGEST_LIVE, ForwardCache, PendingForward


def passed(width: int = 8) -> tuple[PendingForward, list[StorageWeakRef]]:
    """Return a pass, and references to its activations that do not keep them."""
    half = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Sigmoid())
    forward = PendingForward(half, torch.optim.SGD(half.parameters(), lr=0.1))
    seen: list[StorageWeakRef] = []

    def look(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(StorageWeakRef(output.untyped_storage()))

    for layer in half:
        layer.register_forward_hook(look)
    with forward.counting_graph():
        forward.smashed = [(half(torch.ones(4, width)),)]
    return forward, seen


def test_a_pass_that_nobody_steps_on_leaves_nothing() -> None:
    """ReLU and sigmoid keep their own output, which hangs on the graph that keeps it."""
    forward, activations = passed()
    assert forward.graph_bytes > 0
    assert not activations[-1].expired()
    del forward
    gc.collect()
    assert [activation.expired() for activation in activations] == [True] * 3


def test_counting_changes_no_gradient() -> None:
    forward, _ = passed()
    plain = forward.half(torch.ones(4, 8))
    (ours,) = forward.smashed[0]
    parameters = list(forward.half.parameters())
    expected = torch.autograd.grad(plain.sum(), parameters)
    found = torch.autograd.grad(ours.sum(), parameters)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_the_oldest_passes_make_room() -> None:
    live = ForwardCache()
    for node in range(4):
        forward, _ = passed()
        forward.graph_bytes = LARGEST_LIVE // 3
        live.put((1, node, 0, 0), forward)
    assert live.take((1, 0, 0, 0)) is None
    assert live.take((1, 3, 0, 0)) is not None
