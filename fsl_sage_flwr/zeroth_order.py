"""Estimate gradients from losses of perturbed parameters: forward passes alone."""

from collections.abc import Iterator, Mapping
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .seeding import derive_seed
from .splitting import as_tensors
from .task import Batch, SplitTask


class Perturbation(Protocol):
    """Distance and number of the directions of an estimate."""

    @property
    def perturbation_scale(self) -> float:
        """Distance μ by which parameters are moved along a direction."""

    @property
    def perturbations(self) -> int:
        """Number P of directions in the mean of an estimate."""


def estimate(
    local: nn.Module,
    batch: Batch,
    task: SplitTask,
    perturbation: Perturbation,
    place: tuple[int | str, ...],
) -> None:
    """Put the estimate of the gradient into the parameters' ``grad``.

    Along each of P directions u, standard normal over all parameters, the loss f is taken on
    either side: ``ĝ = 1/P Σ (f(θ + μu) - f(θ - μu)) / 2μ · u``. Directions are drawn again
    each time that they are needed, and never kept.

    Parameters
    ----------
    local : nn.Module
        Its parameters θ are left as they are; its running statistics move once.
    batch : tuple
        Inputs and labels.
    task : SplitTask
        The loss, and the seed.
    perturbation : Perturbation
        μ and P.
    place : tuple
        Round, client and batch, for example: the seed of the directions.
    """
    trained = {n: p for n, p in local.named_parameters() if p.requires_grad}
    scale, count = perturbation.perturbation_scale, perturbation.perturbations
    for number in range(count):
        seed = derive_seed(task.seed, "perturbation", *place, number)
        losses = []
        for step in (scale, -scale):
            task.reseed("client", *place, number)  # the same dropout on either side
            moves_statistics = number == 0 and step > 0
            losses.append(loss_at(step, local, batch, task, seed, moves_statistics))
        slope = (losses[0] - losses[1]) / (2 * scale) / count
        for parameter, direction in zip(trained.values(), directions(trained, seed), strict=True):
            # What a failed batch left in grad does not belong to this estimate.
            earlier = None if number == 0 else parameter.grad
            part = slope * direction
            parameter.grad = part if earlier is None else earlier + part


def loss_at(
    step: float,
    local: nn.Module,
    batch: Batch,
    task: SplitTask,
    seed: int,
    moves_statistics: bool,
) -> float:
    """Return f(θ + step · u), with the direction u of a seed; θ itself is left as it is.

    Without ``moves_statistics`` running statistics are left as they are too.
    """
    trained = {n: p for n, p in local.named_parameters() if p.requires_grad}
    state = moved(trained, step, seed)
    if not moves_statistics:
        state |= {name: buffer.clone() for name, buffer in local.named_buffers()}
    return loss_of(local, state, batch, task)


def loss_of(local: nn.Module, state: dict[str, Tensor], batch: Batch, task: SplitTask) -> float:
    """Return the loss of a batch with some of a module's tensors replaced, without a graph."""
    with torch.no_grad(), task.autocast():
        with task.objective.where(local, batch[1]):
            output = functional_call(local, state, as_tensors(batch[0]))
        return task.loss(output, batch[1]).item()


def moved(parameters: Mapping[str, nn.Parameter], step: float, seed: int) -> dict[str, Tensor]:
    """Return parameters moved by ``step`` along the direction of a seed."""
    along = zip(parameters.items(), directions(parameters, seed), strict=True)
    return {name: parameter.detach() + step * u for (name, parameter), u in along}


def directions(parameters: Mapping[str, nn.Parameter], seed: int) -> Iterator[Tensor]:
    """Draw a direction, parameter by parameter; on the CPU, alike for every device."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in parameters.values():
        drawn = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        yield drawn.to(parameter.device)
