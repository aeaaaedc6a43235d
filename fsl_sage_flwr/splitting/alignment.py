"""Align an auxiliary head with the server half's true gradients (FSL-SAGE, eq. 7)."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass

import torch
from torch import Tensor, nn

from ..batching import batches_of
from ..objective import Objective
from .double_backward import plain_attention
from .gradients import estimated_gradients

SCHEDULES = ("cosine", "constant")


@dataclass(frozen=True)
class AlignmentRecipe:
    """Settings of one alignment.

    Attributes
    ----------
    epochs : int
        Passes over the alignment set.
    batch_size : int
        Samples per Adam step.
    schedule : {"cosine", "constant"}
        Learning rate within one alignment: falls to zero along a cosine, or stays constant.
    """

    epochs: int = 5
    batch_size: int = 50
    schedule: str = "cosine"


@dataclass(frozen=True)
class AlignmentQuality:
    """Agreement of estimated gradients ĝ with true gradients g on held-out samples.

    Attributes
    ----------
    product, estimated_square, true_square, error_square : float
        ``<ĝ, g>``, ``|ĝ|²``, ``|g|²`` and ``|ĝ - g|²``, over all samples and tensors.
    """

    product: float
    estimated_square: float
    true_square: float
    error_square: float

    @classmethod
    def pooled(cls, qualities: Sequence["AlignmentQuality"]) -> "AlignmentQuality":
        """Return the quality over the samples of several alignments together."""
        columns = zip(*(astuple(quality) for quality in qualities), strict=True)
        return cls(*(math.fsum(column) for column in columns))

    @property
    def cosine(self) -> float:
        """``<ĝ, g> / (|ĝ| |g|)``; 1 is perfect."""
        norms = math.sqrt(self.estimated_square) * math.sqrt(self.true_square)
        return self.product / norms if norms else 0.0

    @property
    def relative_error(self) -> float:
        """``|ĝ - g| / |g|``; 0 is perfect, and ĝ = 0 gives 1."""
        if not self.true_square:
            return math.inf if self.error_square else 0.0
        return math.sqrt(self.error_square / self.true_square)


def align(
    head: nn.Module,
    optimizer: torch.optim.Optimizer,
    smashed: tuple[Tensor, ...],
    labels: Tensor,
    gradients: tuple[Tensor, ...],
    objective: Objective,
    recipe: AlignmentRecipe,
    generator: torch.Generator,
) -> None:
    """Fit the head's gradient to the true gradient by double backward, in place.

    Minimises the sum over the samples of ``|ĝ - g|²`` with the given optimizer, and restores
    the optimizer's learning rate at the end.

    Parameters
    ----------
    head : nn.Module
        Auxiliary head in training mode.
    optimizer : torch.optim.Optimizer
        Optimizer of the head's parameters; it keeps its state between alignments.
    smashed, labels, gradients
        Alignment set: smashed data, each ``(N, …)``, labels ``(N,)``, and the true
        per-sample gradients.
    objective : Objective
        Loss of the head's scores.
    recipe : AlignmentRecipe
        Passes, batch size and schedule.
    generator : torch.Generator
        CPU generator that draws the order of the samples.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    steps = recipe.epochs * len(batches_of(len(labels), recipe.batch_size))
    try:
        with plain_attention():
            for step, rows in enumerate(_minibatches(len(labels), recipe, generator)):
                if recipe.schedule == "cosine":
                    factor = 0.5 * (1 + math.cos(math.pi * step / steps))
                    for group, rate in zip(optimizer.param_groups, rates, strict=True):
                        group["lr"] = rate * factor
                chosen = rows.to(labels.device)
                estimate = estimated_gradients(
                    head,
                    tuple(t[chosen] for t in smashed),
                    labels[chosen],
                    objective,
                    create_graph=True,
                )
                distance = sum(
                    (
                        (ours - theirs[chosen]).pow(2).sum()
                        for ours, theirs in zip(estimate, gradients, strict=True)
                    ),
                    torch.zeros((), device=labels.device),
                )
                optimizer.zero_grad()
                torch.autograd.backward(distance)
                optimizer.step()
    finally:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate


def _minibatches(
    count: int, recipe: AlignmentRecipe, generator: torch.Generator
) -> Iterator[Tensor]:
    for _ in range(recipe.epochs):
        order = torch.randperm(count, generator=generator)
        for rows in batches_of(count, recipe.batch_size):
            yield order[rows]


def compare_gradients(estimated: tuple[Tensor, ...], true: tuple[Tensor, ...]) -> AlignmentQuality:
    """Compare two sets of gradients, the tensors of each set flattened to one vector."""
    ours = torch.cat([tensor.flatten() for tensor in estimated]).double()
    theirs = torch.cat([tensor.flatten() for tensor in true]).double()
    difference = ours - theirs
    return AlignmentQuality(
        product=torch.dot(ours, theirs).item(),
        estimated_square=torch.dot(ours, ours).item(),
        true_square=torch.dot(theirs, theirs).item(),
        error_square=torch.dot(difference, difference).item(),
    )
