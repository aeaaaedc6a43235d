"""One training step of either half."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from ..objective import Loss
from .gradients import differentiable, estimated_gradients
from .split_model import as_tensors

Autocast = Callable[[], AbstractContextManager[object]]


def client_forward(
    client_half: nn.Module, inputs: Tensor | tuple[Tensor, ...], autocast: Autocast
) -> tuple[Tensor, ...]:
    """Return the smashed data with their graph, floating-point tensors as float32."""
    with autocast():
        outputs = as_tensors(client_half(*as_tensors(inputs)))
    return tuple(t.float() if t.is_floating_point() else t for t in outputs)


def client_step(
    optimizer: torch.optim.Optimizer,
    smashed: tuple[Tensor, ...],
    gradients: tuple[Tensor, ...],
    num_samples: int,
) -> None:
    """Step the client half through the smashed data.

    Parameters
    ----------
    optimizer : torch.optim.Optimizer
        Over the client half's parameters.
    smashed : tuple of Tensor
        As :func:`client_forward` returned them.
    gradients : tuple of Tensor
        Per-sample gradients, one per floating-point smashed tensor.
    num_samples : int
        Batch size ``B``: the step follows the gradient of the batch's mean loss.
    """
    optimizer.zero_grad()
    floating = [tensor for tensor in smashed if tensor.is_floating_point()]
    # A constant may cross the cut: there is nothing behind it to train.
    pairs = [(t, g) for t, g in zip(floating, gradients, strict=True) if t.requires_grad]
    torch.autograd.backward([t for t, _ in pairs], [g / num_samples for _, g in pairs])
    optimizer.step()


def estimated_step(
    client_half: nn.Module,
    head: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: tuple[Tensor | tuple[Tensor, ...], Tensor],
    loss: Loss,
    autocast: Autocast,
) -> tuple[Tensor, ...]:
    """Step the client half on the head's estimate (FSL-SAGE, algorithm 1, lines 5 to 8).

    The head itself is not stepped.

    Returns
    -------
    tuple of Tensor
        The smashed data as they were before the step, detached.
    """
    inputs, labels = batch
    smashed = client_forward(client_half, inputs, autocast)
    with autocast():
        gradients = estimated_gradients(head, smashed, labels, loss)
    client_step(optimizer, smashed, gradients, len(labels))
    return tuple(tensor.detach() for tensor in smashed)


def server_step(
    server_half: nn.Module,
    optimizer: torch.optim.Optimizer,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    loss: Loss,
    autocast: Autocast,
) -> float:
    """Step the server half on one batch of smashed data; return the batch's mean loss."""
    optimizer.zero_grad()
    with autocast():
        value = loss(server_half(*smashed), labels)
    torch.autograd.backward(value)
    optimizer.step()
    return value.item()


def answer_step(
    server_half: nn.Module,
    optimizer: torch.optim.Optimizer,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    loss: Loss,
    autocast: Autocast,
) -> tuple[float, tuple[Tensor, ...]]:
    """Step the server half on one batch, and return the gradient that answers it.

    Returns
    -------
    tuple
        The batch's mean loss, and its gradients with respect to the floating-point
        smashed tensors (SplitFed's, of the mean and not per sample).
    """
    leaves = differentiable(smashed)
    value = server_step(server_half, optimizer, leaves, labels, loss, autocast)
    zero = (torch.zeros_like(leaf) for leaf in leaves)  # a tensor that the half ignores
    return value, tuple(
        nothing if leaf.grad is None else leaf.grad
        for leaf, nothing in zip(leaves, zero, strict=True)
        if leaf.requires_grad
    )


def auxiliary_step(
    client_half: nn.Module,
    head: nn.Module,
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer],
    batch: tuple[Tensor | tuple[Tensor, ...], Tensor],
    loss: Loss,
    autocast: Autocast,
) -> tuple[Tensor, ...]:
    """Step the client half and the head on the head's own loss (CSE-FSL).

    Returns
    -------
    tuple of Tensor
        The smashed data as they were before the step, detached.
    """
    inputs, labels = batch
    smashed = client_forward(client_half, inputs, autocast)
    with autocast():
        value = loss(head(*smashed), labels)
    for optimizer in optimizers:
        optimizer.zero_grad()
    torch.autograd.backward(value)
    for optimizer in optimizers:
        optimizer.step()
    return tuple(tensor.detach() for tensor in smashed)
