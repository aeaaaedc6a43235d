"""Take the training steps of the two halves."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ..objective import Objective
from .gradients import differentiable, estimated_gradients
from .inputs import Inputs, as_tensors
from .layout import Order, in_order, noted_orders
from .smashed_dtypes import as_sent

Autocast = Callable[[], AbstractContextManager[object]]


def client_forward(
    client_half: nn.Module, inputs: Inputs, autocast: Autocast
) -> tuple[Tensor, ...]:
    """Return the smashed data with their graph, in the dtypes in which they are sent."""
    with autocast():
        outputs = as_tensors(client_half(*as_tensors(inputs)))
    return tuple(as_sent(tensor) for tensor in outputs)


def client_step(
    optimizer: torch.optim.Optimizer,
    smashed: tuple[Tensor, ...],
    gradients: tuple[Tensor, ...],
    count: int,
) -> None:
    """Update the client half from the gradients of its smashed data.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Optimizer of the client half's parameters.
    smashed : tuple of Tensor
        As :func:`client_forward` returned them.
    gradients : tuple of Tensor
        Per-sample gradients, one per floating-point smashed tensor.
    count : int
        Divisor of the loss, in most objectives the batch size ``B``: the step follows the
        gradient of the batch's mean loss.
    """
    optimizer.zero_grad()
    floating = [tensor for tensor in smashed if tensor.is_floating_point()]
    # A constant that crosses the cut has no gradient to propagate.
    pairs = [(t, g) for t, g in zip(floating, gradients, strict=True) if t.requires_grad]
    torch.autograd.backward([t for t, _ in pairs], [g / max(count, 1) for _, g in pairs])
    optimizer.step()


def estimated_step(
    client_half: nn.Module,
    head: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Inputs, Tensor],
    objective: Objective,
    autocast: Autocast,
) -> tuple[Tensor, ...]:
    """Update the client half with the head's estimate (FSL-SAGE, algorithm 1, lines 5 to 8).

    The head is not updated.

    Returns
    -------
    tuple of Tensor
        The smashed data from before the step, detached.
    """
    inputs, labels = batch
    smashed = client_forward(client_half, inputs, autocast)
    with autocast():
        gradients = estimated_gradients(head, smashed, labels, objective)
    client_step(optimizer, smashed, gradients, objective.count(labels))
    return tuple(tensor.detach() for tensor in smashed)


def server_step(
    server_half: nn.Module,
    optimizer: torch.optim.Optimizer,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    objective: Objective,
    autocast: Autocast,
) -> float:
    """Update the server half with one batch of smashed data; return the batch's mean loss."""
    optimizer.zero_grad()
    with autocast():
        value = objective.mean_loss(server_half, smashed, labels)
    if value.requires_grad:  # otherwise the half is frozen and no gradient is needed
        torch.autograd.backward(value)
        optimizer.step()
    return value.item()


def answer_step(
    server_half: nn.Module,
    optimizer: torch.optim.Optimizer,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    objective: Objective,
    autocast: Autocast,
) -> tuple[float, tuple[Tensor, ...]]:
    """Update the server half with one batch; return the loss and the gradients for the client.

    Returns
    -------
    tuple
        The batch's mean loss, and the gradients of this mean (as in SplitFed, not per
        sample) with respect to the floating-point smashed tensors.
    """
    leaves = differentiable(smashed)
    orders = noted_orders(leaves)
    value = server_step(server_half, optimizer, leaves, labels, objective, autocast)
    return value, _of_leaves(leaves, orders)


def answered_step(
    optimizer: torch.optim.Optimizer,
    smashed: tuple[Tensor, ...],
    hidden: tuple[Tensor, ...],
    gradients: tuple[Tensor, ...],
) -> tuple[Tensor, ...]:
    """Update a server half from the gradients of its hidden states, which a tail has computed.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Optimizer of the server half's parameters.
    smashed : tuple of Tensor
        Leaves that the half was given.
    hidden : tuple of Tensor
        What it made of them, with the graph.
    gradients : tuple of Tensor
        Of the batch's mean loss, one per floating-point hidden tensor.

    Returns
    -------
    tuple of Tensor
        The same gradients with respect to the floating-point smashed tensors.
    """
    optimizer.zero_grad()
    orders = noted_orders(smashed)
    floating = [tensor for tensor in hidden if tensor.is_floating_point()]
    pairs = [(t, g) for t, g in zip(floating, gradients, strict=True) if t.requires_grad]
    if pairs:
        torch.autograd.backward([t for t, _ in pairs], [g for _, g in pairs])
        optimizer.step()
    return _of_leaves(smashed, orders)


def _of_leaves(leaves: tuple[Tensor, ...], orders: Mapping[int, Order]) -> tuple[Tensor, ...]:
    """Return the gradients of the floating-point leaves; zeros for those that a half ignores."""
    return tuple(
        torch.zeros_like(leaf)
        if leaf.grad is None
        else in_order(leaf.grad.contiguous(), orders.get(id(leaf), ()))
        for leaf in leaves
        if leaf.requires_grad
    )


def auxiliary_step(
    client_half: nn.Module,
    head: nn.Module,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    batch: tuple[Inputs, Tensor],
    objective: Objective,
    autocast: Autocast,
) -> tuple[Tensor, ...]:
    """Update the client half and the head with the head's loss (CSE-FSL).

    Returns
    -------
    tuple of Tensor
        The smashed data from before the step, detached.
    """
    inputs, labels = batch
    smashed = client_forward(client_half, inputs, autocast)
    with autocast():
        value = objective.mean_loss(head, smashed, labels)
    for optimizer in optimizers:
        optimizer.zero_grad()
    torch.autograd.backward(value)
    for optimizer in optimizers:
        optimizer.step()
    return tuple(tensor.detach() for tensor in smashed)
