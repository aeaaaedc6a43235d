"""Compute the gradients of the loss with respect to the smashed data, true and estimated.

Both are *per-sample* gradients: of the sum of the samples' losses (the tokens' losses, where the
objective counts tokens), not of their mean. A head aligned with one batch size then fits every
other (FSL-SAGE, eqs. 5 and 6).
"""

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..batching import batches_of
from ..objective import Objective
from .layout import laid_out


def differentiable(smashed: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """Return leaf tensors with the same values; only floating-point leaves get gradients."""
    return tuple(tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in smashed)


def _smashed_gradients(
    total_loss: Tensor, leaves: tuple[Tensor, ...], create_graph: bool
) -> tuple[Tensor, ...]:
    floating = [leaf for leaf in leaves if leaf.requires_grad]
    # Zeros for a tensor that the module ignores.
    return torch.autograd.grad(
        total_loss, floating, create_graph=create_graph, materialize_grads=True
    )


def estimated_gradients(
    head: nn.Module,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    objective: Objective,
    *,
    create_graph: bool = False,
) -> tuple[Tensor, ...]:
    """Return ĝ, the gradient that the auxiliary head estimates.

    Parameters
    ----------
    head : nn.Module
        Auxiliary head ``x_a`` in training mode; its running statistics change.
    smashed : tuple of Tensor
        Smashed data ``z``, each ``(B, …)``.
    labels : Tensor
        Labels ``(B, …)``.
    objective : Objective
        Loss of the head's scores, summed over the counted labels.
    create_graph : bool
        True to differentiate ĝ again, as alignment does.

    Returns
    -------
    tuple of Tensor
        One gradient per floating-point smashed tensor, of its shape.
    """
    leaves = differentiable(smashed)
    total_loss = objective.total_loss(objective.output_of(head, leaves, labels), labels)
    return _smashed_gradients(total_loss, leaves, create_graph)


def true_gradients(
    server_half: nn.Module,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    objective: Objective,
    batch_size: int,
) -> tuple[Tensor, ...]:
    """Return g, the gradient that the server half would return.

    The server half runs in training mode, as in a SplitFed round, on clones of its buffers: its
    running statistics do not change, unlike in the reference implementation.

    Parameters
    ----------
    server_half : nn.Module
        Server half ``x_s`` in training mode.
    smashed : tuple of Tensor
        Smashed data of the alignment set, each ``(N, …)``.
    labels : Tensor
        Labels ``(N, …)``.
    objective : Objective
        Loss of the output, summed over the counted labels.
    batch_size : int
        Samples per forward pass; BatchNorm normalises over them.

    Returns
    -------
    tuple of Tensor
        One gradient per floating-point smashed tensor, of its shape.
    """
    parameters = dict(server_half.named_parameters())
    parts = []
    for rows in batches_of(len(labels), batch_size):
        leaves = differentiable(tuple(tensor[rows] for tensor in smashed))
        buffers = {name: buffer.clone() for name, buffer in server_half.named_buffers()}
        with objective.where(server_half, labels[rows]):
            output = functional_call(server_half, {**parameters, **buffers}, leaves)
        total_loss = objective.total_loss(output, labels[rows])
        parts.append(_smashed_gradients(total_loss, leaves, create_graph=False))
    return tuple(laid_out(torch.cat(tensors), tensors[0]) for tensors in zip(*parts, strict=True))
