"""Infer labels from the gradients of smashed data that are sent to a client.

After Li, Sun, Yang, Gao, Wang, Xie and Song, "Label leakage and protection in two-party split
learning" (ICLR 2022, arXiv 2102.08504), with attacks on two classes. Here the attacker knows one
sample of each class with its gradient, and a gradient gets the label of the nearest known one, by
norm or by direction.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..batching import batches_of
from ..objective import Objective
from ..splitting import differentiable


def gradients_sent_down(
    server_half: nn.Module,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    objective: Objective,
    batch_size: int,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Tensor:
    """Return the gradient of each sample's smashed data, as SplitFed sends it.

    The server half is in training mode and takes no step.

    Parameters
    ----------
    server_half : nn.Module
        Server half; its running statistics change.
    smashed : tuple of Tensor
        Each ``(N, …)``.
    labels : Tensor
        ``(N,)``.
    objective : Objective
        Mean loss over a batch.
    batch_size : int
        Samples per batch.
    autocast : callable
        Context of the forward pass.

    Returns
    -------
    Tensor
        ``(N, D)``, all floating-point tensors joined.
    """
    found = []
    for rows in batches_of(len(labels), batch_size):
        leaves = differentiable(tuple(tensor[rows] for tensor in smashed))
        floating = [leaf for leaf in leaves if leaf.requires_grad]
        with autocast():
            loss = objective.mean_loss(server_half, leaves, labels[rows])
        gradients = torch.autograd.grad(loss, floating, allow_unused=True)
        flat = [g[:, None].flatten(1).float() for g in gradients if g is not None]
        found.append(torch.cat(flat, dim=1))
    return torch.cat(found)


def first_of_each_class(labels: Tensor) -> Tensor:
    """Return the row of the first sample of each occurring class, ascending by class."""
    classes = torch.bincount(labels).nonzero()[:, 0]
    return torch.stack([(labels == c).nonzero()[0, 0] for c in classes])


def by_norm(gradients: Tensor, known: Tensor, known_labels: Tensor) -> Tensor:
    """Return the label of the known gradient with the nearest norm.

    Parameters
    ----------
    gradients : Tensor
        ``(N, D)``.
    known : Tensor
        ``(K, D)``, of samples with known labels.
    known_labels : Tensor
        ``(K,)``.

    Returns
    -------
    Tensor
        ``(N,)``.
    """
    distance = (gradients.norm(dim=1)[:, None] - known.norm(dim=1)[None]).abs()
    return known_labels[distance.argmin(dim=1)]


def by_direction(gradients: Tensor, known: Tensor, known_labels: Tensor) -> Tensor:
    """Return the label of the known gradient with the largest cosine; see :func:`by_norm`."""
    cosine = F.normalize(gradients, dim=1) @ F.normalize(known, dim=1).T
    return known_labels[cosine.argmax(dim=1)]


def by_tail(
    tail: nn.Module,
    hidden: tuple[Tensor, ...],
    gradients: Tensor,
    classes: int,
    objective: Objective,
    batch_size: int,
    autocast: Callable[[], AbstractContextManager[object]],
) -> Tensor:
    """Return the label whose gradient, computed with the tail itself, is nearest to the sent one.

    The attacker is the server that averages the tails: it knows the weights with which a client
    begins a round, and the hidden states, which it has computed.

    Parameters
    ----------
    tail : nn.Module
        The tail; its running statistics change.
    hidden : tuple of Tensor
        Each ``(N, …)``.
    gradients : Tensor
        ``(N, D)``, of the hidden states, in batches of ``batch_size``.
    classes : int
        Number of classes.
    objective, batch_size, autocast
        As of :func:`gradients_sent_down`.

    Returns
    -------
    Tensor
        ``(N,)``.
    """
    distances = []
    for label in range(classes):
        labels = torch.full((len(gradients),), label, device=gradients.device)
        tried = gradients_sent_down(tail, hidden, labels, objective, batch_size, autocast)
        distances.append((tried - gradients).norm(dim=1))
    return torch.stack(distances).argmin(dim=0)


def accuracy_of(inferred: Tensor, labels: Tensor) -> float:
    """Return the share of correctly inferred labels."""
    return float((inferred == labels).double().mean())


def best_constant_accuracy(labels: Tensor) -> float:
    """Return the accuracy of the best constant guess."""
    return int(torch.bincount(labels).max()) / len(labels)
